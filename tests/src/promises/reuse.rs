//! P5: a daemon's pid is a stranger's now. It is forced, in a PID namespace of its own: the kernel is told which number
//! comes next. The stranger is never taken for the daemon and never signalled: not by an agent that takes over, not by
//! `stop --daemons`, whatever the run record says.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use xtask::up::processes::Process;

use super::agent::{Agent, Daemon};
use super::{Programs, Tally, daemon, word};
use crate::eventually;

/// Reuses of one round.
pub(super) const REUSES: u64 = 10;
/// How often the number may go to somebody else first.
const TRIES: usize = 1000;
/// The first process of the namespace: reaps what others leave, as an init does.
const INIT: &str = r#""$@"; exit $?"#;

/// Runs [`inside`] in a PID namespace of its own, by `zhylon-soak`. Needs root.
pub(super) fn round(programs: &Programs, seed: u64) -> Tally {
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"])
        .args(["/bin/sh", "-c", INIT, "init"])
        .arg(&programs.daemon)
        .arg("reuse")
        .arg("--agent")
        .arg(&programs.agent)
        .args(["--seed", &seed.to_string()]);
    let output = unshare.output().expect("start unshare");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(said.trim()).expect("a tally")
}

/// What the record of the former owner says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    /// What it said when it was alive.
    Old,
    /// The stranger's start time, too: only the cgroup tells them apart.
    SameStart,
    /// As an agent without cgroups would have left it.
    NoCgroup,
}

/// The round, in a namespace where pids are nobody else's.
///
/// # Panics
/// When a stranger was taken for a daemon, or signalled.
#[must_use]
pub fn inside(programs: &Programs) -> Tally {
    let mut tally = Tally::default();
    let records = [Record::Old, Record::SameStart, Record::NoCgroup];
    for reuse in 0..REUSES as usize {
        one(programs, records[reuse % 3], reuse % 2 == 0, reuse % 4 < 2);
        tally.trials += 1;
        tally.runs += 1;
    }
    tally
}

fn one(programs: &Programs, kind: Record, starts: bool, own_session: bool) {
    let notes = tempfile::tempdir().expect("a temporary directory");
    let command = format!("{} sleeper {}", word(&programs.daemon), word(notes.path()));
    let sleeper = Daemon::new(&command).with("stop_seconds", 0);
    let mut agent = Agent::started(programs, std::slice::from_ref(&sleeper));
    let name = sleeper.instance(0);
    let old = Process::find(agent.pids(1)[&name]).expect("it runs");
    let worker = agent.worker();
    agent.kill_keeper();
    agent.buried(worker);
    old.signal(Signal::KILL).expect("kill the daemon");
    eventually("its number is free", || {
        (!Path::new(&format!("/proc/{}", old.pid)).exists()).then_some(())
    });
    let mut stranger = born_as(old.pid, own_session);
    let now = Process::find(old.pid).expect("the stranger");
    assert_ne!(now.start_time, old.start_time, "too quick to tell by time");
    rewrite(&agent.path(&format!("run/records/{}", old.pid)), kind, now);

    if starts {
        agent.start();
        // Until the keeper had its say the instance is shown as it was.
        eventually(
            &format!("{kind:?}: the daemon runs, not as the stranger"),
            || (agent.pids(1)[&name] != old.pid).then_some(()),
        );
        // It runs before its first word.
        eventually(&format!("{kind:?}: two starts"), || {
            (daemon::notes(notes.path(), "starts").len() == 2).then_some(())
        });
    }
    let stopped = agent.run(&["stop", "--daemons"]);
    assert!(stopped.status.success(), "{stopped:?}");
    let ended = stranger.try_wait().expect("look at the stranger");
    assert!(
        ended.is_none(),
        "{kind:?}, own session {own_session}: a stranger was signalled: {ended:?}\n{}",
        agent.own_log()
    );
    stranger.kill().expect("end the stranger");
    stranger.wait().expect("wait for it");
}

/// A process with this pid. It ends when it is signalled, or when we do.
fn born_as(pid: i32, own_session: bool) -> Child {
    for _ in 0..TRIES {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("choose a pid");
        let mut command = Command::new(if own_session { "setsid" } else { "cat" });
        if own_session {
            command.arg("cat");
        } else {
            command.process_group(0);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("start a stranger");
        if child.id() == pid.cast_unsigned() {
            eventually("the stranger is what it will be", || {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                (comm == "cat\n").then_some(())
            });
            return child;
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    panic!("{pid} went to somebody else {TRIES} times");
}

fn rewrite(record: &Path, kind: Record, now: Process) {
    let mut text = String::new();
    let opened = fs::File::open(record).and_then(|mut file| file.read_to_string(&mut text));
    opened.expect("the record of the daemon");
    let line = |line: &str| match (kind, line.split_once('=').map(|(key, _)| key)) {
        (Record::SameStart, Some("start_time")) => format!("start_time={}\n", now.start_time),
        (Record::NoCgroup, Some("cgroup")) => "cgroup=\n".to_owned(),
        _ => format!("{line}\n"),
    };
    let text: String = text.lines().map(line).collect();
    fs::write(record, text).expect("write the record");
}
