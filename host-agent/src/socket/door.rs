//! What the socket needs of the rooms below it. The real ones are [`Rooms`]; tests put a scripted one here.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::{Action, CommandTarget, Slot};
use host_agent_engine::time::Time;
use tokio::sync::watch;
use zhylon_proto::daemons::v1::LogGapReason;
use zhylon_shared::id::DaemonId;

use crate::logs::{LogItem, LogReader, Logs, Rotation};
use crate::own_log::{self, OwnLog};
use crate::supervisor::{DaemonEntry, Operator, Refused, SupervisorHandle};

/// The way to the daemons and their logs. Says nothing about who may pass: that is the session's work.
pub(crate) trait Door: Clone + 'static {
    /// A reader of one daemon's log.
    type Log: Log;

    /// The agent's own newest log lines.
    fn own_log(&self) -> OwnLog;

    /// All daemons, ordered by id.
    fn daemons(&self) -> BTreeMap<DaemonId, Arc<DaemonEntry>>;
    /// One daemon.
    fn daemon(&self, id: &DaemonId) -> Option<Arc<DaemonEntry>>;
    /// Changes whenever a daemon does.
    fn changes(&self) -> watch::Receiver<u64>;
    /// Wall-clock time of an engine time.
    fn wall(&self, time: Time) -> SystemTime;
    /// Carries out a request; returns when every addressed instance settled.
    async fn command(
        &self,
        action: Action,
        targets: Vec<CommandTarget>,
        by: Operator,
    ) -> Result<Vec<(Slot, CommandOutcome)>, Refused>;
    /// How logs are rotated.
    fn log_rotation(&self) -> Rotation;
    /// Where a daemon's log is; `None` while its user is not known here.
    fn log_file(&self, daemon: &DaemonId) -> Option<PathBuf>;
    /// A reader of a daemon's log; `None` when it has none yet.
    async fn log(&self, daemon: DaemonId) -> io::Result<Option<Self::Log>>;
    /// Empties a daemon's log.
    async fn clear_log(&self, daemon: DaemonId) -> io::Result<()>;
}

/// See [`LogReader`], whose methods these are. What returns `io::Result` may wait for a home: see `reading`.
pub(crate) trait Log: Send + 'static {
    fn end(&self) -> u64;
    fn last_bytes(&self, bytes: usize) -> io::Result<Vec<u8>>;
    fn next(&self, position: u64, max_bytes: usize) -> io::Result<Option<LogItem>>;
    async fn wait_after(&mut self, position: u64) -> bool;
}

/// The real rooms.
#[derive(Debug, Clone)]
pub(crate) struct Rooms {
    pub(crate) supervisor: SupervisorHandle,
    pub(crate) logs: Logs,
}

impl Door for Rooms {
    type Log = LogReader;

    fn own_log(&self) -> OwnLog {
        own_log::kept()
    }

    fn daemons(&self) -> BTreeMap<DaemonId, Arc<DaemonEntry>> {
        self.supervisor.snapshot()
    }

    fn daemon(&self, id: &DaemonId) -> Option<Arc<DaemonEntry>> {
        self.supervisor.daemon(id)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.supervisor.version()
    }

    fn wall(&self, time: Time) -> SystemTime {
        self.supervisor.wall(time)
    }

    async fn command(
        &self,
        action: Action,
        targets: Vec<CommandTarget>,
        by: Operator,
    ) -> Result<Vec<(Slot, CommandOutcome)>, Refused> {
        self.supervisor.command(action, targets, by).await
    }

    fn log_rotation(&self) -> Rotation {
        self.logs.rotation()
    }

    fn log_file(&self, daemon: &DaemonId) -> Option<PathBuf> {
        self.logs.file(daemon)
    }

    async fn log(&self, daemon: DaemonId) -> io::Result<Option<LogReader>> {
        self.logs.reader(daemon).await
    }

    async fn clear_log(&self, daemon: DaemonId) -> io::Result<()> {
        self.logs.clear(daemon).await
    }
}

impl Log for LogReader {
    fn end(&self) -> u64 {
        self.end()
    }

    fn last_bytes(&self, bytes: usize) -> io::Result<Vec<u8>> {
        self.last_bytes(bytes)
    }

    fn next(&self, position: u64, max_bytes: usize) -> io::Result<Option<LogItem>> {
        self.next(position, max_bytes)
    }

    async fn wait_after(&mut self, position: u64) -> bool {
        self.wait_after(position).await
    }
}

/// An [`OwnLog`] as one of its readers has it.
#[derive(Debug)]
pub(crate) struct OwnLogReader {
    log: OwnLog,
    end: watch::Receiver<u64>,
}

impl OwnLogReader {
    pub(crate) fn new(log: OwnLog) -> Self {
        let end = log.watch();
        Self { log, end }
    }
}

impl Log for OwnLogReader {
    fn end(&self) -> u64 {
        self.log.end()
    }

    fn last_bytes(&self, bytes: usize) -> io::Result<Vec<u8>> {
        Ok(self.log.last(bytes))
    }

    fn next(&self, position: u64, max_bytes: usize) -> io::Result<Option<LogItem>> {
        let (from, data) = self.log.read(position, max_bytes);
        Ok(if from > position {
            Some(LogItem::Missing {
                next_position: from,
                bytes: from - position,
                reason: LogGapReason::Cleared,
            })
        } else if data.is_empty() {
            None
        } else {
            Some(LogItem::Data {
                next_position: from + data.len() as u64,
                instance: 0,
                time: 0,
                partial: !data.ends_with(b"\n"),
                data: data.into(),
            })
        })
    }

    async fn wait_after(&mut self, position: u64) -> bool {
        self.end.wait_for(|end| *end > position).await.is_ok()
    }
}
