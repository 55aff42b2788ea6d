//! `cargo xtask bench`: our figures beside a floor and beside peers, in one run, interleaved. Printed, with n; a table for
//! people and JSON for machines.

mod child;
mod drain;
mod logs;
mod logs_stream;
mod many;
mod ours;
mod peer;
mod report;
mod resident;
mod respawn;
mod restart;
mod status;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use crate::build::{Profile, Programs, build};
use crate::{say, say_error};

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds of the respawn and drain measurements; every program is measured in each round.
    #[arg(long, default_value_t = 9)]
    pub rounds: usize,
    /// Kills of each fast program per round (supervisord, which takes a second each, gets fewer).
    #[arg(long, default_value_t = 25)]
    pub kills: usize,
    /// Which rows: `host` is how processes are kept (all parts but `logs` and `stream`)
    pub rows: Option<Rows>,
    /// Measures this alone; may be given several times
    #[arg(long)]
    pub only: Vec<Part>,
    /// Writes the figures as JSON there.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// From a kill to the next process' first act.
    Respawn,
    /// Restarts asked for over the local socket.
    Restart,
    /// A thousand programs, until all are up.
    Many,
    /// Memory and idle processor time.
    Resident,
    /// A whole `supervisorctl status`.
    Status,
    /// From a process to its log file.
    Drain,
    /// From a process to a reader.
    Logs,
    /// A live log to one and to many viewers.
    Stream,
}

/// What belongs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rows {
    /// How processes are kept alive.
    Host,
}

/// Where a benchmark finds its things.
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    /// In `/run`, as what our agent and the peers keep for one boot only is on every host: in memory.
    pub(crate) dir: TempDir,
    /// On a disk, for what outlives a boot.
    pub(crate) disk: TempDir,
}

/// Set inside of the benchmark's own mount namespace.
const INSIDE: &str = "ZHYLON_BENCH_INSIDE";
/// Machines without systemd have `/run` on their disk.
const OWN_RUN: &str = r#"mount -t tmpfs -o mode=755 tmpfs /run && exec "$@""#;

/// Runs all of it.
///
/// # Errors
/// When a program does not start or a measurement can not be made.
pub fn run(args: &Args) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the benchmark starts system supervisors and needs root");
    }
    if std::env::var_os(INSIDE).is_none() {
        return with_own_run();
    }
    let mut temporary = tempfile::Builder::new();
    temporary.prefix("zhylon-bench.");
    let bench = Bench {
        programs: Programs::existing(&std::env::current_exe()?.with_file_name("zhylon"))?,
        dir: (temporary.tempdir_in("/run")).context("a temporary directory in /run")?,
        disk: temporary.tempdir().context("a temporary directory")?,
    };
    let children = child::compile(bench.dir.path())?;
    say_error(&format!(
        "zhylon-exec is built for {}",
        bench.programs.helper_target
    ));
    let mut report = report::Report::new(&bench.programs.helper_target);
    let system = ours::System::up(&bench)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let outcome = measure(args, &bench, &runtime, &system, &children, &mut report);
    drop(system);
    say(&report.table());
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    // What was measured before it is true all the same.
    outcome
}

/// Builds everything and runs this program once more: optimised, as floors and viewers of live logs run inside of it, and
/// with a `/run` of its own.
fn with_own_run() -> Result<()> {
    let programs = build(Profile::Release)?;
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .args(["sh", "-c", OWN_RUN, "sh"])
        .arg(programs.dir.with_file_name("xtask"))
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .context("start unshare")?;
    if !status.success() {
        bail!("the benchmark failed");
    }
    Ok(())
}

fn measure(
    args: &Args,
    bench: &Bench,
    runtime: &tokio::runtime::Runtime,
    system: &ours::System,
    children: &[child::Child],
    report: &mut report::Report,
) -> Result<()> {
    let wanted = |part| {
        let among = args.only.is_empty() || args.only.contains(&part);
        among && (args.rows.is_none() || !matches!(part, Part::Drain | Part::Logs | Part::Stream))
    };
    if wanted(Part::Respawn) {
        for child in children {
            respawn::measure(bench, runtime, system, child, args, report)?;
        }
    }
    if wanted(Part::Restart) {
        restart::measure(bench, runtime, system, &children[0], args, report)?;
    }
    if wanted(Part::Many) {
        for child in children {
            many::measure(bench, runtime, system, child, args, report)?;
        }
    }
    if wanted(Part::Resident) {
        resident::measure(bench, runtime, system, &children[0], report)?;
    }
    if wanted(Part::Status) {
        runtime.block_on(status::measure(system, &children[0], bench, report))?;
    }
    if wanted(Part::Drain) {
        drain::measure(bench, runtime, system, args, report)?;
    }
    if wanted(Part::Logs) {
        runtime.block_on(logs::first_line(system, report))?;
        runtime.block_on(logs::throughput(system, bench, report))?;
    }
    if wanted(Part::Stream) {
        runtime.block_on(logs_stream::measure(system, bench, report))?;
    }
    Ok(())
}
