//! P3: who ends while no worker lives is known by its exit code, and its last words are in the log.

use std::fs;

use rustix::process::Signal;

use super::agent::{Agent, Daemon};
use super::{Programs, Tally, daemon, word};
use crate::eventually;
use crate::random::Random;

/// Instances that end in one round.
pub(super) const INSTANCES: u64 = 50;
/// Exit codes go from 1 to this.
const CODES: u64 = 200;

/// The code of an instance.
pub(super) fn code(index: u64, offset: u64) -> u8 {
    u8::try_from(1 + (index + offset) % CODES).expect("at most 200")
}

pub(super) fn round(programs: &Programs, random: &mut Random) -> Tally {
    let notes = tempfile::tempdir().expect("a temporary directory");
    let offset = random.below(CODES as usize) as u64;
    let command = format!(
        "{} words {} --offset {offset}",
        word(&programs.daemon),
        word(notes.path())
    );
    let speakers = Daemon::new(&command)
        .with("processes", INSTANCES)
        .with("restart_policy", "NEVER");
    let agent = Agent::started(programs, std::slice::from_ref(&speakers));
    let pids = agent.pids(INSTANCES as usize);
    // A stopped keeper starts no other worker.
    let (keeper, worker) = (agent.keeper(), agent.worker());
    keeper.signal(Signal::STOP).expect("stop the keeper");
    worker.signal(Signal::KILL).expect("kill the worker");
    agent.buried(worker);
    fs::write(notes.path().join("gate"), "").expect("open the gate");
    eventually("all have ended", || {
        let lives = |pid: &i32| xtask::up::processes::Process::find(*pid).is_some();
        (!pids.values().any(lives)).then_some(())
    });
    keeper.signal(Signal::CONT).expect("let the keeper go on");
    let infos = eventually("all ends are known", || {
        let infos = agent.infos()?;
        infos
            .values()
            .all(|info| info.state == "EXITED")
            .then_some(infos)
    });
    for index in 0..INSTANCES {
        let info = &infos[&speakers.instance(u32::try_from(index).expect("below 64"))];
        assert_eq!(
            info.code,
            i32::from(code(index, offset)),
            "instance {index}"
        );
    }
    let expected = |index| format!("last words of {index:02}: {}", code(index, offset));
    let mut expected: Vec<String> = (0..INSTANCES).map(expected).collect();
    expected.sort();
    eventually("all last words are in the log", || {
        let text = fs::read_to_string(speakers.log()).ok()?;
        (text.lines().count() >= expected.len()).then_some(())
    });
    let text = fs::read_to_string(speakers.log()).expect("the log");
    let mut found: Vec<&str> = text.lines().collect();
    found.sort_unstable();
    assert_eq!(found, expected, "last words");
    daemon::assert_alone(notes.path());
    assert_eq!(
        daemon::notes(notes.path(), "starts").len() as u64,
        INSTANCES,
        "starts"
    );
    Tally {
        trials: INSTANCES,
        lines: INSTANCES,
        runs: INSTANCES,
    }
}
