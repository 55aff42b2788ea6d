//! What it costs to be there: memory with one program and with 1000, and processor time while nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use super::Bench;
use super::child::{Child, Stamps};
use super::many::PROGRAMS;
use super::ours::System;
use super::peer::{ALL, Kind};
use super::report::{Figure, Limit, Report};
use crate::say_error;

/// Lets buffers of the start go before looking.
const SETTLE: Duration = Duration::from_secs(3);
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(20);

/// What one of them costs.
struct Cost {
    /// KiB of all its own processes, children left out.
    pss: u64,
    /// Milliseconds of processor time per second; measured with many programs.
    idle: f64,
}

/// Measures ours (with its link to an api-server) and the peers, one after the other.
pub(crate) fn measure(
    bench: &Bench,
    runtime: &Runtime,
    ours: &System,
    child: &Child,
    report: &mut Report,
) -> Result<()> {
    for kind in ALL {
        say_error(&format!("resident: {}", kind.name()));
        match peer(kind, bench, child) {
            Ok((one, many, machine)) => add(report, kind.name(), &one, &many, machine),
            Err(error) => say_error(&format!("not measured: {error:#}")),
        }
    }
    say_error("resident: ours");
    let mut stamps = Stamps::new(bench.dir.path().join("resident.pipe"))?;
    let own =
        || -> Result<Vec<i32>> { Ok(ours.agent()?.iter().map(|process| process.pid).collect()) };
    // The sample of `up` writes a line each second, and none of the peers' programs does.
    runtime.block_on(ours.delete_all())?;
    let command = child.command(&stamps.path);
    let mut ids = runtime.block_on(ours.create_many(&command, 1))?;
    stamps.take(1)?;
    let one = cost(&own()?, 1)?;
    let before = available()?;
    ids.extend(runtime.block_on(ours.create_many(&command, PROGRAMS - 1))?);
    stamps.take(PROGRAMS - 1)?;
    let many = cost(&own()?, PROGRAMS)?;
    let machine = per_program(before, available()?);
    runtime.block_on(async {
        for id in ids {
            ours.delete(&id).await?;
        }
        anyhow::Ok(())
    })?;
    add(report, "ours", &one, &many, machine);
    report.bar("memory (PSS), 1 program", Figure::P50, Limit::Most(9.0));
    report.bar(
        "memory (PSS), each further program",
        Figure::P50,
        Limit::Most(3.0),
    );
    let idle = format!("idle processor time, {PROGRAMS} programs");
    report.bar(&idle, Figure::P50, Limit::Most(0.3));
    Ok(())
}

fn add(report: &mut Report, who: &str, one: &Cost, many: &Cost, machine: f64) {
    let further = many.pss.saturating_sub(one.pss) as f64 / (PROGRAMS - 1) as f64;
    let mib = one.pss as f64 / 1024.0;
    report.add("memory (PSS), 1 program", who, "MiB", vec![mib]);
    report.add(
        "memory (PSS), each further program",
        who,
        "KiB",
        vec![further],
    );
    let all = "MemAvailable, each further program and its child";
    report.add(all, who, "KiB", vec![machine]);
    let idle = format!("idle processor time, {PROGRAMS} programs");
    report.add(&idle, who, "ms/s", vec![many.idle]);
}

fn peer(kind: Kind, bench: &Bench, child: &Child) -> Result<(Cost, Cost, f64)> {
    let name = kind.name();
    let dir = bench.dir.path().join(format!("resident-{name}"));
    let mut stamps = Stamps::new(bench.dir.path().join(format!("resident-{name}.pipe")))?;
    let mut costs = Vec::new();
    let mut machine = 0.0;
    for count in [1, PROGRAMS] {
        let before = available()?;
        let peer = kind.start(&dir, child, &stamps.path, count)?;
        let measured = stamps
            .take(count)
            .and_then(|_| peer.own())
            .and_then(|own| cost(&own, count));
        machine = per_program(before, available()?);
        peer.end()?;
        costs.push(measured?);
    }
    let many = costs.pop().context("two costs")?;
    Ok((costs.pop().context("two costs")?, many, machine))
}

fn cost(own: &[i32], programs: usize) -> Result<Cost> {
    std::thread::sleep(SETTLE);
    let (before, began) = (processor_time(own)?, Instant::now());
    if programs > 1 {
        std::thread::sleep(IDLE);
    }
    let used = processor_time(own)?.saturating_sub(before);
    let idle = used as f64 / 1e6 / began.elapsed().as_secs_f64();
    let pss = own.iter().map(|pid| pss(*pid)).sum::<Result<u64>>()?;
    Ok(Cost { pss, idle })
}

/// Nanoseconds on a processor of all threads of these processes.
pub(super) fn processor_time(pids: &[i32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += text
                .split(' ')
                .next()
                .context("schedstat")?
                .parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// KiB.
fn pss(pid: i32) -> Result<u64> {
    kib(
        &std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?,
        "Pss:",
    )
}

/// KiB that the machine could still give.
fn available() -> Result<u64> {
    kib(&std::fs::read_to_string("/proc/meminfo")?, "MemAvailable:")
}

fn per_program(before: u64, after: u64) -> f64 {
    before.saturating_sub(after) as f64 / PROGRAMS as f64
}

fn kib(text: &str, field: &str) -> Result<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .with_context(|| format!("no {field}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
