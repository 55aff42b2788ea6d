//! `cargo xtask …`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "What is done with this repository"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds, starts an api-server, enrols this machine as its first server, runs a sample daemon and follows its log.
    Up(xtask::up::Args),
    /// Stops everything that `up` started, daemons too.
    Down(xtask::down::Args),
    /// Installs what the tests need and runs all of them.
    Test(xtask::test::Args),
    /// Checks what a compiler can not: floors, licences, sources, lints, file sizes.
    Tidy,
    /// Measures us beside a floor and beside peers, in one run.
    Bench(xtask::bench::Args),
    /// Proves one promise of docs/promises.md for as long as you like.
    Soak(xtask::soak::Args),
    /// Builds the programs and prints the directory they are in.
    Build {
        /// Optimised.
        #[arg(long)]
        release: bool,
    },
    /// Keeps the programs of a directory running; started by `up`.
    #[command(hide = true)]
    Runner {
        /// The directory.
        #[arg(long)]
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Up(args) => xtask::up::run(&args),
        Command::Down(args) => xtask::down::run(&args),
        Command::Test(args) => xtask::test::run(&args),
        Command::Bench(args) => xtask::bench::run(&args),
        Command::Soak(args) => xtask::soak::run(&args),
        Command::Tidy => xtask::tidy::run(),
        Command::Build { release } => {
            let profile = if release {
                xtask::build::Profile::Release
            } else {
                xtask::build::Profile::Dev
            };
            xtask::build::build(profile)
                .map(|programs| xtask::say(&programs.dir.display().to_string()))
        }
        Command::Runner { dir } => xtask::runner::run(&dir),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            xtask::say_error(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
