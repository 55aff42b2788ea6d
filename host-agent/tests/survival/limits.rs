//! Limits: kept, or refused with a reason before anything that runs is touched.

use rustix::process::{Resource, getrlimit};

use crate::agent::{Agent, Daemon, until};

fn hard_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap()
}

/// Whether an agent started here may go beyond its own hard limit.
fn may_raise() -> bool {
    let effective = rustix::thread::capabilities(None).unwrap().effective;
    effective.contains(rustix::thread::CapabilitySet::SYS_RESOURCE)
}

fn limits_of(pid: i32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    line.unwrap()
        .split_whitespace()
        .skip(3)
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn open_files_are_as_ordered_and_more_than_there_can_be_is_refused() {
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap();
    let most: u64 = most.trim().parse().unwrap();
    let bound = if may_raise() { most } else { hard_limit() };
    let limited = |nofile: u64| {
        Daemon::new("sleep 1000").with("limits", serde_json::json!({ "nofile": nofile }))
    };
    let (low, plain, high) = (limited(77), Daemon::new("sleep 1000"), limited(bound + 1));
    let agent = Agent::with(&[&low, &plain, &high]);
    assert_eq!(limits_of(agent.pid(&low, 0)), "77 77");
    let plain = limits_of(agent.pid(&plain, 0));
    assert!(
        plain.ends_with(&format!(" {}", hard_limit())),
        "the host's: {plain}"
    );
    let refused = agent.wait_for(&high, 0, "BACKOFF").description;
    let expected = format!("limits.nofile: {} is above {bound}", bound + 1);
    assert!(refused.contains(&expected), "{refused}");
}

#[test]
fn a_limit_this_host_can_not_keep_is_refused_and_what_runs_goes_on() {
    let memory = serde_json::json!({ "memory_max": 64 << 20 });
    let running = Daemon::new("sleep 1000");
    let new = Daemon::new("sleep 1000").with("limits", memory.clone());
    let mut agent = Agent::with(&[&running, &new]);
    let pid = agent.pid(&running, 0);
    let told = until("an answer about the new one", || {
        let found = agent.instance(&new, 0)?;
        matches!(found.state.as_str(), "BACKOFF" | "RUNNING").then_some(found)
    });
    if told.state == "RUNNING" {
        // A host with the controller: the kernel itself says what it keeps.
        let cgroup =
            std::fs::read_to_string(format!("/proc/{}/cgroup", told.pid.unwrap())).unwrap();
        assert!(cgroup.contains(&format!("d-{}", new.id.bare())), "{cgroup}");
        return;
    }
    let why = "limits.memory_max: this host can not keep it: ";
    assert!(told.description.contains(why), "{}", told.description);

    // The same asked of the one that runs: its process stays.
    agent.terminate();
    let changed = running.clone().with("limits", memory);
    agent.write_ledger(&[&changed]);
    agent.start();
    let refused = "a changed daemon can not run here";
    until("the check's answer", || {
        let log = agent.log();
        let line = log.lines().find(|line| line.contains(refused))?;
        assert!(line.contains(why), "{line}");
        Some(())
    });
    assert_eq!(agent.pid(&changed, 0), pid);
}
