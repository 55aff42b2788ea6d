//! The agent becomes a newer program: nobody's pid changes, nothing runs twice, no line is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::agent::{Agent, Daemon, lines, runs, until};

const INSTANCES: u32 = 50;
const UPGRADES: usize = 5;

/// Puts another file in the place of the agent's program, as a package manager does.
fn replace(agent: &Agent, bytes: &[u8]) {
    let (place, new) = (agent.path("bin/host-agent"), agent.path("bin/new"));
    let plain = agent.path("bin/plain");
    fs::write(&plain, bytes).unwrap();
    // A process of its own: a descriptor open for writing that some other test's child inherits makes a file no program.
    let copied = Command::new("cp").args([&plain, &new]).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, place).unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn counted(starts: &Path) -> Daemon {
    Daemon::shell(&format!("echo $$ >> {}; exec sleep 1000", starts.display()))
        .with("processes", INSTANCES)
}

#[test]
fn fifty_instances_and_a_writer_do_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let quiet = counted(&starts);
    let writer = Daemon::shell("n=0; while :; do n=$((n+1)); echo line $n; sleep 0.002; done");
    let mut agent = Agent::from_copies(&[&quiet, &writer]);
    agent.start();
    let pids = |agent: &Agent| -> Vec<i32> {
        let all = until("all run", || {
            let all = agent.instances();
            let run = all.values().all(|one| one.state == "RUNNING");
            (run && all.len() == INSTANCES as usize + 1).then_some(all)
        });
        all.values().map(|one| one.pid.unwrap()).collect()
    };
    let (before, keeper) = (pids(&agent), agent.keeper_pid());
    until("all have begun", || {
        (lines(&starts).len() == INSTANCES as usize).then_some(())
    });
    let program = fs::read(agent.path("bin/host-agent")).unwrap();
    let mut workers = vec![agent.worker_pid()];
    for _ in 0..UPGRADES {
        replace(&agent, &program);
        let output = agent.upgrade();
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(agent.keeper_pid(), keeper);
        workers.push(agent.worker_pid());
        assert_eq!(pids(&agent), before);
    }
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers.len(), UPGRADES + 1, "each time another worker");
    assert_eq!(lines(&starts).len(), INSTANCES as usize, "none twice");

    let home = nix::unistd::User::from_uid(nix::unistd::geteuid());
    let log = home.unwrap().unwrap().dir;
    let log = log.join(format!(".zhylon/{}.log", writer.group()));
    agent.say(&["stop", &writer.group()]);
    let last = until("the log is drained", || {
        let written = lines(&log);
        let numbered = (1..).map(|n| format!("line {n}"));
        let whole = numbered.zip(&written).take_while(|(a, b)| a == *b).count();
        (whole == written.len() && whole > 100).then_some(whole)
    });
    assert!(last > 100);
}

#[test]
fn what_the_new_program_refuses_is_refused_before_anything_ends() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::new("sleep 1000");
    let mut agent = Agent::from_copies(&[&daemon]);
    let nobody = agent.upgrade();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        said(&nobody).contains("nothing to upgrade"),
        "{}",
        said(&nobody)
    );

    agent.start();
    let (pid, worker) = (agent.pid(&daemon, 0), agent.worker_pid());
    let unchanged = |agent: &Agent| {
        assert!(runs(pid) && runs(worker));
        assert_eq!(agent.worker_pid(), worker);
    };
    let program = fs::read(agent.path("bin/host-agent")).unwrap();
    let ours = dir.path().join("host-agent");
    let place = agent.path("bin/host-agent");
    let copied = Command::new("cp").args([&place, &ours]).status().unwrap();
    assert!(copied.success());
    let upgrade = |agent: &Agent| {
        let output = agent.upgrade_by(&ours);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        said(&output)
    };
    replace(&agent, b"#!/bin/sh\necho I know no policy >&2; exit 78\n");
    let text = upgrade(&agent);
    assert!(
        text.contains("refuses the configuration") && text.contains("I know no policy"),
        "{text}"
    );
    unchanged(&agent);
    replace(&agent, b"no program at all");
    let text = upgrade(&agent);
    assert!(
        text.contains("can not be started, the old program goes on"),
        "{text}"
    );
    unchanged(&agent);
    replace(&agent, &program);
    assert_eq!(agent.pid(&daemon, 0), pid);
}
