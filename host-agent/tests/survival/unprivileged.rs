//! An agent without root: one user, no cgroups. Trees are found by session and environment.

use crate::agent::{Agent, Daemon, lines, until};
use crate::life::{leaves_a_grandchild, stops_the_grandchild_too};

/// A user every host has.
const NOBODY: &str = "nobody";
const NOBODY_UID: u32 = 65534;

fn daemon(script: &str) -> Daemon {
    // Its home does not exist.
    Daemon::shell(script)
        .with("user", NOBODY)
        .with("directory", "/")
}

/// Where the tests run as root, `nobody` runs the agent. Without root all the other tests are of this kind already.
fn agent(daemons: &[&Daemon]) -> Option<Agent> {
    let root = nix::unistd::geteuid().is_root();
    root.then(|| Agent::unprivileged(daemons, NOBODY_UID))
}

fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).unwrap();
    dir
}

#[test]
fn it_keeps_its_own_users_daemons_through_kills_and_nobody_elses() {
    let dir = open_dir();
    let starts = dir.path().join("starts");
    let good = daemon(&format!("id -u >> {}; exec sleep 1000", starts.display()));
    let foreign = Daemon::new("sleep 1000")
        .with("user", "root")
        .with("directory", "/");
    let Some(mut agent) = agent(&[&good, &foreign]) else {
        return;
    };
    let pid = agent.pid(&good, 0);
    until("it has begun", || (lines(&starts).len() == 1).then_some(()));
    let refused = agent.wait_for(&foreign, 0, "BACKOFF");
    assert!(refused.description.contains("policy"), "{refused:?}");
    agent.kill_worker();
    agent.wait_ready();
    assert_eq!(agent.pid(&good, 0), pid);
    agent.kill_all();
    agent.start();
    assert_eq!(agent.pid(&good, 0), pid);
    assert_eq!(lines(&starts), [NOBODY_UID.to_string()]);
}

#[test]
fn it_stops_a_grandchild_that_left_the_session() {
    let dir = open_dir();
    let stubborn = leaves_a_grandchild(&dir.path().join("pids"));
    let stubborn = stubborn.with("user", NOBODY).with("directory", "/");
    if let Some(agent) = agent(&[&stubborn]) {
        stops_the_grandchild_too(&agent, &stubborn, &dir.path().join("pids"));
    }
}
