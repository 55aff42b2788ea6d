//! P4: starts and ends are cut off at every step, and no slot ever has two. The steps are the agent's fail points, which
//! only builds with debug assertions have.

use std::fs;
use std::path::Path;

use super::agent::{Agent, Daemon};
use super::{Programs, Tally, daemon, word};
use crate::eventually;
use crate::random::Random;

/// Every place, in the order in which a run comes by.
pub const POINTS: &[&str] = &[
    "spawn-decided",
    "start-begun",
    "start-user",
    "start-fifo",
    "start-held",
    "start-leaf",
    "start-orders",
    "start-pipe",
    "start-cloned",
    "start-done",
    "exec-orders",
    "exec-written",
    "exec-recorded",
    "exec-session",
    "exec-program",
    "spawned",
    "spawned-watched",
    "spawned-runs",
    "ended-seen",
    "ended-recorded",
    "ended-reaped",
    "over",
    "over-removed",
    "adopt-found",
    "adopt-watched",
];
/// Kills of one round, all at one place.
pub(super) const KILLS: u64 = 20;
/// How long a helper lingers whose worker was killed, in milliseconds: not at all, or until the next worker looks for it, or
/// longer than that one waits.
const LINGERS: [u64; 3] = [0, 700, 2500];
/// Instances that end and start all the time.
const SLOTS: usize = 4;

/// A release build has no such places.
#[must_use]
pub fn has_points(program: &Path) -> bool {
    let bytes = fs::read(program).expect("the program");
    bytes.windows(8).any(|text| text == b"../fail/")
}

pub(super) fn round(programs: &Programs, number: u64, random: &mut Random) -> Tally {
    let point = POINTS[number as usize % POINTS.len()];
    let notes = tempfile::tempdir().expect("a temporary directory");
    let command = format!("{} slot {}", word(&programs.daemon), word(notes.path()));
    let slots = Daemon::new(&command)
        .with("processes", SLOTS)
        .with("start_seconds", 0);
    let mut agent = Agent::started(programs, std::slice::from_ref(&slots));
    fs::create_dir(agent.path("run/fail")).expect("a place for its points");
    for kill in 0..KILLS {
        cut_off(&mut agent, point, random);
        let before = starts(notes.path());
        eventually(
            &format!("starts go on after kill {kill} at {point}"),
            || (starts(notes.path()) >= before + SLOTS).then_some(()),
        );
        daemon::assert_alone(notes.path());
    }
    let runs = starts(notes.path()) as u64;
    Tally {
        trials: KILLS,
        lines: 0,
        runs,
    }
}

/// Kills worker or keeper just as one of them, or a helper, comes by.
fn cut_off(agent: &mut Agent, point: &str, random: &mut Random) {
    let both = random.below(2) == 0;
    let worker = if both {
        agent.worker()
    } else {
        agent.settled_worker()
    };
    let adopts = point.starts_with("adopt-");
    let victim = match (both, adopts) {
        (true, _) => agent.keeper().pid,
        // Whoever comes by: it is not there yet.
        (false, true) => 0,
        (false, false) => worker.pid,
    };
    let (armed, fail) = (agent.path("run/armed"), agent.path("run/fail").join(point));
    let linger = LINGERS[random.below(3)];
    fs::write(&armed, format!("{victim} {linger}")).expect("write whom to kill");
    fs::rename(&armed, &fail).expect("arm it");
    eventually(&format!("somebody comes by {point}"), || {
        // Who takes over comes by, if there is something to take over: a worker that is killed as soon as it serves would
        // never get anything to run. What ran may have ended since; then the next one comes by.
        let runs = || {
            agent
                .infos()
                .is_some_and(|all| all.values().any(|one| one.state == "RUNNING"))
        };
        if adopts && runs() && fail.exists() {
            agent.kill_worker();
        }
        (!fail.exists()).then_some(())
    });
    if both {
        agent.keeper_gone();
        agent.start_keeper();
    } else if !adopts {
        agent.buried(worker);
    }
    agent.ready();
}

fn starts(notes: &Path) -> usize {
    daemon::notes(notes, "starts").len()
}
