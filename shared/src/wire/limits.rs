//! Limits between the wire and the valid types.

use zhylon_proto::agent::v1 as agent;
use zhylon_proto::daemons::v1 as api;

use crate::spec::{Limits, LimitsDraft, limits};

pub(super) fn from_api(limits: Option<&api::Limits>) -> LimitsDraft {
    limits.map_or_else(LimitsDraft::default, |limits| LimitsDraft {
        nofile: limits.nofile.map(Into::into),
        memory_max: limits.memory_max,
        cpu_max: limits.cpu_max.map(Into::into),
    })
}

/// `None` where there is no limit at all.
pub(super) fn to_api(limits: Limits) -> Option<api::Limits> {
    (limits != Limits::default()).then(|| api::Limits {
        nofile: limits.nofile().map(u32::cast_signed),
        memory_max: limits.memory_max().map(u64::cast_signed),
        cpu_max: limits.cpu_max().map(u32::cast_signed),
    })
}

/// `None` where there is no limit at all.
pub(super) fn to_agent(limits: Limits) -> Option<agent::Limits> {
    (limits != Limits::default()).then(|| agent::Limits {
        nofile: limits.nofile(),
        memory_max: limits.memory_max(),
        cpu_max: limits.cpu_max(),
    })
}

pub(super) fn from_agent(limits: Option<&agent::Limits>) -> LimitsDraft {
    // A number too large for the range stays too large.
    let wide = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    limits.map_or_else(LimitsDraft::default, |limits| LimitsDraft {
        nofile: limits.nofile.map(Into::into),
        memory_max: limits.memory_max.map(wide),
        cpu_max: limits.cpu_max.map(Into::into),
    })
}

/// What a set's hash takes in. Over the wire's numbers as they are, valid or not: both ends must come to the same.
pub(super) fn hash_parts(limits: &agent::Limits) -> Option<[Vec<u8>; 4]> {
    let (nofile, cpu_max) = (
        limits.nofile.map(Into::into),
        limits.cpu_max.map(Into::into),
    );
    limits::hash_parts([nofile, limits.memory_max, cpu_max])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DaemonSpec, SpecDraft};
    use crate::wire::{set_hash, spec_from_agent, spec_from_api, spec_to_agent, spec_to_api};

    fn config(limits: Option<agent::Limits>) -> agent::DaemonConfig {
        let spec = agent::DaemonSpec {
            command: "php artisan websockets:serve".to_owned(),
            user: "zhylon".to_owned(),
            processes: 1,
            start_seconds: 1,
            stop_seconds: 10,
            stop_signal: 15,
            restart_policy: 1,
            environment: vec![agent::EnvironmentVariable {
                name: "A".to_owned(),
                value: "x".to_owned(),
            }],
            limits,
            ..Default::default()
        };
        agent::DaemonConfig {
            id: "h:0123456789abcdefgh".to_owned(),
            spec: Some(spec),
            running: true,
            intent_generation: 1,
            restart_generation: 2,
            revision: 3,
            restart_strategy: 0,
        }
    }

    fn hash(limits: Option<agent::Limits>) -> String {
        let hash = set_hash([&config(limits)]);
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_set_without_limits_has_the_hash_it_had_before_there_were_any() {
        // Made by another program from the rule of 0.1: an agent of that version says hello with such a hash.
        let old = "cccd53ac1257ddfabb67a0ee8860b75b991dfcb6ea0b8f4b885ceb9f34eb2b5d";
        assert_eq!(hash(None), old);
        assert_eq!(hash(Some(agent::Limits::default())), old);
        let cpu_max = Some(500);
        let limits = agent::Limits {
            cpu_max,
            ..Default::default()
        };
        assert_ne!(hash(Some(limits)), old);
    }

    #[test]
    fn limits_go_over_both_wires_unchanged() {
        let limits = LimitsDraft {
            nofile: Some(1 << 30),
            memory_max: Some(1 << 50),
            cpu_max: Some(10),
        };
        for limits in [LimitsDraft::default(), limits] {
            let draft = SpecDraft {
                command: "true".to_owned(),
                limits,
                ..SpecDraft::default()
            };
            let spec = DaemonSpec::check(draft).unwrap();
            assert_eq!(spec_from_agent(&spec_to_agent(&spec)).unwrap(), spec);
            let mut daemon = api::Daemon::default();
            spec_to_api(&spec, &mut daemon);
            assert_eq!(spec_from_api(&daemon).unwrap(), spec);
        }
        let too_much = agent::Limits {
            memory_max: Some(u64::MAX),
            ..Default::default()
        };
        let refused = spec_from_agent(&config(Some(too_much)).spec.unwrap()).unwrap_err();
        assert_eq!(refused.0[0].field, "limits.memory_max");
    }
}
