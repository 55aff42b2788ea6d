//! The promises about kills, ends, starts, strange pids and upgrades, and the checkers that prove them: the same code for
//! the commit tier (`tests/promises.rs`) and the long one (`cargo xtask soak`).
//!
//! A proof is made of rounds, each with an agent of its own and a seed of its own, and its checkers know nothing of our
//! code: they read what daemons wrote themselves. What does not hold panics. Must never count what did not happen: a
//! round that injected nothing fails.

use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use crate::random::Random;

pub mod agent;
pub mod daemon;
mod ends;
mod kills;
mod lines;
pub mod reuse;
pub mod soak;
mod starts;
mod streams;
mod upgrades;

pub use starts::{POINTS, has_points};

/// One promise of `docs/promises.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// kill -9 of the worker: no daemon dies, no line is lost, doubled or torn.
    P1,
    /// The same for keeper, worker and both.
    P2,
    /// Last words and exit code of who ends while no worker lives.
    P3,
    /// Never two instances of one slot, wherever a start is cut off.
    P4,
    /// Never a stranger adopted or signalled that has a daemon's old pid.
    P5,
    /// A viewer sees every line once and in order, or an announced gap.
    P10,
    /// Upgrades and downgrades change no pid.
    P16,
}

/// The programs under test.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `host-agent`, with its `zhylon-exec` beside it.
    pub agent: PathBuf,
    /// The program that the daemons of the proofs are made of: `zhylon-soak`.
    pub daemon: PathBuf,
    /// Directory of an older version's programs, for P16.
    pub previous: Option<PathBuf>,
}

/// What was done, and held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// Kills, ends, reuses or upgrades.
    pub trials: u64,
    /// Lines that were read back.
    pub lines: u64,
    /// Runs of daemons that were looked at.
    pub runs: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.trials += other.trials;
        self.lines += other.lines;
        self.runs += other.runs;
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Decides every moment and every victim.
    pub seed: u64,
    /// Rounds that were made before, by this seed.
    pub done: u64,
    /// At least as many trials in all.
    pub trials: u64,
    /// Rounds at the same time.
    pub lanes: usize,
    /// No round begins after it.
    pub until: Option<Instant>,
}

impl Promise {
    /// By its name in the documents.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::P1,
            Self::P2,
            Self::P3,
            Self::P4,
            Self::P5,
            Self::P10,
            Self::P16,
        ];
        all.into_iter().find(|promise| promise.name() == name)
    }

    /// Its name in the documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P5 => "P5",
            Self::P10 => "P10",
            Self::P16 => "P16",
        }
    }

    /// Trials of one round.
    #[must_use]
    pub fn trials_per_round(self) -> u64 {
        match self {
            Self::P1 => kills::WORKER_KILLS,
            Self::P2 => kills::ANY_KILLS,
            Self::P3 => ends::INSTANCES,
            Self::P4 => starts::KILLS,
            Self::P5 => reuse::REUSES,
            Self::P10 => streams::INTERRUPTIONS,
            Self::P16 => upgrades::UPGRADES,
        }
    }

    /// What a tally means, for people.
    #[must_use]
    pub fn figures(self, tally: Tally) -> String {
        let Tally {
            trials,
            lines,
            runs,
        } = tally;
        match self {
            Self::P1 => format!(
                "{trials} kills of the worker, {lines} lines: 0 lost, 0 doubled, 0 torn; {runs} instances, 0 pids changed"
            ),
            Self::P2 => format!(
                "{trials} kills of keeper, worker or both, {lines} lines: 0 lost, 0 doubled, 0 torn; {runs} instances, 0 pids changed"
            ),
            Self::P3 => format!(
                "{trials} of {trials} exit codes known, {lines} of {lines} last lines there"
            ),
            Self::P4 => format!(
                "{trials} starts and ends cut off at {} places, {runs} runs: 0 overlaps",
                (trials / starts::KILLS).min(POINTS.len() as u64)
            ),
            Self::P5 => {
                format!("{trials} pids of daemons taken by strangers: 0 adopted, 0 signalled")
            }
            Self::P10 => format!(
                "{trials} kills and restarts of agents and api-servers, {lines} lines at {runs} viewers: 0 lost, 0 doubled, 0 torn but in announced gaps"
            ),
            Self::P16 => format!("{trials} upgrades with {runs} instances in all: 0 pids changed"),
        }
    }

    fn round(self, programs: &Programs, number: u64, random: &mut Random) -> Tally {
        match self {
            Self::P1 => kills::worker(programs, random),
            Self::P2 => kills::any(programs, random),
            Self::P3 => ends::round(programs, random),
            Self::P4 => starts::round(programs, number, random),
            Self::P5 => reuse::round(programs, random.seed()),
            Self::P10 => streams::round(programs, random),
            Self::P16 => upgrades::round(programs, random),
        }
    }

    /// Makes rounds until there are as many trials as planned; `after` hears of each that held.
    ///
    /// # Panics
    /// When the promise does not hold: with the seed and number of the round.
    pub fn prove(
        self,
        programs: &Programs,
        plan: Plan,
        after: &(dyn Fn(u64, Tally) + Sync),
    ) -> Tally {
        let next = Mutex::new(plan.done);
        let last = plan.trials.div_ceil(self.trials_per_round());
        let total = Mutex::new(Tally::default());
        let take = || {
            let mut next = next.lock().expect("no round panics with it");
            let late = plan.until.is_some_and(|until| Instant::now() >= until);
            let number = *next;
            *next += 1;
            (number < last && !late).then_some(number)
        };
        let broken = Mutex::new(None);
        let lane = || {
            while let Some(number) = take() {
                let seed = plan
                    .seed
                    .wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
                    | 1;
                let mut random = Random::from_seed(seed);
                let round = AssertUnwindSafe(|| self.round(programs, number, &mut random));
                match catch_unwind(round) {
                    Ok(tally) => {
                        *total.lock().expect("no round panics with it") += tally;
                        after(number, tally);
                    }
                    Err(panic) => {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text =
                            text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned()));
                        let text = text.unwrap_or_default();
                        broken
                            .lock()
                            .expect("no round panics with it")
                            .get_or_insert(format!(
                                "{}, seed {}, round {number}: {text}",
                                self.name(),
                                plan.seed
                            ));
                        // The other lanes end with their rounds.
                        *next.lock().expect("no round panics with it") = u64::MAX / 2;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..plan.lanes {
                scope.spawn(lane);
            }
        });
        if let Some(text) = broken.into_inner().expect("no round panics with it") {
            panic!("{text}");
        }
        total.into_inner().expect("no round panics with it")
    }
}

/// The program that an argument of a shell line names: paths of tests hold no quotes.
fn word(path: &Path) -> String {
    let text = path.to_str().expect("a path in UTF-8");
    assert!(!text.contains(['\'', '"', ' ', '\\']), "{text}");
    text.to_owned()
}
