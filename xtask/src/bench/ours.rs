//! Our own system, made by `up`, as the benchmarks drive it; and an agent alone.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Started, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use zhylon_proto::daemons::v1::daemon_service_client::DaemonServiceClient;
use zhylon_proto::daemons::v1::log_service_client::LogServiceClient;
use zhylon_proto::daemons::v1::{
    CreateDaemonRequest, Daemon, DeleteDaemonRequest, ListDaemonsRequest,
};

use super::Bench;
use crate::up::api::{Service, connect};
use crate::up::layout::Layout;
use crate::up::processes::Process;
use crate::up::steps;

/// Most instances of one daemon.
const PROCESSES_MAX: usize = 64;

/// A channel as the owner of the first team.
pub(crate) type Caller = Service;

/// A running system; stopped when dropped.
pub(crate) struct System {
    layout: Layout,
}

impl System {
    /// Starts one, optimised.
    pub(crate) fn up(bench: &Bench) -> Result<Self> {
        let dir = bench.disk.path().join("up");
        let status = Command::new(crate::THIS_PROGRAM)
            .args(["up", "--release", "--detach", "--dir"])
            .arg(&dir)
            .stdout(std::process::Stdio::null())
            .status()?;
        if !status.success() {
            bail!("up failed");
        }
        Ok(Self {
            layout: Layout::new(&dir)?,
        })
    }

    async fn service(&self) -> Result<Service> {
        let record = self.layout.record()?.context("no record")?;
        let token = std::fs::read_to_string(self.layout.file("owner.token"))?;
        connect(
            &steps::api_url(&record),
            &steps::ca_file(&self.layout),
            &token,
        )
        .await
    }

    pub(crate) async fn daemons(&self) -> Result<DaemonServiceClient<Service>> {
        Ok(DaemonServiceClient::new(self.service().await?))
    }

    pub(crate) async fn logs(&self) -> Result<LogServiceClient<Service>> {
        Ok(LogServiceClient::new(self.service().await?))
    }

    /// Creates a daemon that runs as root.
    pub(crate) async fn create(&self, command: String, processes: usize) -> Result<Daemon> {
        let ids = self.layout.ids()?.context("no ids")?;
        let daemon = Daemon {
            command,
            processes: Some(i32::try_from(processes)?),
            user: Some("root".to_owned()),
            start_seconds: Some(0),
            ..Daemon::default()
        };
        let request = CreateDaemonRequest {
            server_id: ids.server_id,
            daemon: Some(daemon),
            validate_only: false,
        };
        self.daemons()
            .await?
            .create_daemon(request)
            .await?
            .into_inner()
            .daemon
            .context("no daemon")
    }

    /// Creates daemons with so many instances in all; their ids.
    pub(crate) async fn create_many(&self, command: &str, mut count: usize) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        while count > 0 {
            let processes = count.min(PROCESSES_MAX);
            ids.push(self.create(command.to_owned(), processes).await?.id);
            count -= processes;
        }
        Ok(ids)
    }

    /// Deletes every daemon there is.
    pub(crate) async fn delete_all(&self) -> Result<()> {
        let request = ListDaemonsRequest {
            server_id: self.layout.ids()?.context("no ids")?.server_id,
            ..ListDaemonsRequest::default()
        };
        let listed = self.daemons().await?.list_daemons(request).await?;
        for daemon in listed.into_inner().daemons {
            self.delete(&daemon.id).await?;
        }
        Ok(())
    }

    /// Deletes a daemon.
    pub(crate) async fn delete(&self, id: &str) -> Result<()> {
        let request = DeleteDaemonRequest {
            daemon_id: id.to_owned(),
            etag: String::new(),
        };
        self.daemons().await?.delete_daemon(request).await?;
        Ok(())
    }

    /// The agent's local socket.
    pub(crate) fn socket(&self) -> Result<PathBuf> {
        let record = self.layout.record()?.context("no record")?;
        Ok(record.run_dir.join("supervisor.sock"))
    }

    /// The agent's state.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.layout.agent()
    }

    /// Keeper and worker.
    pub(crate) fn agent(&self) -> Result<[Process; 2]> {
        let run_dir: PathBuf = self.layout.record()?.context("no record")?.run_dir;
        let one = |name| {
            Process::from_file(&run_dir.join(name)).with_context(|| format!("{name}: nobody lives"))
        };
        Ok([one("keeper.pid")?, one("worker.pid")?])
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = Command::new(crate::THIS_PROGRAM)
            .args(["down", "--dir"])
            .arg(&self.layout.dir)
            .stdout(std::process::Stdio::null())
            .status();
    }
}

/// An agent that stands alone: not enrolled, with a ledger that says what to run.
pub(crate) struct Agent {
    program: PathBuf,
    dir: PathBuf,
    state_dir: PathBuf,
}

/// An [`Agent`] that runs.
pub(crate) struct RunningAgent {
    agent: Agent,
    keeper: Started,
}

impl Agent {
    /// Lays down its files: state on the disk, the rest in `dir`, which must not exist.
    pub(crate) fn prepare(bench: &Bench, dir: &Path, ledger: &Path) -> Result<Self> {
        let state_dir = bench.disk.path().join("agent");
        std::fs::create_dir_all(dir)?;
        std::fs::create_dir(&state_dir)?;
        std::fs::set_permissions(&state_dir, Permissions::from_mode(0o700))?;
        copy_files(ledger, &state_dir.join("ledger"))?;
        std::fs::write(
            dir.join("config.toml"),
            format!(
                "state_dir = {state_dir:?}\nrun_dir = {:?}\n[policy]\nusers = [\"root\"]\n",
                dir.join("run")
            ),
        )?;
        Ok(Self {
            program: bench.programs.dir.join("host-agent"),
            dir: dir.to_owned(),
            state_dir,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.dir.join("config.toml"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Starts it.
    pub(crate) fn start(self) -> Result<RunningAgent> {
        let keeper = self.command().arg("run").spawn().context("host-agent")?;
        Ok(RunningAgent {
            agent: self,
            keeper,
        })
    }
}

impl RunningAgent {
    /// Ends it with all its programs.
    pub(crate) fn end(mut self) -> Result<()> {
        let status = self.agent.command().args(["stop", "--daemons"]).status()?;
        if !status.success() {
            bail!("host-agent stop --daemons: {status}");
        }
        self.keeper.wait()?;
        std::fs::remove_dir_all(&self.agent.dir)?;
        std::fs::remove_dir_all(&self.agent.state_dir)?;
        Ok(())
    }
}

/// Copies the files of a directory, private as the agent wants its own.
pub(crate) fn copy_files(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    std::fs::set_permissions(to, Permissions::from_mode(0o700))?;
    for file in std::fs::read_dir(from)? {
        let file = file?;
        std::fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
