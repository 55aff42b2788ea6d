//! `cargo xtask soak`: builds the programs and starts the long tier of one promise (`zhylon-soak`, whose checkers are
//! those of the tests). Owns its arguments and the build; proves nothing itself.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::build::{Profile, build, build_for_tests, run as run_command, target_dir};

/// What `soak` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    soak: Soak,
    /// Against optimised programs; P4 needs the others, which alone have fail points.
    #[arg(long)]
    release: bool,
}

/// What is given on.
#[derive(Debug, Clone, clap::Args)]
pub struct Soak {
    /// P1, P2, P3, P4, P5, P10 or P16.
    #[arg(long)]
    pub promise: String,
    /// Trials in all, those of the file of `--resume` included; else `--minutes` decides.
    #[arg(long, required_unless_present = "minutes")]
    pub count: Option<u64>,
    /// Decides moments and victims; printed, and random without this.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Says how far it came, and where to go on the next time.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// No round begins after so many minutes.
    #[arg(long)]
    pub minutes: Option<u64>,
    /// Rounds at the same time.
    #[arg(long, default_value_t = 4)]
    pub lanes: usize,
    /// Directory of an older version's `host-agent` and `zhylon-exec`, for P16.
    #[arg(long, value_name = "DIR")]
    pub previous: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When the programs do not build or the promise does not hold.
pub fn run(args: &Args) -> Result<()> {
    let (laid_out, dir) = if args.release {
        (build(Profile::Release)?, "release")
    } else {
        (build_for_tests()?, "debug")
    };
    let built = target_dir()?.join(dir);
    let soak = &args.soak;
    // The helper that is shipped is always optimised and has no fail points; cargo's own lies beside cargo's agent.
    let programs = if soak.promise == "P4" {
        &built
    } else {
        &laid_out.dir
    };
    let mut command = Command::new(built.join("zhylon-soak"));
    command.args(["prove", "--promise", &soak.promise, "--programs"]);
    command.arg(programs);
    command.args(["--lanes", &soak.lanes.to_string()]);
    for (name, number) in [
        ("--count", soak.count),
        ("--seed", soak.seed),
        ("--minutes", soak.minutes),
    ] {
        if let Some(number) = number {
            command.args([name, &number.to_string()]);
        }
    }
    for (name, path) in [("--resume", &soak.resume), ("--previous", &soak.previous)] {
        if let Some(path) = path {
            command.arg(name).arg(path);
        }
    }
    if soak.lanes == 0 {
        bail!("--lanes: must be at least 1");
    }
    run_command(&mut command)
}
