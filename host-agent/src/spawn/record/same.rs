//! Whether a process that has the pid and the start time of a run record is that run's. Both can be a stranger's: a start
//! time is a hundredth of a second, and a pid comes round.

use std::path::Path;

use host_agent_sys::process::stat;
use rustix::process::Pid;
use zhylon_shared::id::DaemonId;

use super::RunFacts;

/// The helper's name, before it has a session of its own.
const HELPER: &str = "zhylon-exec\n";
/// Components of a cgroup path that are ours: agent, daemon, run.
const OWN_COMPONENTS: usize = 3;

/// By cgroup where the run has one: nobody is born into it but by us, and only root could leave it. Else by session,
/// which its program can not leave. A log FIFO tells only who it is not: programs may send their output elsewhere.
pub(super) fn is_the_runs(pid: Pid, facts: &RunFacts) -> bool {
    let home = match &facts.cgroup {
        Some(leaf) => is_in(pid, leaf),
        None => leads_its_session(pid),
    };
    home && !speaks_into_another(pid, &facts.fifo)
}

fn is_in(pid: Pid, leaf: &Path) -> bool {
    let list = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = list.lines().find_map(|line| line.strip_prefix("0::"));
    own.is_some_and(|own| is_below(Path::new(own.trim_end_matches(" (deleted)")), leaf))
}

/// The file system may be mounted elsewhere than in the record, and the root of the tree be another one: what counts is
/// our part of it. Below it a program may have made its own.
fn is_below(own: &Path, leaf: &Path) -> bool {
    let part: Vec<_> = leaf.components().rev().take(OWN_COMPONENTS).collect();
    let own: Vec<_> = own.components().rev().collect();
    part.len() == OWN_COMPONENTS && own.windows(OWN_COMPONENTS).any(|found| found == part)
}

fn leads_its_session(pid: Pid) -> bool {
    let comm = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    stat(pid).is_ok_and(|stat| stat.session == Some(pid)) || comm() == HELPER
}

/// Whether its output goes into the FIFO of some other run.
fn speaks_into_another(pid: Pid, fifo: &str) -> bool {
    [1, 2].into_iter().any(|number| {
        let Ok(link) = std::fs::read_link(format!("/proc/{pid}/fd/{number}")) else {
            return false;
        };
        let name = link.file_name().and_then(std::ffi::OsStr::to_str);
        let name = name.map(|name| name.trim_end_matches(" (deleted)"));
        let in_fifos = link.parent().is_some_and(|dir| dir.ends_with("fifo"));
        in_fifos && name.is_some_and(|name| is_of_a_run(name) && name != fifo)
    })
}

/// `<bare id>.<index>.<generation>`.
fn is_of_a_run(name: &str) -> bool {
    let mut parts = name.split('.');
    let id = parts
        .next()
        .is_some_and(|id| DaemonId::from_bare(id).is_ok());
    let numbers = parts.filter(|part| part.parse::<u64>().is_ok()).count();
    id && numbers == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_ours_by_its_last_three_names() {
        let leaf = Path::new("/sys/fs/cgroup/unified/a.service/zhylon-agent.12/d-x/0.7");
        let is = |own: &str| is_below(Path::new(own), leaf);
        assert!(is("/a.service/zhylon-agent.12/d-x/0.7"));
        assert!(is("/../zhylon-agent.12/d-x/0.7"), "another root");
        assert!(is("/zhylon-agent.12/d-x/0.7/made/by/itself"));
        for other in [
            "/",
            "/a.service",
            "/a.service/zhylon-agent.12/d-x/0.8",
            "/a.service/zhylon-agent.12/d-y/0.7",
            "/a.service/zhylon-agent.13/d-x/0.7",
            "/a.service/zhylon-agent.12/d-x",
        ] {
            assert!(!is(other), "{other}");
        }
        assert!(
            !is_below(Path::new("/0.7"), Path::new("/0.7")),
            "no leaf of ours"
        );
    }

    #[test]
    fn a_process_that_speaks_into_the_fifo_of_another_run_is_not_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let fifos = dir.path().join("fifo");
        std::fs::create_dir(&fifos).unwrap();
        let name = |generation| format!("H3hxDfKZE0mHsxTqwN.0.{generation}");
        let file = std::fs::File::create(fifos.join(name(7))).unwrap();
        let mut speaker = std::process::Command::new("sleep")
            .arg("1000")
            .stdout(file)
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&speaker);
        let own = speaks_into_another(pid, &name(7));
        let other = speaks_into_another(pid, &name(8));
        speaker.kill().unwrap();
        speaker.wait().unwrap();
        assert!(!own && other);
    }
}
