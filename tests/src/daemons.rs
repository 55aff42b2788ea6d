//! Daemons as tests speak of them.

use std::path::PathBuf;
use std::time::Duration;

use tokio_stream::StreamExt as _;
use xtask::up::processes::Process;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_proto::daemons::v1::{
    CreateDaemonRequest, Daemon, DaemonStatus, GetDaemonRequest, InstanceState, TailLogRequest,
    TailLogResponse,
};

use crate::{PATIENCE, World, eventually_async};

/// A draft that runs `command` as whoever runs the tests.
#[must_use]
pub fn draft(command: &str) -> Daemon {
    Daemon {
        command: command.to_owned(),
        user: Some(me()),
        ..Daemon::default()
    }
}

/// A draft that runs `command` as `user`.
#[must_use]
pub fn draft_of(user: &str, command: &str) -> Daemon {
    Daemon {
        user: Some(user.to_owned()),
        ..draft(command)
    }
}

/// The processes of a daemon at one moment, by pid and start time.
#[derive(Debug, Clone)]
pub struct Watched {
    id: String,
    processes: Vec<Process>,
}

impl Watched {
    /// Those that run once all of the daemon does.
    pub async fn new(world: &World, id: &str) -> Self {
        Self::other_than(world, id, &[]).await
    }

    async fn other_than(world: &World, id: &str, old: &[Process]) -> Self {
        let find = |status: &DaemonStatus| -> Option<Vec<Process>> {
            let pids = status.instances.iter().map(|instance| instance.pid);
            let found: Option<Vec<Process>> = pids.map(Process::find).collect();
            found.filter(|now| !now.iter().any(|process| old.contains(process)))
        };
        let status = world
            .status(id, "running in new processes", |s| {
                s.state() == InstanceState::Running && !s.reconciling && find(s).is_some()
            })
            .await;
        Self {
            id: id.to_owned(),
            processes: find(&status).expect("they have just been there"),
        }
    }

    /// All of them live: nobody moved the daemon.
    pub fn untouched(&self) {
        for process in &self.processes {
            assert!(process.lives(), "{}: {process:?} is gone", self.id);
        }
    }

    /// None of them lives.
    pub fn gone(&self) {
        for process in &self.processes {
            assert!(!process.lives(), "{}: {process:?} lives", self.id);
        }
    }

    /// None of them lives, and as many others run in their place.
    pub async fn restarted(&self, world: &World) -> Self {
        self.gone();
        let now = Self::other_than(world, &self.id, &self.processes).await;
        assert_eq!(now.processes.len(), self.processes.len(), "{}", self.id);
        now
    }
}

/// The name of the user who runs the tests.
#[must_use]
pub fn me() -> String {
    let output = std::process::Command::new("id")
        .arg("-un")
        .output()
        .expect("start id");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Where a daemon's log file is.
#[must_use]
pub fn log_file(id: &str) -> PathBuf {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("read passwd");
    let user = me();
    let home = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields[0] == user)
        .map(|fields| fields[5].to_owned())
        .expect("a home");
    PathBuf::from(home).join(format!(
        ".zhylon/daemon-{}.log",
        id.trim_start_matches("h:")
    ))
}

impl World {
    /// Creates a daemon.
    pub async fn create(&self, daemon: Daemon) -> Daemon {
        let request = CreateDaemonRequest {
            server_id: self.server_id(),
            daemon: Some(daemon),
            validate_only: false,
        };
        let response = self
            .daemons()
            .await
            .create_daemon(request)
            .await
            .expect("create");
        response.into_inner().daemon.expect("a daemon")
    }

    /// Reads a daemon.
    pub async fn get(&self, id: &str) -> Daemon {
        let request = GetDaemonRequest {
            daemon_id: id.to_owned(),
        };
        self.daemons()
            .await
            .get_daemon(request)
            .await
            .expect("get")
            .into_inner()
            .daemon
            .expect("a daemon")
    }

    /// Waits until a daemon's status is as `wanted`.
    pub async fn status(
        &self,
        id: &str,
        what: &str,
        wanted: impl Fn(&DaemonStatus) -> bool,
    ) -> DaemonStatus {
        let mut service = self.daemons().await;
        let last = std::cell::RefCell::new(DaemonStatus::default());
        let look = tokio::time::timeout(PATIENCE, async {
            loop {
                let request = GetDaemonRequest {
                    daemon_id: id.to_owned(),
                };
                if let Ok(response) = service.get_daemon(request).await {
                    let status = response
                        .into_inner()
                        .daemon
                        .and_then(|d| d.status)
                        .unwrap_or_default();
                    if wanted(&status) {
                        return status;
                    }
                    last.replace(status);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        look.unwrap_or_else(|_| {
            panic!(
                "{id}: not {what}; it is {:?}\n{}",
                last.borrow(),
                self.log()
            )
        })
    }

    /// Waits until all instances of a daemon run as desired; gives their pids.
    pub async fn running(&self, id: &str) -> Vec<i32> {
        let status = self
            .status(id, "running", |s| {
                s.state() == InstanceState::Running && !s.reconciling
            })
            .await;
        status
            .instances
            .iter()
            .map(|instance| instance.pid)
            .collect()
    }

    /// Opens a log stream.
    pub async fn tail(
        &self,
        id: &str,
        start: Start,
        follow: bool,
    ) -> tonic::Streaming<TailLogResponse> {
        let request = TailLogRequest {
            daemon_id: id.to_owned(),
            start: Some(start),
            follow,
            instance: None,
        };
        eventually_async("the log can be read", || async {
            self.logs().await.tail_log(request.clone()).await.ok()
        })
        .await
        .into_inner()
    }

    /// All of a daemon's log as it is now.
    pub async fn whole_log(&self, id: &str) -> String {
        let mut stream = self.tail(id, Start::TailLines(100_000), false).await;
        let mut bytes = Vec::new();
        while let Some(event) = stream.next().await {
            if let Some(Event::Chunk(chunk)) = event.expect("log").event {
                bytes.extend_from_slice(&chunk.data);
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Follows a daemon's log until `wanted` is in it; gives all that came.
    pub async fn log_until(&self, id: &str, wanted: &str) -> String {
        let mut text = String::new();
        let waited = tokio::time::timeout(PATIENCE, async {
            let mut stream = self.tail(id, Start::TailLines(100_000), true).await;
            while let Some(event) = stream.next().await {
                if let Some(Event::Chunk(chunk)) = event.expect("log").event {
                    text.push_str(&String::from_utf8_lossy(&chunk.data));
                    if text.contains(wanted) {
                        return;
                    }
                }
            }
        })
        .await;
        assert!(
            waited.is_ok(),
            "{wanted:?} is not in the log of {id}: {text:?}\n{}",
            self.log()
        );
        text
    }
}
