//! Starting, ending, stopping.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::agent::{Agent, Daemon, lines, runs, signal, until};

#[test]
fn what_ends_is_started_again() {
    let daemon = Daemon::shell("echo up; exec sleep 1000").with("processes", 2);
    let agent = Agent::with(&[&daemon]);
    let (first, other) = (agent.pid(&daemon, 0), agent.pid(&daemon, 1));
    signal(first, Signal::KILL);
    let second = until("another process", || {
        let pid = agent.instance(&daemon, 0)?.pid?;
        (pid != first).then_some(pid)
    });
    assert!(!runs(first) && runs(second));
    agent.wait_for(&daemon, 0, "RUNNING");
    assert_eq!(
        agent.pid(&daemon, 1),
        other,
        "the other instance is not touched"
    );
    until("its log", || {
        agent
            .say(&["tail", &daemon.group()])
            .contains("up")
            .then_some(())
    });
}

/// When a worker begins, all of them wait for the look-up of one user; the spawners' queue holds 64.
#[test]
fn more_starts_than_the_queue_holds_may_wait_for_their_user() {
    let many = || {
        Daemon::shell("exec sleep 1000")
            .with("processes", 64)
            .with("start_seconds", 0)
    };
    let daemons = [many(), many(), many()];
    let agent = Agent::with(&daemons.iter().collect::<Vec<_>>());
    until("all of them run", || {
        let running = agent
            .instances()
            .into_values()
            .filter(|one| one.state == "RUNNING");
        (running.count() == 3 * 64).then_some(())
    });
}

#[test]
fn a_stop_waits_for_the_grace_and_leaves_nothing_of_the_tree() {
    let home = tempfile::tempdir().unwrap();
    let pids = home.path().join("pids");
    // The main process and its child ignore the signal, the grandchild has a session of its own.
    let script = format!(
        "trap \"\" TERM; (sleep 1001 & echo $! >> {0}; wait) & setsid sh -c \"echo \\$\\$ >> {0}; exec sleep 1002\" & \
         echo $$ >> {0}; sleep 1003",
        pids.display()
    );
    let daemon = Daemon::shell(&script).with("stop_seconds", 1);
    let agent = Agent::with(&[&daemon]);
    let main = agent.pid(&daemon, 0);
    let tree: Vec<i32> = until("the whole tree", || {
        let found = lines(&pids);
        (found.len() == 3).then(|| found.iter().map(|pid| pid.parse().unwrap()).collect())
    });
    assert!(tree.contains(&main) && tree.iter().all(|pid| runs(*pid)));
    let began = std::time::Instant::now();
    let said = agent.say(&["stop", &format!("{}:*", daemon.group())]);
    assert!(said.contains("stopped"), "{said}");
    assert!(
        began.elapsed() >= std::time::Duration::from_secs(1),
        "its grace"
    );
    let left: Vec<_> = tree.iter().filter(|pid| runs(**pid)).collect();
    assert!(
        left.is_empty(),
        "stopped is said only when the tree is gone: {left:?}"
    );
    assert_eq!(agent.instance(&daemon, 0).unwrap().state, "STOPPED");
}

/// Ends at the stop signal; its grandchild, in a session of its own, does not.
pub(crate) fn leaves_a_grandchild(pids: &Path) -> Daemon {
    let script = format!(
        "setsid sh -c \"trap \\\"\\\" TERM; echo \\$\\$ >> {0}; sleep 1001; sleep 1002\" & echo $$ >> {0}; exec sleep 1003",
        pids.display()
    );
    Daemon::shell(&script).with("stop_seconds", 1)
}

/// "Stopped" is said when the grandchild is gone too.
pub(crate) fn stops_the_grandchild_too(agent: &Agent, daemon: &Daemon, pids: &Path) {
    agent.pid(daemon, 0);
    let tree: Vec<i32> = until("the whole tree", || {
        let found = lines(pids);
        (found.len() == 2).then(|| found.iter().map(|pid| pid.parse().unwrap()).collect())
    });
    assert!(tree.iter().all(|pid| runs(*pid)));
    let said = agent.say(&["stop", &daemon.group()]);
    assert!(said.contains("stopped"), "{said}");
    let left: Vec<_> = tree.iter().filter(|pid| runs(**pid)).collect();
    assert!(left.is_empty(), "{left:?} of {tree:?}");
}

#[test]
fn what_outlives_the_main_process_is_killed_after_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let daemon = leaves_a_grandchild(&pids);
    let agent = Agent::with(&[&daemon]);
    stops_the_grandchild_too(&agent, &daemon, &pids);
}

#[test]
fn a_hold_outlives_the_worker() {
    let daemon = Daemon::new("sleep 1000");
    let agent = Agent::with(&[&daemon]);
    let pid = agent.pid(&daemon, 0);
    agent.say(&["stop", &daemon.group()]);
    assert!(!runs(pid));
    agent.kill_worker();
    agent.wait_ready();
    assert_eq!(agent.instance(&daemon, 0).unwrap().state, "STOPPED");
    let said = agent.say(&["start", &daemon.group()]);
    assert!(said.contains("started"), "{said}");
    agent.pid(&daemon, 0);
    agent.kill_worker();
    agent.wait_ready();
    agent.pid(&daemon, 0);
}

#[test]
fn what_can_not_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    let program = Daemon::new("no-such-program --now");
    let denied = Daemon::new(plain.to_str().unwrap());
    let directory = Daemon::new("sleep 1").with("directory", "/no/such/directory");
    let user = Daemon::new("sleep 1").with("user", "no-such-user");
    let policy = Daemon::new("sleep 1").with("user", "daemon");
    let agent = Agent::with(&[&program, &denied, &directory, &user, &policy]);
    for (daemon, expected) in [
        (
            program,
            "exec no-such-program: No such file or directory (os error 2)".to_owned(),
        ),
        (
            denied,
            format!("exec {}: Permission denied (os error 13)", plain.display()),
        ),
        (
            directory,
            "chdir /no/such/directory: No such file or directory (os error 2)".to_owned(),
        ),
        (
            user,
            "user no-such-user: there is no such user on this host".to_owned(),
        ),
        (policy, "user daemon: this host's policy".to_owned()),
    ] {
        let found = agent.wait_for(&daemon, 0, "BACKOFF");
        assert!(found.description.contains(&expected), "{found:?}");
    }
    until("nothing of a failed start is left", || {
        let left = |name| fs::read_dir(agent.path(name)).unwrap().count();
        (left("run/records") == 0 && left("run/fifo") == 0).then_some(())
    });
}

#[test]
fn a_program_finds_its_own_world_and_nothing_of_the_agents() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("world");
    let script = format!(
        "env > {0}.tmp; echo pwd=$(pwd) >> {0}.tmp; echo umask=$(umask) >> {0}.tmp; \
         echo stdin=$(readlink /proc/self/fd/0) >> {0}.tmp; echo fds=$(ls /proc/self/fd | wc -l) >> {0}.tmp; \
         echo session=$(cut -d\" \" -f6 /proc/$$/stat) pid=$$ >> {0}.tmp; mv {0}.tmp {0}; exec sleep 1000",
        out.display()
    );
    let daemon = Daemon::shell(&script)
        .with("directory", dir.path().to_str().unwrap())
        .with(
            "environment",
            serde_json::json!({ "QUEUE": "mails", "LANG": "de_DE.UTF-8" }),
        );
    let agent = Agent::with(&[&daemon]);
    let pid = agent.pid(&daemon, 0);
    let world = until("its world", || {
        Some(lines(&out)).filter(|found| !found.is_empty())
    });
    let has = |line: &str| assert!(world.iter().any(|l| l == line), "{line}: {world:#?}");
    has("QUEUE=mails");
    has("LANG=de_DE.UTF-8");
    has("SUPERVISOR_ENABLED=1");
    has(&format!("ZHYLON_DAEMON_ID={}", daemon.id));
    has(&format!("SUPERVISOR_GROUP_NAME={}", daemon.group()));
    has(&format!("SUPERVISOR_PROCESS_NAME={}_00", daemon.group()));
    has(&format!("USER={}", crate::agent::own_name()));
    has(&format!("pwd={}", dir.path().display()));
    has("umask=0022");
    has("stdin=/dev/null");
    has(&format!("session={pid} pid={pid}"));
    // Standard streams and the directory that `ls` itself reads.
    has("fds=4");
    let foreign: Vec<_> = world
        .iter()
        .filter(|line| line.starts_with("CARGO") || line.starts_with("RUST"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn stop_daemons_stops_all_and_the_next_start_brings_them_back() {
    let good = Daemon::new("sleep 1000");
    let stubborn = Daemon::shell("trap \"\" TERM; sleep 1001; sleep 1002").with("stop_seconds", 1);
    let held = Daemon::new("sleep 1003");
    let mut agent = Agent::with(&[&good, &stubborn, &held]);
    let pids = [&good, &stubborn, &held].map(|daemon| agent.pid(daemon, 0));
    agent.say(&["stop", &held.group()]);
    let stopped = agent.stop_daemons();
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(pids.iter().all(|pid| !runs(*pid)));
    assert!(
        !agent.path("run/keeper.pid").exists(),
        "the agent has ended"
    );
    agent.start();
    agent.pid(&good, 0);
    agent.pid(&stubborn, 0);
    assert_eq!(
        agent.instance(&held, 0).unwrap().state,
        "STOPPED",
        "holds stay"
    );

    // And again, with nobody there who could help.
    let pids = [&good, &stubborn].map(|daemon| agent.pid(daemon, 0));
    agent.kill_all();
    assert!(
        pids.iter().all(|pid| runs(*pid)),
        "daemons outlive the agent"
    );
    let stopped = agent.stop_daemons();
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(pids.iter().all(|pid| !runs(*pid)));
    let left = fs::read_dir(agent.path("run/records")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn sigterm_ends_the_agent_and_not_the_daemons() {
    let daemon = Daemon::new("sleep 1000");
    let mut agent = Agent::with(&[&daemon]);
    let pid = agent.pid(&daemon, 0);
    let worker = agent.worker_pid();
    agent.terminate();
    assert!(runs(pid) && !runs(worker));
    agent.start();
    assert_eq!(agent.pid(&daemon, 0), pid);
}

#[test]
fn a_changed_spec_replaces_what_runs_once_it_resolves() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("app");
    let old = Daemon::new("sleep 1000");
    let mut agent = Agent::with(&[&old]);
    let pid = agent.pid(&old, 0);
    let changed = old.clone().with("directory", target.to_str().unwrap());
    agent.kill_all();
    agent.write_ledger(&[&changed]);
    agent.start();
    // The check has failed when it is said: only then is its keeping the old one worth anything.
    agent.kill_worker();
    agent.wait_ready();
    assert_eq!(agent.pid(&old, 0), pid, "the old one runs on");
    fs::create_dir(&target).unwrap();
    let new = until("its replacement", || {
        let found = agent.instance(&changed, 0)?;
        found
            .pid
            .filter(|new| *new != pid && found.state == "RUNNING")
    });
    assert!(!runs(pid));
    let directory = fs::read_link(format!("/proc/{new}/cwd")).unwrap();
    assert_eq!(directory, target.canonicalize().unwrap());
}
