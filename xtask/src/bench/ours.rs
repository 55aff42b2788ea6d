//! Our own system, made by `up`, as the benchmarks drive it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use zhylon_proto::daemons::v1::daemon_service_client::DaemonServiceClient;
use zhylon_proto::daemons::v1::log_service_client::LogServiceClient;
use zhylon_proto::daemons::v1::{CreateDaemonRequest, Daemon, DeleteDaemonRequest};

use super::Bench;
use crate::up::api::{Service, connect};
use crate::up::layout::Layout;
use crate::up::processes::Process;
use crate::up::steps;

/// A running system; stopped when dropped.
pub(crate) struct System {
    layout: Layout,
}

impl System {
    /// Starts one, optimised.
    pub(crate) fn up(bench: &Bench) -> Result<Self> {
        let dir = bench.dir.path().join("up");
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
    pub(crate) async fn create(&self, command: String, processes: i32) -> Result<Daemon> {
        let ids = self.layout.ids()?.context("no ids")?;
        let daemon = Daemon {
            command,
            processes: Some(processes),
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
