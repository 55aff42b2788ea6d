//! P1 and P2: kill -9 of the agent's own processes at any moment, under load.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use xtask::up::processes::Process;

use super::agent::{Agent, Daemon};
use super::{Programs, Tally, daemon, lines, word};
use crate::eventually;
use crate::random::Random;

/// Kills of the worker in one round.
pub(super) const WORKER_KILLS: u64 = 25;
/// Kills of any in one round.
pub(super) const ANY_KILLS: u64 = 15;
/// Lines that are written while one kill after the other comes, at least, for each.
const LINES_PER_KILL: u64 = 10_000;
/// Writers of one daemon.
const SLOTS: usize = 2;
/// A young worker is killed within this many tenths of a millisecond, while it takes over what runs …
const YOUNG: usize = 600;
/// … an old one within this many milliseconds after its first second.
const OLD: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Worker,
    Keeper,
    Both,
}

/// Kills of the worker alone, each while lines come as fast as they can: what is in the worker's hands just then would be
/// lost. Every other one while it is still taking over what runs.
pub(super) fn worker(programs: &Programs, random: &mut Random) -> Tally {
    under_load(
        programs,
        WORKER_KILLS,
        LINES_PER_KILL,
        |agent, kill, notes| {
            let full = notes.join("full");
            if kill % 2 == 0 {
                agent.settled_worker();
                fs::write(&full, "").expect("let them write");
                pause(Duration::from_millis(random.below(OLD) as u64));
            } else {
                let moment = Duration::from_micros(100 * random.below(YOUNG) as u64);
                let _: Process = agent.worker();
                pause(moment);
            }
            agent.kill_worker();
            if kill % 2 == 1 {
                fs::remove_file(full).expect("let them rest");
            }
        },
    )
}

/// Kills of worker, keeper or both; the keeper is started again at once, as systemd does.
pub(super) fn any(programs: &Programs, random: &mut Random) -> Tally {
    under_load(programs, ANY_KILLS, 1000, |agent, kill, _| {
        let victim =
            [Victim::Worker, Victim::Keeper, Victim::Both][(kill as usize + random.below(3)) % 3];
        pause(Duration::from_millis(random.below(250) as u64));
        if victim != Victim::Keeper {
            let worker = agent.worker();
            worker.signal(Signal::KILL).expect("kill the worker");
            if victim == Victim::Worker {
                agent.buried(worker);
            }
        }
        if victim != Victim::Worker {
            agent.kill_keeper();
            agent.start_keeper();
        }
    })
}

/// Part of the injection, not of any waiting: the moment of a kill is random.
fn pause(moment: Duration) {
    std::thread::sleep(moment);
}

fn under_load(
    programs: &Programs,
    kills: u64,
    lines_per_kill: u64,
    mut kill: impl FnMut(&mut Agent, u64, &Path),
) -> Tally {
    let notes = tempfile::tempdir().expect("a temporary directory");
    let command = format!("{} writer {}", word(&programs.daemon), word(notes.path()));
    let writer = Daemon::new(&command).with("processes", SLOTS);
    let mut agent = Agent::started(programs, std::slice::from_ref(&writer));
    let before = agent.pids(SLOTS);
    for number in 0..kills {
        kill(&mut agent, number, notes.path());
        if number % 2 == 0 && number + 1 < kills {
            // The next one comes while this one's work is being taken over.
            continue;
        }
        let due = (number + 1) * lines_per_kill;
        eventually("enough lines for this kill", || {
            (written(notes.path()) >= due).then_some(())
        });
    }
    agent.ready();
    assert_eq!(agent.pids(SLOTS), before, "pids changed");
    daemon::assert_alone(notes.path());
    assert_eq!(daemon::notes(notes.path(), "starts").len(), SLOTS, "starts");
    fs::write(notes.path().join("stop"), "").expect("tell the writers");
    eventually("the last lines are in the log", || {
        lines::is_over(&writer.log(), SLOTS).then_some(())
    });
    let lines = lines::check(&writer.log(), SLOTS);
    assert!(
        lines >= kills * lines_per_kill,
        "hardly any load: {lines} lines"
    );
    Tally {
        trials: kills,
        lines,
        runs: SLOTS as u64,
    }
}

/// Lines that the writers say they wrote.
fn written(notes: &Path) -> u64 {
    let progress = daemon::notes(notes, "progress");
    progress
        .iter()
        .filter_map(|text| text.parse::<u64>().ok())
        .sum()
}
