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

#[cfg(test)]
mod tests {
    use super::*;

    fn order(resume: &Path, promise: Promise, seed: Option<u64>) -> Order {
        Order {
            promise,
            count: 3 * promise.trials_per_round(),
            seed,
            resume: Some(resume.to_owned()),
            minutes: None,
            lanes: 1,
        }
    }

    #[test]
    fn what_was_done_before_counts_and_is_no_other_promises() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("progress");
        // Every round is done already, so no program is needed.
        let programs = Programs {
            agent: "/none".into(),
            daemon: "/none".into(),
            previous: None,
        };
        let former = Progress {
            promise: "P3".to_owned(),
            seed: 77,
            rounds: 3,
            tally: Tally {
                trials: 150,
                lines: 150,
                runs: 150,
            },
        };
        write(&file, &former).unwrap();
        let run = |promise, seed| soak(&order(&file, promise, seed), &programs, &|_| {});
        let figures = run(Promise::P3, None).unwrap();
        assert!(figures.starts_with("P3: n = 150: 150 of 150") && figures.contains("seed 77"));
        let other = run(Promise::P1, None).unwrap_err().to_string();
        assert_eq!(other, "--resume: the file is of P3, not of P1");
        let other = run(Promise::P3, Some(5)).unwrap_err().to_string();
        assert_eq!(other, "--seed: the file of --resume has seed 77");
        std::fs::write(&file, "{").unwrap();
        assert!(
            run(Promise::P3, None).is_err(),
            "a torn file is no beginning"
        );
    }
}
