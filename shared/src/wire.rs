//! Between the wire and the valid types. The only module that knows both.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use zhylon_proto::agent::v1 as agent;
use zhylon_proto::daemons::v1 as api;

use crate::redact::Secret;
use crate::signal::StopSignal;
use crate::spec::{DaemonSpec, FieldViolation, InvalidSpec, RestartPolicy, SpecDraft};
use crate::state::{DesiredState, InstanceState, RestartOutcome, RestartStrategy};

mod limits;

/// What the agent sends as `Hello.protocol_max` and the api-server accepts.
pub const PROTOCOL_VERSION: u32 = 1;

/// The spec part of a daemon as it came over the public API.
///
/// # Errors
/// When a field breaks a rule, or an enum has a number this version does not know; all of them at once.
pub fn spec_from_api(daemon: &api::Daemon) -> Result<DaemonSpec, InvalidSpec> {
    let mut bad = Vec::new();
    let stop_signal = match api::StopSignal::try_from(daemon.stop_signal) {
        Ok(api::StopSignal::Unspecified) => None,
        Ok(signal) => signal_from_api(signal),
        Err(_) => {
            let text = format!(
                "{} is not a stop signal: TERM HUP INT QUIT KILL USR1 USR2",
                daemon.stop_signal
            );
            bad.push(FieldViolation::new("stop_signal", "ENUM", text));
            None
        }
    };
    let restart_policy = match api::RestartPolicy::try_from(daemon.restart_policy) {
        Ok(api::RestartPolicy::Unspecified) => None,
        Ok(api::RestartPolicy::Always) => Some(RestartPolicy::Always),
        Ok(api::RestartPolicy::OnFailure) => Some(RestartPolicy::OnFailure),
        Ok(api::RestartPolicy::Never) => Some(RestartPolicy::Never),
        Err(_) => {
            let text = format!(
                "{} is not a restart policy: ALWAYS ON_FAILURE NEVER",
                daemon.restart_policy
            );
            bad.push(FieldViolation::new("restart_policy", "ENUM", text));
            None
        }
    };
    let draft = SpecDraft {
        name: daemon.name.clone(),
        command: daemon.command.clone(),
        user: daemon.user.clone(),
        directory: daemon.directory.clone(),
        processes: daemon.processes.map(Into::into),
        start_seconds: daemon.start_seconds.map(Into::into),
        stop_seconds: daemon.stop_seconds.map(Into::into),
        stop_signal,
        environment: daemon
            .environment
            .iter()
            .map(|(k, v)| (k.clone(), Secret::new(v)))
            .collect(),
        restart_policy,
        max_retries: daemon.max_retries.into(),
        limits: limits::from_api(daemon.limits.as_ref()),
    };
    match DaemonSpec::check(draft) {
        Ok(spec) if bad.is_empty() => Ok(spec),
        Ok(_) => Err(InvalidSpec(bad)),
        Err(InvalidSpec(more)) => {
            bad.extend(more);
            Err(InvalidSpec(bad))
        }
    }
}

/// Writes a spec into a message of the public API: every field but the values of the environment.
pub fn spec_to_api(spec: &DaemonSpec, daemon: &mut api::Daemon) {
    daemon.name = spec.name().to_owned();
    daemon.command = spec.command().to_owned();
    daemon.user = Some(spec.user().to_owned());
    daemon.directory = spec.directory().to_owned();
    daemon.processes = Some(spec.processes().cast_signed());
    daemon.start_seconds = Some(spec.start_seconds().cast_signed());
    daemon.stop_seconds = Some(spec.stop_seconds().cast_signed());
    daemon.stop_signal = signal_to_api(spec.stop_signal()).into();
    daemon.restart_policy = policy_to_api(spec.restart_policy()).into();
    daemon.max_retries = spec.max_retries().cast_signed();
    daemon.limits = limits::to_api(spec.limits());
    daemon.environment.clear();
    daemon.environment_names = spec.environment().keys().cloned().collect();
}

/// A spec for the agent, secrets included.
#[must_use]
pub fn spec_to_agent(spec: &DaemonSpec) -> agent::DaemonSpec {
    agent::DaemonSpec {
        name: spec.name().to_owned(),
        command: spec.command().to_owned(),
        user: spec.user().to_owned(),
        directory: spec.directory().to_owned(),
        processes: spec.processes(),
        start_seconds: spec.start_seconds(),
        stop_seconds: spec.stop_seconds(),
        stop_signal: spec.stop_signal().number().cast_unsigned(),
        restart_policy: i32::from(policy_to_api(spec.restart_policy())).cast_unsigned(),
        max_retries: spec.max_retries(),
        environment: spec
            .environment()
            .iter()
            .map(|(name, value)| agent::EnvironmentVariable {
                name: name.clone(),
                value: value.expose().to_owned(),
            })
            .collect(),
        limits: limits::to_agent(spec.limits()),
    }
}

/// A spec as the agent received it. The agent checks again: the host does not trust the wire.
///
/// # Errors
/// When a field breaks a rule.
pub fn spec_from_agent(spec: &agent::DaemonSpec) -> Result<DaemonSpec, InvalidSpec> {
    let stop_signal = i32::try_from(spec.stop_signal)
        .ok()
        .and_then(StopSignal::from_number);
    let restart_policy = match spec.restart_policy {
        1 => Some(RestartPolicy::Always),
        2 => Some(RestartPolicy::OnFailure),
        3 => Some(RestartPolicy::Never),
        _ => None,
    };
    let unknown = |field, number| {
        let text = format!("{number} is not known to this agent: upgrade it");
        InvalidSpec(vec![FieldViolation::new(field, "ENUM", text)])
    };
    DaemonSpec::check(SpecDraft {
        name: spec.name.clone(),
        command: spec.command.clone(),
        user: Some(spec.user.clone()),
        directory: spec.directory.clone(),
        processes: Some(spec.processes.into()),
        start_seconds: Some(spec.start_seconds.into()),
        stop_seconds: Some(spec.stop_seconds.into()),
        stop_signal: Some(stop_signal.ok_or_else(|| unknown("stop_signal", spec.stop_signal))?),
        environment: spec
            .environment
            .iter()
            .map(|variable| (variable.name.clone(), Secret::new(&variable.value)))
            .collect(),
        restart_policy: Some(
            restart_policy.ok_or_else(|| unknown("restart_policy", spec.restart_policy))?,
        ),
        max_retries: spec.max_retries.into(),
        limits: limits::from_agent(spec.limits.as_ref()),
    })
}

/// SHA-256 over a server's whole set: what `ConfigUpdate.hash` and `Hello.applied_hash` carry. The order of `daemons`
/// does not matter.
#[must_use]
pub fn set_hash<'a>(daemons: impl IntoIterator<Item = &'a agent::DaemonConfig>) -> Vec<u8> {
    let mut all: Vec<_> = daemons.into_iter().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for daemon in all {
        part(daemon.id.as_bytes());
        // A byte more only where it says something, so that programs from before agree on every set without.
        match daemon.restart_strategy() {
            api::RestartStrategy::Unspecified => part(&[u8::from(daemon.running)]),
            strategy => part(&[u8::from(daemon.running), strategy as u8]),
        }
        for number in [
            daemon.intent_generation,
            daemon.restart_generation,
            daemon.revision,
        ] {
            part(&number.to_be_bytes());
        }
        let Some(spec) = &daemon.spec else { continue };
        for text in [&spec.name, &spec.command, &spec.user, &spec.directory] {
            part(text.as_bytes());
        }
        for number in [
            spec.processes,
            spec.start_seconds,
            spec.stop_seconds,
            spec.stop_signal,
            spec.restart_policy,
            spec.max_retries,
        ] {
            part(&number.to_be_bytes());
        }
        for variable in &spec.environment {
            part(variable.name.as_bytes());
            part(variable.value.as_bytes());
        }
        // A set without limits has the hash it had before there were any.
        if let Some(limits) = spec.limits.as_ref().and_then(limits::hash_parts) {
            limits.iter().for_each(|limit| part(limit));
        }
    }
    hash.finalize().to_vec()
}

/// A time for the wire.
#[must_use]
pub fn timestamp(time: SystemTime) -> pbjson_types::Timestamp {
    let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (
            after.as_secs().cast_signed(),
            after.subsec_nanos().cast_signed(),
        ),
        Err(before) => (-before.duration().as_secs().cast_signed(), 0),
    };
    pbjson_types::Timestamp { seconds, nanos }
}

/// A time from the wire; times before 1970 or out of range are `None`.
#[must_use]
pub fn system_time(timestamp: &pbjson_types::Timestamp) -> Option<SystemTime> {
    let since = Duration::new(
        u64::try_from(timestamp.seconds).ok()?,
        u32::try_from(timestamp.nanos)
            .ok()
            .filter(|nanos| *nanos < 1_000_000_000)?,
    );
    UNIX_EPOCH.checked_add(since)
}

/// A state for the wire.
#[must_use]
pub fn state_to_api(state: InstanceState) -> api::InstanceState {
    match state {
        InstanceState::Stopped => api::InstanceState::Stopped,
        InstanceState::Starting => api::InstanceState::Starting,
        InstanceState::Running => api::InstanceState::Running,
        InstanceState::Backoff => api::InstanceState::Backoff,
        InstanceState::Stopping => api::InstanceState::Stopping,
        InstanceState::Exited => api::InstanceState::Exited,
        InstanceState::Fatal => api::InstanceState::Fatal,
        InstanceState::Unknown => api::InstanceState::Unknown,
    }
}

/// A state from the wire; what this version does not know is UNKNOWN.
#[must_use]
pub fn state_from_api(state: i32) -> InstanceState {
    match api::InstanceState::try_from(state) {
        Ok(api::InstanceState::Stopped) => InstanceState::Stopped,
        Ok(api::InstanceState::Starting) => InstanceState::Starting,
        Ok(api::InstanceState::Running) => InstanceState::Running,
        Ok(api::InstanceState::Backoff) => InstanceState::Backoff,
        Ok(api::InstanceState::Stopping) => InstanceState::Stopping,
        Ok(api::InstanceState::Exited) => InstanceState::Exited,
        Ok(api::InstanceState::Fatal) => InstanceState::Fatal,
        Ok(api::InstanceState::Unknown | api::InstanceState::Unspecified) | Err(_) => {
            InstanceState::Unknown
        }
    }
}

/// A desired state for the wire.
#[must_use]
pub fn desired_to_api(state: DesiredState) -> api::DesiredState {
    match state {
        DesiredState::Running => api::DesiredState::Running,
        DesiredState::Stopped => api::DesiredState::Stopped,
    }
}

/// An outcome for the wire.
#[must_use]
pub fn outcome_to_api(outcome: RestartOutcome) -> api::RestartOutcome {
    match outcome {
        RestartOutcome::Succeeded => api::RestartOutcome::Succeeded,
        RestartOutcome::Failed => api::RestartOutcome::Failed,
        RestartOutcome::Aborted => api::RestartOutcome::Aborted,
        RestartOutcome::Expired => api::RestartOutcome::Expired,
        RestartOutcome::Superseded => api::RestartOutcome::Superseded,
    }
}

/// A strategy for the wire; what is the default anyway is not said, so that older programs know all of it.
#[must_use]
pub fn strategy_to_agent(strategy: RestartStrategy) -> api::RestartStrategy {
    match strategy {
        RestartStrategy::AllAtOnce => api::RestartStrategy::Unspecified,
        RestartStrategy::Rolling => api::RestartStrategy::Rolling,
    }
}

/// A strategy from the wire.
///
/// # Errors
/// When this version does not know it.
pub fn strategy_from_wire(field: &str, strategy: i32) -> Result<RestartStrategy, InvalidSpec> {
    match api::RestartStrategy::try_from(strategy) {
        Ok(api::RestartStrategy::Unspecified | api::RestartStrategy::AllAtOnce) => {
            Ok(RestartStrategy::AllAtOnce)
        }
        Ok(api::RestartStrategy::Rolling) => Ok(RestartStrategy::Rolling),
        Err(_) => {
            let text = format!("{strategy} is not a restart strategy: ALL_AT_ONCE ROLLING");
            let violation = FieldViolation::new(field, "ENUM", text);
            Err(InvalidSpec(vec![violation]))
        }
    }
}

fn policy_to_api(policy: RestartPolicy) -> api::RestartPolicy {
    match policy {
        RestartPolicy::Always => api::RestartPolicy::Always,
        RestartPolicy::OnFailure => api::RestartPolicy::OnFailure,
        RestartPolicy::Never => api::RestartPolicy::Never,
    }
}

fn signal_to_api(signal: StopSignal) -> api::StopSignal {
    match signal {
        StopSignal::Term => api::StopSignal::Term,
        StopSignal::Hup => api::StopSignal::Hup,
        StopSignal::Int => api::StopSignal::Int,
        StopSignal::Quit => api::StopSignal::Quit,
        StopSignal::Kill => api::StopSignal::Kill,
        StopSignal::Usr1 => api::StopSignal::Usr1,
        StopSignal::Usr2 => api::StopSignal::Usr2,
    }
}

fn signal_from_api(signal: api::StopSignal) -> Option<StopSignal> {
    StopSignal::ALL
        .into_iter()
        .find(|s| signal_to_api(*s) == signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set that knows of no strategy has the hash it always had: programs from before the field computed just this.
    #[test]
    fn a_set_without_a_strategy_has_the_hash_of_old() {
        let daemon = agent::DaemonConfig {
            id: "h:daemon000000000001".to_owned(),
            running: true,
            intent_generation: 3,
            restart_generation: 2,
            revision: 9,
            ..agent::DaemonConfig::default()
        };
        let mut old = Sha256::new();
        for part in [
            daemon.id.as_bytes(),
            &[1],
            &3_i64.to_be_bytes(),
            &2_i64.to_be_bytes(),
            &9_i64.to_be_bytes(),
        ] {
            old.update((part.len() as u64).to_be_bytes());
            old.update(part);
        }
        assert_eq!(set_hash([&daemon]), old.finalize().to_vec());
        let all_at_once = strategy_to_agent(RestartStrategy::AllAtOnce);
        assert_eq!(all_at_once, api::RestartStrategy::Unspecified);
        let rolling = agent::DaemonConfig {
            restart_strategy: strategy_to_agent(RestartStrategy::Rolling).into(),
            ..daemon.clone()
        };
        assert_ne!(set_hash([&rolling]), set_hash([&daemon]));
    }

    #[test]
    fn strategies_are_known_or_refused_by_field() {
        let parse = |number| strategy_from_wire("strategy", number);
        assert_eq!(parse(0), Ok(RestartStrategy::AllAtOnce));
        assert_eq!(parse(1), Ok(RestartStrategy::AllAtOnce));
        assert_eq!(parse(2), Ok(RestartStrategy::Rolling));
        let InvalidSpec(refused) = parse(3).unwrap_err();
        assert_eq!((refused.len(), refused[0].field.as_str()), (1, "strategy"));
    }
}
