//! `host-agent upgrade`: the agent becomes the program that now lies in its place, and says so once it has. What that
//! program would refuse, it refuses before the old one is told anything.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::agent::{Lock, Process, UPGRADE, try_lock};
use crate::config::{Config, Settings};

/// How long it may take in all: the old worker has 10 s to end, then the next reads ledger and records.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// What the kernel appends to the name of a program that was replaced.
const REPLACED: &str = " (deleted)";

/// Upgrades the agent that runs with these settings. `worker_args` are its flags, as the worker gets them.
///
/// # Errors
/// Why the agent is as it was; or that it did not come back.
pub(crate) fn upgrade(settings: &Settings, worker_args: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let config = &settings.config;
    let keeper = match try_lock(config)? {
        Lock::Keepers => Process::keeper(config),
        Lock::Ours(_) | Lock::NeverRan => None,
    };
    let Some(keeper) = keeper else {
        bail!(
            "no agent runs with {} and {}: there is nothing to upgrade, `host-agent run` starts the new program",
            config.state_dir.display(),
            config.run_dir.display()
        );
    };
    let path = program(&keeper)?;
    // The same flags, but for the command.
    check(&path, worker_args.get(1..).unwrap_or_default())?;
    let before = Process::worker(config).map(|worker| worker.pid);
    keeper.signal(UPGRADE).context("tell the keeper")?;
    let deadline = Instant::now() + PATIENCE;
    let worker = loop {
        let worker = Process::worker(config).filter(|worker| Some(worker.pid) != before);
        match worker {
            Some(worker) if runs(&keeper, &path) && answers(config) => break worker,
            _ if Instant::now() > deadline => bail!(
                "the agent did not come back as {} within {} s; daemons are not touched by it. The agent's own log says why",
                path.display(),
                PATIENCE.as_secs()
            ),
            _ => sleep(LOOK),
        }
    };
    writeln!(
        std::io::stdout().lock(),
        "The agent runs {} now: keeper {} (as before), worker {}. Daemons went on running.",
        path.display(),
        keeper.pid,
        worker.pid
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Where the keeper's program lay when it was started.
fn program(keeper: &Process) -> anyhow::Result<PathBuf> {
    let link = std::fs::read_link(format!("/proc/{}/exe", keeper.pid));
    let link = link.context("look up the keeper's program")?;
    Ok(
        match link.to_str().and_then(|path| path.strip_suffix(REPLACED)) {
            Some(path) => path.into(),
            None => link,
        },
    )
}

/// Has the new program read the configuration.
fn check(path: &Path, flags: &[OsString]) -> anyhow::Result<()> {
    let output = Command::new(path)
        .arg("check-config")
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .with_context(|| {
            format!(
                "{}: it can not be started, the old program goes on",
                path.display()
            )
        })?;
    if !output.status.success() {
        bail!(
            "{} refuses the configuration, the old program goes on:\n{}",
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

fn runs(keeper: &Process, path: &Path) -> bool {
    let file = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let running = file(Path::new(&format!("/proc/{}/exe", keeper.pid)));
    matches!((running, file(path)), (Ok(running), Ok(new)) if running == new)
}

/// Whether the worker serves: it does so once it has taken over what runs.
fn answers(config: &Config) -> bool {
    use std::io::Read as _;
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(config.run_dir.join("supervisor.sock"))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        Ok(stream.read(&mut [0; 16])? > 0)
    };
    ask().unwrap_or(false)
}
