//! Record before reap, and every daemon's own grace.

use std::fs;
use std::time::{Duration, Instant};

use xtask::up::processes::Process;
use zhylon_tests::eventually;
use zhylon_tests::promises::agent::{Agent, Daemon};

use crate::{built, lives, running, shell, until};

/// Between the end of a process and its last trace.
const POINTS: &[&str] = &["ended-seen", "ended-recorded", "ended-reaped"];

#[test]
fn an_exit_code_is_known_wherever_the_worker_is_killed() {
    for point in POINTS {
        let dir = tempfile::tempdir().expect("a directory");
        let gate = dir.path().join("gate");
        let script = format!(
            "until test -e {}; do sleep 0.02; done; exit 7",
            gate.display()
        );
        let daemon = shell(&script).with("restart_policy", "NEVER");
        let agent = Agent::started(&built(), std::slice::from_ref(&daemon));
        let pid = running(&agent, &daemon);
        let fail = agent.path("run/fail");
        fs::create_dir(&fail).expect("a place for its points");
        fs::write(fail.join(point), "0").expect("arm it");
        let worker = agent.worker();
        fs::write(&gate, "").expect("open the gate");
        agent.buried(worker);
        assert!(!fail.join(point).exists(), "{point}");
        let ended = until(&agent, &daemon, point, |info| info.state == "EXITED");
        assert_eq!(ended.code, 7, "killed at {point}");
        assert!(!lives(pid));
    }
}

/// Notes when it was told to end, and does not.
fn stubborn(notes: &std::path::Path, name: &str, grace: u64) -> Daemon {
    let at = notes.display();
    let script = format!(
        "trap \"echo > {at}/told.{name}\" TERM; echo > {at}/up.{name}; while :; do sleep 0.05; done"
    );
    shell(&script).with("stop_seconds", grace)
}

/// Long enough after the other one's for a busy machine to see what is between.
const LONG: Duration = Duration::from_secs(12);

/// All are told at once, and each is killed when its own grace is over.
fn each_by_its_own_grace(with_agent: bool) {
    let notes = tempfile::tempdir().expect("a directory");
    let (short, long) = (
        stubborn(notes.path(), "short", 3),
        stubborn(notes.path(), "long", LONG.as_secs()),
    );
    let quick = Daemon::new("sleep 1000").with("stop_seconds", 3600);
    let mut agent = Agent::started(&built(), &[short.clone(), long.clone(), quick.clone()]);
    let [a, b, c] = [&short, &long, &quick]
        .map(|daemon| Process::find(running(&agent, daemon)).expect("it runs"));
    let there = |name: &str| notes.path().join(name).exists();
    eventually("both listen", || {
        (there("up.short") && there("up.long")).then_some(())
    });
    if !with_agent {
        agent.kill_keeper();
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| agent.run(&["stop", "--daemons"]));
        eventually("the first is killed", || (!a.lives()).then_some(()));
        assert!(there("told.short") && there("told.long") && !c.lives());
        assert!(b.lives(), "the other one has its own grace");
        eventually("the other is killed, too", || (!b.lives()).then_some(()));
        let had = began.elapsed();
        assert!(had >= LONG, "killed after {had:?}");
        let stopped = stopping.join().expect("stop");
        assert!(stopped.status.success(), "{stopped:?}");
    });
}

#[test]
fn each_is_killed_after_its_own_grace_by_the_agent() {
    each_by_its_own_grace(true);
}

#[test]
fn each_is_killed_after_its_own_grace_without_an_agent() {
    each_by_its_own_grace(false);
}
