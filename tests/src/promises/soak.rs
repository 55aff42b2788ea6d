//! The long tier: as many rounds as fit, with a file that says how far it came, so that another run goes on from there.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Plan, Programs, Promise, Tally};
use crate::random::Random;

/// What to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// What to prove.
    pub promise: Promise,
    /// Trials in all, those of former runs included.
    pub count: u64,
    /// `None`: of this moment, or the file's.
    pub seed: Option<u64>,
    /// Where it is written how far this came.
    pub resume: Option<PathBuf>,
    /// No round begins later.
    pub minutes: Option<u64>,
    /// Rounds at the same time.
    pub lanes: usize,
}

/// How far it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    promise: String,
    seed: u64,
    /// Rounds that held.
    rounds: u64,
    tally: Tally,
}

/// Makes rounds, says each, and returns the line of figures.
///
/// # Errors
/// When the file of a former run is another promise's or seed's, or can not be written.
///
/// # Panics
/// When the promise does not hold.
pub fn soak(order: &Order, programs: &Programs, say: &(dyn Fn(&str) + Sync)) -> Result<String> {
    let name = order.promise.name();
    let former = match &order.resume {
        Some(path) => read(path)?,
        None => None,
    };
    let before = match former {
        Some(former) if former.promise != name => {
            bail!("--resume: the file is of {}, not of {name}", former.promise)
        }
        Some(former) if order.seed.is_some_and(|seed| seed != former.seed) => {
            bail!("--seed: the file of --resume has seed {}", former.seed)
        }
        Some(former) => former,
        None => Progress {
            promise: name.to_owned(),
            seed: order.seed.unwrap_or_else(|| Random::seeded().seed()),
            rounds: 0,
            tally: Tally::default(),
        },
    };
    let seed = before.seed;
    say(&format!(
        "{name}: seed {seed}, {} trials before",
        before.tally.trials
    ));
    let begun = Instant::now();
    let plan = Plan {
        seed,
        done: before.rounds,
        trials: order.count,
        lanes: order.lanes,
        until: order
            .minutes
            .map(|minutes| begun + Duration::from_secs(60 * minutes)),
    };
    let sum = Mutex::new(before);
    let failed = Mutex::new(None);
    order.promise.prove(programs, plan, &|number, tally| {
        let mut sum = sum.lock().expect("nobody panics with it");
        sum.rounds += 1;
        sum.tally += tally;
        let trials = sum.tally.trials;
        say(&format!(
            "{name}: round {number} held, {trials} trials so far"
        ));
        if let Some(path) = &order.resume
            && let Err(error) = write(path, &sum)
        {
            failed
                .lock()
                .expect("nobody panics with it")
                .get_or_insert(error);
        }
    });
    if let Some(error) = failed.into_inner().expect("nobody panics with it") {
        return Err(error);
    }
    let sum = sum.into_inner().expect("nobody panics with it");
    Ok(format!(
        "{name}: n = {}: {} (seed {seed}, {} rounds; this run {} s)",
        sum.tally.trials,
        order.promise.figures(sum.tally),
        sum.rounds,
        begun.elapsed().as_secs()
    ))
}

fn read(path: &Path) -> Result<Option<Progress>> {
    let told = || format!("--resume {}", path.display());
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(told)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(told),
    }
}

fn write(path: &Path, progress: &Progress) -> Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, serde_json::to_vec(progress)?)
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("write {}", path.display()))
}
