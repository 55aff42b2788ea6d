//! One keeper per house: starting, ending, being killed, being disturbed.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;

use crate::harness::{Agent, lives, look, signal_process, until};

/// A worker may answer a moment before the keeper has written it down.
fn pid_file_names_the_worker(agent: &Agent) {
    let expected = format!("{}\n", agent.worker());
    until("worker.pid names the worker", || {
        let text = std::fs::read_to_string(agent.run("worker.pid")).ok()?;
        (text == expected).then_some(())
    });
}

#[test]
fn the_house_is_closed_to_others_but_for_the_door() {
    let agent = Agent::start();
    let modes = [
        ("state", 0o700),
        ("state/lock", 0o600),
        ("run", 0o755),
        ("run/records", 0o700),
        ("run/fifo", 0o700),
        ("run/supervisor.sock", 0o666),
        ("run/keeper.pid", 0o644),
    ];
    for (path, mode) in modes {
        let found = std::fs::metadata(agent.dir.path().join(path)).unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{path}");
    }
    let keeper = std::fs::read_to_string(agent.run("keeper.pid")).unwrap();
    assert_eq!(keeper, format!("{}\n", agent.keeper_pid()));
    pid_file_names_the_worker(&agent);
}

#[test]
fn a_second_keeper_is_refused_and_disturbs_nothing() {
    let agent = Agent::start();
    let worker = agent.worker();
    // The same house, and another one with the same door.
    for state in ["state", "state-of-its-own"] {
        let said = agent.second_keeper(state);
        assert!(said.contains("another host-agent is running"), "{said}");
        assert_eq!(agent.worker(), worker);
    }
}

#[test]
fn a_killed_worker_is_replaced_and_the_pid_file_says_so() {
    let agent = Agent::start();
    let first = agent.worker();
    signal_process(first, Signal::KILL);
    until("another one answers", || {
        (agent.worker() != first).then_some(())
    });
    pid_file_names_the_worker(&agent);
}

#[test]
fn told_to_end_it_takes_the_worker_along_and_leaves_the_programs() {
    let agent = Agent::start();
    let program = agent.program("start one exec sleep 1000");
    let worker = agent.worker();
    agent.signal_keeper(Signal::TERM);
    assert_eq!(agent.keeper_ended(), Some(0));
    assert!(look(worker).is_none());
    assert!(lives(program));
    for gone in ["supervisor.sock", "keeper.pid", "worker.pid"] {
        assert!(!agent.run(gone).exists(), "{gone}");
    }
    agent.start_keeper_again();
    agent.worker();
    assert!(lives(program));
}

#[test]
fn a_worker_that_does_not_end_is_killed() {
    let agent = Agent::start();
    let program = agent.program("start one exec sleep 1000");
    agent.ask("stubborn");
    let worker = agent.worker();
    agent.signal_keeper(Signal::TERM);
    assert_eq!(agent.keeper_ended(), Some(0));
    assert!(look(worker).is_none());
    // It was killed and reaped, not left to die with the keeper.
    assert!(!agent.log().contains("can not end"), "{}", agent.log());
    assert!(lives(program));
}

#[test]
fn killed_it_takes_the_worker_along_and_the_next_one_moves_in() {
    let agent = Agent::start();
    let program = agent.program("start one exec sleep 1000");
    let worker = agent.worker();
    agent.signal_keeper(Signal::KILL);
    assert_eq!(agent.keeper_ended(), None);
    until("the worker is gone", || (!lives(worker)).then_some(()));
    assert!(agent.run("supervisor.sock").exists(), "left behind");
    agent.start_keeper_again();
    assert_ne!(agent.worker(), worker);
    assert!(lives(program));
}

#[test]
fn hangups_and_broken_pipes_are_nothing_to_it() {
    let agent = Agent::start();
    let worker = agent.worker();
    for signal in [Signal::HUP, Signal::PIPE, Signal::HUP] {
        agent.signal_keeper(signal);
    }
    // Served after them, in order.
    agent.signal_keeper(Signal::TERM);
    assert_eq!(agent.keeper_ended(), Some(0));
    assert!(look(worker).is_none());
}

#[test]
fn what_is_no_socket_is_not_removed() {
    let agent = Agent::start();
    agent.signal_keeper(Signal::TERM);
    assert_eq!(agent.keeper_ended(), Some(0));
    let socket = agent.run("supervisor.sock");
    std::fs::write(&socket, "precious").unwrap();
    let said = agent.second_keeper("state");
    assert!(said.contains("not a socket; remove it"), "{said}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}
