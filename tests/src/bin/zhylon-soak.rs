//! `zhylon-soak`: the long tier's proofs (`cargo xtask soak` builds and starts it), and the programs its daemons are.
//! Owns arguments and exit codes; what is proven is `zhylon_tests::promises`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use zhylon_tests::promises::soak::{Order, soak};
use zhylon_tests::promises::{Programs, Promise, daemon, reuse};

#[derive(Parser)]
#[command(about = "Proves promises for as long as you like")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Proves one.
    Prove(Prove),
    /// In a PID namespace of its own: one round of P5.
    #[command(hide = true)]
    Reuse {
        #[arg(long)]
        agent: PathBuf,
        #[arg(long)]
        seed: u64,
    },
    #[command(hide = true)]
    Writer { notes: PathBuf },
    #[command(hide = true)]
    Slot { notes: PathBuf },
    #[command(hide = true)]
    Words {
        notes: PathBuf,
        #[arg(long)]
        offset: u64,
    },
    #[command(hide = true)]
    Sleeper { notes: PathBuf },
}

#[derive(clap::Args)]
struct Prove {
    /// Directory of `host-agent` and `zhylon-exec`.
    #[arg(long)]
    programs: PathBuf,
    #[command(flatten)]
    soak: xtask::soak::Soak,
}

fn main() -> ExitCode {
    let own = std::env::current_exe();
    let done = match Args::parse().command {
        Command::Prove(args) => prove(&args, own),
        Command::Reuse { agent, .. } => inside(agent, own),
        Command::Writer { notes } => Ok(daemon::writer(&notes)),
        Command::Slot { notes } => Ok(daemon::slot(&notes)),
        Command::Words { notes, offset } => Ok(daemon::words(&notes, offset)),
        Command::Sleeper { notes } => Ok(daemon::sleeper(&notes)),
    };
    let told = done.and_then(|done| Ok(done?));
    told.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr().lock(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

fn inside(agent: PathBuf, own: std::io::Result<PathBuf>) -> Result<std::io::Result<ExitCode>> {
    let programs = Programs {
        agent,
        daemon: own?,
        previous: None,
    };
    let tally = reuse::inside(&programs);
    writeln!(
        std::io::stdout().lock(),
        "{}",
        serde_json::to_string(&tally)?
    )?;
    Ok(Ok(ExitCode::SUCCESS))
}

fn prove(args: &Prove, own: std::io::Result<PathBuf>) -> Result<std::io::Result<ExitCode>> {
    let soak_args = &args.soak;
    let name = &soak_args.promise;
    let promise = Promise::named(name)
        .with_context(|| format!("--promise {name}: known are P1, P2, P3, P4, P5, P10 and P16"))?;
    let programs = Programs {
        agent: args.programs.join("host-agent"),
        daemon: own?,
        previous: soak_args.previous.clone(),
    };
    if promise == Promise::P4 && !zhylon_tests::promises::has_points(&programs.agent) {
        bail!("--promise P4: a release build has no fail points; leave --release out");
    }
    if promise == Promise::P5 && !rustix::process::geteuid().is_root() {
        bail!("--promise P5: to choose pids needs root");
    }
    let order = Order {
        promise,
        count: soak_args.count.unwrap_or(u64::MAX / 4),
        seed: soak_args.seed,
        resume: soak_args.resume.clone(),
        minutes: soak_args.minutes,
        lanes: soak_args.lanes,
    };
    let say = |line: &str| {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    };
    let figures = soak(&order, &programs, &say)?;
    say(&figures);
    Ok(Ok(ExitCode::SUCCESS))
}
