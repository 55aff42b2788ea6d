//! Whether this host can keep a daemon's limits, asked before anything is stopped for them.
//!
//! Owns the words of a refusal. The limits are kept by the exec helper (open files) and by the daemon's cgroup.

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use zhylon_shared::spec::Limits;

use super::cgroup::Cgroups;
use super::cgroup::controllers::Controller;

/// Where the kernel says what nobody's limit of open files may exceed.
const NR_OPEN: &str = "/proc/sys/fs/nr_open";

/// Finds out whether all limits can be kept; makes the kernel's controllers for them available where they are not yet.
///
/// # Errors
/// The first that can not: field, reason, and what to do.
pub(crate) fn check(cgroups: Option<&Cgroups>, limits: Limits) -> Result<(), String> {
    if let Some(nofile) = limits.nofile() {
        check_nofile(u64::from(nofile), Files::of_this_process())?;
    }
    let memory = limits.memory_max().map(|_| Controller::Memory);
    let cpu = limits.cpu_max().map(|_| Controller::Cpu);
    for controller in [memory, cpu].into_iter().flatten() {
        let enabled = match cgroups {
            Some(cgroups) => cgroups.enable(controller),
            None => Err("the agent has no cgroup v2 here".to_owned()),
        };
        enabled.map_err(|why| {
            let field = controller.field();
            format!(
                "limits.{field}: this host can not keep it: {why}; take the limit away, or give the agent a cgroup v2 \
                 with the {controller} controller (under systemd: Delegate=yes, and no cgroup v1 beside it)"
            )
        })?;
    }
    Ok(())
}

/// What bounds limits of open files here.
#[derive(Debug, Clone, Copy)]
struct Files {
    /// The agent's own hard limit.
    hard: u64,
    /// Of the whole host.
    most: u64,
    may_raise: bool,
}

impl Files {
    fn of_this_process() -> Self {
        let most = std::fs::read_to_string(NR_OPEN).ok();
        let effective = capabilities(None).map(|sets| sets.effective);
        Self {
            // `None` of rustix means unlimited, which the kernel never allows for open files.
            hard: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
            most: most
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(u64::MAX),
            may_raise: effective.is_ok_and(|set| set.contains(CapabilitySet::SYS_RESOURCE)),
        }
    }
}

fn check_nofile(nofile: u64, files: Files) -> Result<(), String> {
    let Files {
        hard,
        most,
        may_raise,
    } = files;
    if may_raise && nofile > most {
        return Err(format!(
            "limits.nofile: {nofile} is above {most}, the most this host allows any process; lower it, or raise \
             the sysctl fs.nr_open"
        ));
    }
    if !may_raise && nofile > hard {
        return Err(format!(
            "limits.nofile: {nofile} is above {hard}, the hard limit of the agent, which it may not raise; lower it, or \
             raise the agent's (LimitNOFILE= of its unit)"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use zhylon_shared::spec::{DaemonSpec, SpecDraft};

    use super::*;

    fn limits(change: impl FnOnce(&mut zhylon_shared::spec::LimitsDraft)) -> Limits {
        let mut draft = SpecDraft {
            command: "true".to_owned(),
            ..SpecDraft::default()
        };
        change(&mut draft.limits);
        DaemonSpec::check(draft).unwrap().limits()
    }

    #[test]
    fn open_files_are_bounded_by_what_the_agent_may_do() {
        let files = |may_raise| Files {
            hard: 1000,
            most: 5000,
            may_raise,
        };
        assert_eq!(check_nofile(1000, files(false)), Ok(()));
        let refused = check_nofile(1001, files(false)).unwrap_err();
        assert!(refused.starts_with("limits.nofile: 1001 is above 1000, the hard limit"));
        assert_eq!(check_nofile(5000, files(true)), Ok(()));
        let refused = check_nofile(5001, files(true)).unwrap_err();
        assert!(refused.starts_with("limits.nofile: 5001 is above 5000, the most this host"));
    }

    #[test]
    fn without_cgroups_memory_and_cpu_are_refused_by_their_fields() {
        assert_eq!(check(None, limits(|_| {})), Ok(()));
        assert_eq!(check(None, limits(|l| l.nofile = Some(16))), Ok(()));
        let memory = check(None, limits(|l| l.memory_max = Some(1 << 30))).unwrap_err();
        assert!(
            memory.starts_with("limits.memory_max: this host can not keep it: the agent has no")
        );
        let cpu = check(None, limits(|l| l.cpu_max = Some(500))).unwrap_err();
        assert!(cpu.starts_with("limits.cpu_max: this host can not keep it"));
    }
}
