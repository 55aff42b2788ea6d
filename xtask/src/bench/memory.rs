//! Proportional set size of keeper and worker together, with 1 and with 100 programs.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Bench;
use super::child::{Child, Stamps};
use super::ours::System;
use super::report::Report;

/// Lets buffers of the start go before looking.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) async fn measure(
    ours: &System,
    child: &Child,
    bench: &Bench,
    report: &mut Report,
) -> Result<()> {
    let mut stamps = Stamps::new(bench.dir.path().join("memory.pipe"))?;
    let command = format!("{} {}", child.program.display(), stamps.path.display());
    let mut daemons = Vec::new();
    // The sample of `up` is one more, in both figures.
    for (programs, batches) in [(1, vec![1]), (100, vec![49, 50])] {
        for processes in batches {
            daemons.push(ours.create(command.clone(), processes).await?.id);
            for _ in 0..processes {
                stamps.next()?;
            }
        }
        tokio::time::sleep(SETTLE).await;
        let kib: u64 = ours
            .agent()?
            .iter()
            .map(|p| pss(p.pid))
            .sum::<Result<u64>>()?;
        report.add(
            &format!("memory of keeper + worker, {programs} programs"),
            "ours",
            "MiB",
            vec![kib as f64 / 1024.0],
        );
    }
    for id in daemons {
        ours.delete(&id).await?;
    }
    Ok(())
}

/// KiB.
fn pss(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .context("no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
