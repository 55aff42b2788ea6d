//! No room on a disk, no descriptor left: the agent goes on, says so, and makes good when there is room again.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use xtask::up::processes::Process;
use zhylon_tests::eventually;
use zhylon_tests::machine::Machine;
use zhylon_tests::namespace::story;
use zhylon_tests::promises::agent::{Agent, Daemon};

use crate::{built, lives, running, until};

/// A small file system in the place of one of the agent's directories.
fn small_disk(place: &Path, size: &str) {
    fs::create_dir_all(place).expect("a place");
    let mounted = Command::new("mount")
        .args([
            "-t",
            "tmpfs",
            "-o",
            &format!("size={size},mode=0755"),
            "tmpfs",
        ])
        .arg(place)
        .status();
    assert!(mounted.expect("start mount").success());
}

/// Fills a file system to the last byte.
fn fill(place: &Path) {
    let filler = place.join("filler");
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096", "status=none"])
        .arg(format!("of={}", filler.display()))
        .status();
    assert!(
        !filled.expect("start dd").success(),
        "it ends with no space left"
    );
}

#[test]
fn with_a_full_run_directory_what_runs_runs_and_the_rest_says_why() {
    story(async |_: Machine| {
        let (stays, held) = (Daemon::new("sleep 1000"), Daemon::new("sleep 1001"));
        let mut agent = Agent::new(&built(), &[stays.clone(), held.clone()]);
        small_disk(&agent.path("run"), "2m");
        agent.start();
        let pid = running(&agent, &stays);
        running(&agent, &held);
        let command = |method: &str| agent.call(method, &held.full_name());
        command("supervisor.stopProcess").expect("an answer");
        agent.wait_for_records(1);
        fill(&agent.path("run"));
        let answer = command("supervisor.startProcess").expect("an answer");
        assert!(answer.contains("faultString"), "{answer}");
        let failed = until(&agent, &held, "it can not start", |i| i.state == "BACKOFF");
        assert!(failed.error.contains("No space left"), "{failed:?}");
        // A worker begins with a full disk, too.
        agent.settled_worker();
        agent.kill_worker();
        agent.ready();
        assert_eq!(running(&agent, &stays), pid);
        fs::remove_file(agent.path("run/filler")).expect("make room");
        running(&agent, &held);
        assert_eq!(running(&agent, &stays), pid);
    });
}

#[test]
fn with_a_full_state_directory_no_hold_is_promised() {
    story(async |_: Machine| {
        let daemon = Daemon::new("sleep 1000");
        let mut agent = Agent::new(&built(), std::slice::from_ref(&daemon));
        let ledger = fs::read(agent.path("state/ledger/desired.json")).expect("the ledger");
        small_disk(&agent.path("state"), "8m");
        fs::create_dir(agent.path("state/ledger")).expect("its directory");
        fs::write(agent.path("state/ledger/desired.json"), ledger).expect("the ledger");
        agent.start();
        let pid = running(&agent, &daemon);
        fill(&agent.path("state"));
        let stop = || agent.call("supervisor.stopProcess", &daemon.full_name());
        let answer = stop().expect("an answer");
        assert!(
            answer.contains("faultString") && answer.contains("the ledger could not be written"),
            "{answer}"
        );
        assert!(lives(pid), "nothing is done that was not written down");
        let dying = Process::find(pid).expect("it runs");
        dying.signal(Signal::KILL).expect("kill it");
        until(&agent, &daemon, "no disk is needed for another", |info| {
            info.state == "RUNNING" && info.pid != pid
        });
        agent.settled_worker();
        agent.kill_worker();
        agent.ready();
        fs::remove_file(agent.path("state/filler")).expect("make room");
        let answer = stop().expect("an answer");
        assert!(!answer.contains("fault"), "{answer}");
        until(&agent, &daemon, "it is stopped", |info| {
            info.state == "STOPPED"
        });
    });
}

#[test]
fn with_too_few_descriptors_some_run_and_the_others_say_why() {
    const INSTANCES: usize = 60;
    let many = Daemon::new("sleep 1000").with("processes", INSTANCES);
    let mut agent = Agent::new(&built(), std::slice::from_ref(&many));
    agent = agent.wrapped(&["prlimit", "--nofile=128:128"]);
    agent.start();
    let worker = agent.worker();
    let (up, waiting) = eventually("each runs or says why it does not", || {
        let infos = agent.infos()?;
        let (up, down): (Vec<_>, Vec<_>) = infos.into_values().partition(|i| i.state == "RUNNING");
        let said = down.iter().all(|info| info.error.contains("open files"));
        (!down.is_empty() && said).then_some((up, down))
    });
    assert!(!up.is_empty() && up.len() + waiting.len() == INSTANCES);
    assert_eq!(agent.worker(), worker, "it goes on");
    assert!(up.iter().all(|info| lives(info.pid)));
}
