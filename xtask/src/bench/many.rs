//! 1000 programs: how long until all are up, from the exec of the program that starts them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use super::child::{Child, Stamps, now};
use super::ours::{Agent, System, copy_files};
use super::peer::{ALL, FLOORS, Kind};
use super::report::{Figure, Limit, Report};
use super::{Args, Bench};
use crate::say_error;

/// So many programs.
pub(crate) const PROGRAMS: usize = 1000;
/// Rounds of the peers, which take seconds for each.
const ROUNDS_PEER: usize = 3;

/// Measures with one kind of child.
pub(crate) fn measure(
    bench: &Bench,
    runtime: &Runtime,
    ours: &System,
    child: &Child,
    args: &Args,
    report: &mut Report,
) -> Result<()> {
    let work = format!("{PROGRAMS} programs all up, {} child", child.kind);
    let dir = bench.dir.path().join("many");
    std::fs::create_dir_all(&dir)?;
    let mut stamps = Stamps::new(dir.join("stamps"))?;
    let ledger = ledger(&dir, runtime, ours, child, &mut stamps)?;
    let (floors, peers) = ALL.split_at(FLOORS.len());
    let mut who: Vec<&str> = floors.iter().map(|kind| kind.name()).collect();
    who.push("ours");
    who.extend(peers.iter().map(|kind| kind.name()));
    let mut samples: Vec<(&str, Vec<Vec<f64>>)> =
        who.into_iter().map(|who| (who, Vec::new())).collect();
    for round in 1..=args.rounds {
        say_error(&format!("{work}: round {round} of {}", args.rounds));
        for (who, rounds) in &mut samples {
            let place = dir.join(*who);
            let kind = ALL.into_iter().find(|kind| kind.name() == *who);
            if round > ROUNDS_PEER && kind.is_some_and(|kind| !FLOORS.contains(&kind)) {
                continue;
            }
            let took = match kind {
                Some(kind) => {
                    // The services' directories are there before: only the start counts.
                    match peer(kind, &place, child, &mut stamps) {
                        Ok(took) => took,
                        Err(error) => {
                            say_error(&format!("not measured: {error:#}"));
                            continue;
                        }
                    }
                }
                None => {
                    let agent = Agent::prepare(bench, &place, &ledger)?;
                    let before = now();
                    let agent = agent.start()?;
                    let took = all_up(&mut stamps, before)?;
                    agent.end()?;
                    took
                }
            };
            rounds.push(vec![took]);
        }
    }
    for (who, rounds) in samples {
        report.add_rounds(&work, who, "ms", rounds);
    }
    if child.kind == "static glibc" {
        report.bar(&work, Figure::P50, Limit::Times(1.5));
    }
    report.bar(&work, Figure::P50, Limit::TimesSteps(1.5));
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn peer(kind: Kind, dir: &Path, child: &Child, stamps: &mut Stamps) -> Result<f64> {
    let prepared = kind.prepare(dir, child, &stamps.path, PROGRAMS)?;
    let before = now();
    let peer = prepared.start()?;
    let took = all_up(stamps, before);
    peer.end()?;
    took
}

fn all_up(stamps: &mut Stamps, before: i64) -> Result<f64> {
    let times = stamps.take(PROGRAMS)?.into_iter().map(|stamp| stamp.time);
    Ok((times.max().unwrap_or(before) - before) as f64 / 1e6)
}

/// The ledger of an agent that was told to run all of them: made by the real way, then taken to agents that stand alone.
fn ledger(
    dir: &Path,
    runtime: &Runtime,
    ours: &System,
    child: &Child,
    stamps: &mut Stamps,
) -> Result<PathBuf> {
    let command = child.command(&stamps.path);
    let ids = runtime.block_on(ours.create_many(&command, PROGRAMS))?;
    stamps.take(PROGRAMS)?;
    let ledger = dir.join("ledger");
    copy_files(&ours.state_dir().join("ledger"), &ledger).context("the ledger")?;
    runtime.block_on(async {
        for id in ids {
            ours.delete(&id).await?;
        }
        anyhow::Ok(())
    })?;
    Ok(ledger)
}
