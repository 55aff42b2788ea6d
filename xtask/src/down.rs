//! `cargo xtask down`: stops what `up` started, daemons too, whether or not its runner still lives.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::say;
use crate::up::layout::{Layout, Record};
use crate::up::processes::{Process, wait_until};

/// What `down` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory that was given to `up` [default: target/up].
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// The longest grace a daemon may have is a day; nobody waits that long here. What is left then is said.
const RUNNER_WAIT: Duration = Duration::from_secs(600);

/// Runs it.
///
/// # Errors
/// When something would not end.
pub fn run(args: &Args) -> Result<()> {
    let dir = args.dir.clone().unwrap_or_else(crate::up::default_dir);
    if !dir.join("up.json").exists() {
        bail!("{} was not made by `cargo xtask up`", dir.display());
    }
    let layout = Layout::new(&dir)?;
    let record = layout.record()?.context("up.json is gone")?;
    match Process::from_file(&layout.file("runner.pid")) {
        Some(runner) => {
            runner.signal(rustix::process::Signal::TERM)?;
            if !wait_until(RUNNER_WAIT, || !runner.lives()) {
                bail!(
                    "the runner ({}) still waits for a daemon to end; see {}",
                    runner.pid,
                    layout.file("runner.log").display()
                );
            }
        }
        None => stop(&layout, &record, None)?,
    }
    for link in &record.installed {
        if link.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
            std::fs::remove_file(link).with_context(|| format!("remove {}", link.display()))?;
        }
    }
    let kept = Record {
        installed: Vec::new(),
        ..record.clone()
    };
    crate::up::layout::write(
        &layout.file("up.json"),
        &serde_json::to_string_pretty(&kept)?,
        0o644,
    )?;
    for name in [
        "env",
        "ready",
        "runner.pid",
        "api-server.pid",
        "host-agent.pid",
    ] {
        let _ = std::fs::remove_file(layout.file(name));
    }
    if record.run_dir.starts_with("/run") || record.run_dir.starts_with(&layout.dir) {
        match std::fs::remove_dir_all(&record.run_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", record.run_dir.display()));
            }
            _ => {}
        }
    }
    say(&format!(
        "Stopped. The state is kept in {}; `cargo xtask up` goes on with it.",
        layout.dir.display()
    ));
    Ok(())
}

/// Stops daemons, agent and api-server. `api` is the api-server if the caller knows it.
///
/// # Errors
/// When something would not end.
pub(crate) fn stop(layout: &Layout, record: &Record, api: Option<Process>) -> Result<()> {
    // The same the unit's ExecStop calls: all daemons at once, each with its own signal and grace. It ends the keeper.
    let status = Command::new(record.bin_dir.join("host-agent"))
        .args(["stop", "--daemons", "--config"])
        .arg(layout.file("host-agent.toml"))
        .status()
        .context("start host-agent stop")?;
    if let Some(keeper) = Process::from_file(&record.run_dir.join("keeper.pid")) {
        keeper.end(Duration::from_secs(15))?;
    }
    let api = api.or_else(|| Process::from_file(&layout.file("api-server.pid")));
    if let Some(api) = api {
        api.end(Duration::from_secs(15))?;
    }
    if !status.success() {
        bail!("host-agent stop --daemons: {status}");
    }
    Ok(())
}
