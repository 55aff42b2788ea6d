//! Keeps an api-server and a host-agent running, as systemd would: restarts either within a second, and keeps `env` true.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::say_error;
use crate::up::layout::{Layout, Record, write};
use crate::up::processes::Process;

/// How often the programs are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// A program that died sooner than this after its start is not started again at once …
const TOO_SOON: Duration = Duration::from_secs(1);
/// … but after this.
const PAUSE: Duration = Duration::from_millis(500);

/// One program.
struct Program {
    name: &'static str,
    /// For `down`, should this runner be gone by then.
    pid_file: PathBuf,
    child: Option<Child>,
    started: Instant,
}

impl Program {
    fn new(name: &'static str, layout: &Layout) -> Self {
        Self {
            name,
            pid_file: layout.file(&format!("{name}.pid")),
            child: None,
            started: Instant::now() - TOO_SOON,
        }
    }

    /// Starts it if it does not run.
    fn keep(&mut self, command: impl FnOnce() -> Command) -> Result<()> {
        if let Some(child) = &mut self.child {
            let Some(status) = child.try_wait()? else {
                return Ok(());
            };
            say_error(&format!("runner: {} ended: {status}", self.name));
            self.child = None;
        }
        if self.started.elapsed() < TOO_SOON && self.started.elapsed() < PAUSE {
            return Ok(());
        }
        let child = command()
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", self.name))?;
        say_error(&format!("runner: {} started as {}", self.name, child.id()));
        write(&self.pid_file, &format!("{}\n", child.id()), 0o644)?;
        self.started = Instant::now();
        self.child = Some(child);
        Ok(())
    }

    fn process(&self) -> Option<Process> {
        let pid = i32::try_from(self.child.as_ref()?.id()).ok()?;
        Process::find(pid)
    }
}

/// Runs until TERM; then everything is stopped, daemons too.
///
/// # Errors
/// When the directory is not one of `up`, or nothing can be started.
pub fn run(dir: &Path) -> Result<()> {
    let layout = Layout::new(dir)?;
    let record = layout
        .record()?
        .context("this directory was not made by `cargo xtask up`")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(keep(&layout, &record))
}

async fn keep(layout: &Layout, record: &Record) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal that started us may go.
    let mut hang_up = signal(SignalKind::hangup())?;
    write(
        &layout.file("runner.pid"),
        &format!("{}\n", std::process::id()),
        0o644,
    )?;
    let mut api = Program::new("api-server", layout);
    let mut agent = Program::new("host-agent", layout);
    let mut look = tokio::time::interval(LOOK);
    let mut written = String::new();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = hang_up.recv() => continue,
            _ = look.tick() => {}
        }
        api.keep(|| {
            program(
                record,
                "api-server",
                &["serve", "--config"],
                &layout.file("api-server.toml"),
            )
        })?;
        if layout.agent().join("identity/identity.json").exists() {
            agent.keep(|| {
                program(
                    record,
                    "host-agent",
                    &["run", "--config"],
                    &layout.file("host-agent.toml"),
                )
            })?;
        }
        if layout.file("ready").exists() {
            keep_environment(layout, record, &api, &mut written)?;
        }
    }
    say_error("runner: stopping everything");
    crate::down::stop(layout, record, api.process())?;
    let _ = std::fs::remove_file(layout.file("runner.pid"));
    Ok(())
}

fn program(record: &Record, name: &str, arguments: &[&str], config: &Path) -> Command {
    let mut command = Command::new(record.bin_dir.join(name));
    command.args(arguments).arg(config);
    command
}

/// Writes `env` when all programs run, and again when a pid changes.
fn keep_environment(
    layout: &Layout,
    record: &Record,
    api: &Program,
    written: &mut String,
) -> Result<()> {
    let keeper = Process::from_file(&record.run_dir.join("keeper.pid"));
    let worker = Process::from_file(&record.run_dir.join("worker.pid"));
    let (Some(api), Some(keeper), Some(worker)) = (api.process(), keeper, worker) else {
        return Ok(());
    };
    let Some(ids) = layout.ids()? else {
        return Ok(());
    };
    let token = std::fs::read_to_string(layout.file("owner.token"))?;
    let lines = [
        (
            "ZHYLON_API_URL",
            format!("https://127.0.0.1:{}", record.api_port),
        ),
        ("ZHYLON_API_TOKEN", token.trim().to_owned()),
        (
            "ZHYLON_CA_FILE",
            layout.api().join("public-ca.pem").display().to_string(),
        ),
        ("ZHYLON_TEAM_ID", ids.team_id),
        ("ZHYLON_SERVER_ID", ids.server_id),
        (
            "ZHYLON_SUPERVISOR_SOCKET",
            record.run_dir.join("supervisor.sock").display().to_string(),
        ),
        ("ZHYLON_BIN_DIR", record.bin_dir.display().to_string()),
        ("ZHYLON_API_PID", api.pid.to_string()),
        ("ZHYLON_KEEPER_PID", keeper.pid.to_string()),
        ("ZHYLON_WORKER_PID", worker.pid.to_string()),
    ];
    let text: String = lines
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
        .collect();
    if *written != text {
        // It holds a token.
        write(&layout.file("env"), &text, 0o600)?;
        *written = text;
    }
    Ok(())
}

/// One word for a shell, whatever it holds.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}
