//! `cargo xtask up`: from nothing to a running, followed daemon. Everything it does to the api-server it does over the
//! public API.

pub mod api;
mod install;
pub mod layout;
pub mod processes;
pub(crate) mod steps;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use layout::{Layout, Record};
use processes::{Process, wait_until};

use crate::build::{Profile, Programs, build};
use crate::say;

/// Where everything lies unless `--dir` says otherwise.
#[must_use]
pub fn default_dir() -> PathBuf {
    crate::build::root().join("target/up")
}

/// What `up` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keeps all state there [default: target/up].
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Returns when all works, instead of following the sample's log.
    #[arg(long)]
    pub detach: bool,
    /// Builds optimised programs.
    #[arg(long)]
    pub release: bool,
    /// Uses the programs of this directory (see `cargo xtask build`) instead of building them.
    #[arg(long, conflicts_with = "release")]
    pub programs: Option<PathBuf>,
    /// Port of the public API [default: a free one].
    #[arg(long)]
    pub api_port: Option<u16>,
    /// Port of the agent listener [default: a free one].
    #[arg(long)]
    pub agent_port: Option<u16>,
    /// Puts the client at /usr/local/bin/supervisorctl and the socket where it looks; `down` undoes it.
    #[arg(long)]
    pub install_supervisorctl: bool,
}

/// Longest wait for any one step.
const STEP: Duration = Duration::from_secs(60);

/// Runs it.
///
/// # Errors
/// When a step fails; says which.
pub fn run(args: &Args) -> Result<()> {
    let programs = match &args.programs {
        Some(dir) => Programs::existing(dir)?,
        None => build(if args.release {
            Profile::Release
        } else {
            Profile::Dev
        })?,
    };
    let layout = Layout::new(&args.dir.clone().unwrap_or_else(default_dir))?;
    // A runner that was killed leaves its programs running; a second set beside them would fight for the same files.
    let lives = |name: &&str| Process::from_file(&layout.file(name)).is_some();
    if ["runner.pid", "api-server.pid", "host-agent.pid"]
        .iter()
        .any(lives)
    {
        bail!(
            "it runs already in {0}: use it with `. {0}/env`, or stop it with `cargo xtask down --dir {0}`",
            layout.dir.display()
        );
    }
    let run_dir = layout.run_dir()?;
    let earlier = layout.record()?;
    let port = |wanted: Option<u16>, before: Option<u16>| match wanted.or(before) {
        Some(port) => Ok(port),
        None => free_port(),
    };
    let mut record = Record {
        bin_dir: programs.dir.clone(),
        api_port: port(args.api_port, earlier.as_ref().map(|r| r.api_port))?,
        agent_port: port(args.agent_port, earlier.as_ref().map(|r| r.agent_port))?,
        run_dir,
        installed: earlier.map(|r| r.installed).unwrap_or_default(),
    };
    for name in ["env", "ready"] {
        let _ = std::fs::remove_file(layout.file(name));
    }
    save(&layout, &record)?;
    steps::write_configuration(&layout, &record)?;
    steps::bootstrap(&layout, &record)?;
    start_runner(&layout)?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let sample = runtime.block_on(steps::enrol_and_start_sample(&layout, &record))?;
    if args.install_supervisorctl {
        install::install(&mut record)?;
        save(&layout, &record)?;
    }
    layout::write(&layout.file("ready"), "", 0o644)?;
    if !wait_until(STEP, || layout.file("env").exists()) {
        bail!(
            "the programs do not stay up; see {}",
            layout.file("runner.log").display()
        );
    }
    explain(&layout, &record, &sample);
    if args.detach {
        return Ok(());
    }
    say("Following its log; Ctrl-C ends this view only.\n");
    let status = Command::new("/bin/sh")
        .args(["-c", ". \"$1\" && exec \"$2\" daemon logs -f \"$3\"", "sh"])
        .args([
            layout.file("env").as_os_str(),
            programs.path("zhylonctl").as_os_str(),
            sample.as_ref(),
        ])
        .status()?;
    // Ctrl-C ends the follower by signal: that is how one leaves, not a failure.
    if status.code().is_some_and(|code| code != 0) {
        bail!("following the log failed: {status}");
    }
    Ok(())
}

fn save(layout: &Layout, record: &Record) -> Result<()> {
    layout::write(
        &layout.file("up.json"),
        &serde_json::to_string_pretty(record)?,
        0o644,
    )
}

/// A port that is free now. Somebody may take it before we do; then the api-server says so and `up` fails.
fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}

/// Starts the runner in a process group of its own, so that Ctrl-C here does not reach it.
fn start_runner(layout: &Layout) -> Result<()> {
    use std::os::unix::process::CommandExt as _;
    let log = std::fs::File::create(layout.file("runner.log"))?;
    let mut runner = Command::new(crate::THIS_PROGRAM)
        .args(["runner", "--dir"])
        .arg(&layout.dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start the runner")?;
    let pid_file = layout.file("runner.pid");
    if !wait_until(STEP, || {
        pid_file.exists() || runner.try_wait().is_ok_and(|ended| ended.is_some())
    }) {
        bail!("the runner did not start");
    }
    if let Some(status) = runner.try_wait()? {
        bail!(
            "the runner ended: {status}; see {}",
            layout.file("runner.log").display()
        );
    }
    Ok(())
}

fn explain(layout: &Layout, record: &Record, sample: &str) {
    let dir = layout.dir.display();
    let bin = record.bin_dir.display();
    let bare = sample.trim_start_matches("h:");
    say(&format!(
        "\nIt works. In this shell:\n\n    \
         . {dir}/env\n    \
         export PATH=\"$ZHYLON_BIN_DIR:$PATH\"\n    \
         zhylonctl daemon list\n    \
         zhylonctl daemon logs -f {sample}\n    \
         zhylonctl daemon restart --wait {sample}\n    \
         zhylonctl daemon create --user \"$(id -un)\" --command 'sleep 1000'\n    \
         supervisorctl status\n    \
         supervisorctl restart daemon-{sample}:*\n\n\
         The log is also at ~/.zhylon/daemon-{bare}.log, the programs are in {bin}.\n\
         Stop everything: cargo xtask down --dir {dir}\n"
    ));
}
