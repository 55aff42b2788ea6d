//! Pid files that say something else than what is so: an old one, whose number is another agent's by now.

use std::fs;

use crate::agent::{Agent, Daemon, runs};

fn noted(agent: &Agent, name: &str, pid: i32) {
    fs::write(agent.path(&format!("run/{name}.pid")), format!("{pid}\n")).unwrap();
}

#[test]
fn another_agents_processes_are_never_taken_for_ones_own() {
    let daemon = Daemon::new("sleep 1000");
    let (one, other) = (Agent::with(&[&daemon]), Agent::with(&[&daemon]));
    let (keeper, worker) = (one.keeper_pid(), one.worker_pid());
    let told = |agent: &Agent, line: &str| {
        let said = agent.status();
        assert!(said.contains(line), "{line}: {said}");
    };
    told(&one, &format!("keeper           runs, pid {keeper}\n"));
    told(&one, &format!("worker           runs, pid {worker}\n"));

    // An old number, or a full disk when it was to be written: whose child it is tells the worker.
    for stale in [other.worker_pid(), other.keeper_pid(), 1, 999_999] {
        noted(&one, "worker", stale);
        told(&one, &format!("worker           runs, pid {worker}\n"));
    }
    noted(&one, "worker", worker);

    // Who holds these directories is their keeper, and nobody else is ended, or told to become another program.
    noted(&one, "keeper", other.keeper_pid());
    told(&one, "keeper           does not run\n");
    let upgraded = one.upgrade();
    let said = String::from_utf8_lossy(&upgraded.stderr).into_owned();
    assert!(
        !upgraded.status.success() && said.contains("no agent runs with"),
        "{said}"
    );
    noted(&one, "keeper", keeper);
    let stopped = one.stop_daemons();
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(!runs(worker) && runs(other.keeper_pid()) && runs(other.worker_pid()));
    other.wait_for(&daemon, 0, "RUNNING");
}
