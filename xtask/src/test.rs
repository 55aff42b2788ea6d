//! `cargo xtask test`: installs what the tests need, runs all of them, and sums up.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::build::{cargo, run as run_command};
use crate::{say, say_error};

/// Debian packages the tests use, each with the program or file that shows it is there.
const PACKAGES: &[(&str, &str)] = &[
    ("supervisor", "/usr/bin/supervisorctl"),
    ("php8.2-cli", "/usr/bin/php8.2"),
    (
        "php-laravel-framework",
        "/usr/share/php/Illuminate/autoload.php",
    ),
    (
        "php-sqlite3",
        "/usr/share/php8.2-sqlite3/sqlite3/pdo_sqlite.ini",
    ),
    ("python3", "/usr/bin/python3"),
    ("sudo", "/usr/bin/sudo"),
    ("util-linux", "/usr/bin/unshare"),
    ("npm", "/usr/bin/npm"),
    (
        "libfaketime",
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    ),
];

/// What `test` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Given on to `cargo test` (after `--`: to the test programs).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// When a test fails.
pub fn run(args: &Args) -> Result<()> {
    install()?;
    let mut tests = cargo();
    tests
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(&args.rest)
        .stdout(Stdio::piped());
    let mut child = tests.spawn().context("start cargo test")?;
    let (mut passed, mut failed, mut ignored, mut skipped) = (0, 0, 0, Vec::new());
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            say(&line);
            if let Some(rest) = line.strip_prefix("test result: ") {
                passed += number_before(rest, " passed");
                failed += number_before(rest, " failed");
                ignored += number_before(rest, " ignored");
            }
            if let Some(at) = line.find("SKIPPED ") {
                skipped.push(line[at..].to_owned());
            }
        }
    }
    let status = child.wait()?;
    for line in &skipped {
        say_error(line);
    }
    say(&format!(
        "{passed} passed, {failed} failed, {} skipped",
        skipped.len() + ignored
    ));
    if !status.success() || failed > 0 {
        bail!("tests failed");
    }
    Ok(())
}

fn number_before(text: &str, word: &str) -> usize {
    let Some((before, _)) = text.split_once(word) else {
        return 0;
    };
    before
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// Installs what is missing when we are root; else says what is missing, and the tests that need it skip by name.
fn install() -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(_, proof)| !std::path::Path::new(proof).exists())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        say_error(&format!(
            "not installed, so tests that need them are skipped: {}",
            missing.join(" ")
        ));
        return Ok(());
    }
    say_error(&format!("installing {}", missing.join(" ")));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(["-qq", "-o", "DPkg::Lock::Timeout=120"])
            .args(arguments);
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null());
        run_command(&mut command)
    };
    apt(&["update"])?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&arguments)
}
