//! What of the rest of the agent the link uses, as two small traits: the session can be tried without an engine, a disk
//! or a log file. Must never grow a method the wire does not need.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use host_agent_engine::input::DesiredDaemon;
use host_agent_engine::time::Time;
use tokio::sync::watch;
use zhylon_shared::id::DaemonId;

use crate::journal::{DesiredLedger, Journal, JournalError};
use crate::logs::{LogItem, LogReader, Logs};
use crate::supervisor::{DaemonEntry, Events, Refused, SupervisorHandle};

/// All daemons of the host, newest state.
pub(super) type Board = BTreeMap<DaemonId, Arc<DaemonEntry>>;

/// Ledger and engine.
pub(super) trait Host: Clone + Send + Sync + 'static {
    /// The newest durable configuration.
    fn desired(&self) -> DesiredLedger;
    /// Makes a configuration durable; returns when it is.
    fn store_desired(
        &self,
        ledger: DesiredLedger,
    ) -> impl Future<Output = Result<(), JournalError>> + Send;
    /// Hands the complete set, already durable, to the engine.
    fn desire(&self, set: Vec<DesiredDaemon>) -> impl Future<Output = Result<(), Refused>> + Send;
    /// All daemons, newest state.
    fn board(&self) -> Board;
    /// Raised with every change of the board.
    fn version(&self) -> watch::Receiver<u64>;
    /// The api-server knows that this daemon is gone.
    fn forget(&self, id: DaemonId) -> impl Future<Output = ()> + Send;
    /// Wall-clock time of an engine time.
    fn wall(&self, time: Time) -> SystemTime;
    /// What happened, as far as the api-server does not have it.
    fn events(&self) -> &Events;
}

/// Logs of daemons.
pub(super) trait LogSource: Clone + Send + Sync + 'static {
    /// Reads one daemon's log.
    type Reader: LogRead;
    /// A reader; `None` if the daemon has no log here.
    fn reader(
        &self,
        daemon: DaemonId,
    ) -> impl Future<Output = io::Result<Option<Self::Reader>>> + Send;
    /// Empties a daemon's log file; false if the daemon has no log here.
    fn clear(&self, daemon: DaemonId) -> impl Future<Output = io::Result<bool>> + Send;
}

/// One daemon's log by position. What returns `io::Result` may touch a file in a user's home, and so may hang with it.
pub(super) trait LogRead: Send + 'static {
    /// Position of the current end.
    fn end(&self) -> u64;
    /// Position from which `lines` whole lines remain until the end (of one instance only, if given).
    fn tail_position(&self, lines: u32, instance: Option<u32>) -> io::Result<u64>;
    /// Position of the first bytes taken over at `second` (Unix) or later.
    fn since(&self, second: i64) -> io::Result<u64>;
    /// Position from which at most this cost (in all, and of each piece besides its bytes) remains until `position`.
    fn before(&self, position: u64, cost: (u64, u64), instance: Option<u32>) -> io::Result<u64>;
    /// The next item at `position`, at most `max_bytes` of data; `None` when there is nothing yet.
    fn next(&self, position: u64, max_bytes: usize) -> io::Result<Option<LogItem>>;
    /// Returns once there is something after `position`, or the daemon is forgotten (then false).
    fn wait_after(&mut self, position: u64) -> impl Future<Output = bool> + Send;
}

/// The real ones.
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    pub(super) handle: SupervisorHandle,
    pub(super) journal: Journal,
}

impl Host for Rooms {
    fn desired(&self) -> DesiredLedger {
        self.journal.desired()
    }
    async fn store_desired(&self, ledger: DesiredLedger) -> Result<(), JournalError> {
        self.journal.store_desired(ledger).await
    }
    async fn desire(&self, set: Vec<DesiredDaemon>) -> Result<(), Refused> {
        self.handle.desire(set).await
    }
    fn board(&self) -> Board {
        self.handle.snapshot()
    }
    fn version(&self) -> watch::Receiver<u64> {
        self.handle.version()
    }
    async fn forget(&self, id: DaemonId) {
        self.handle.forget(id).await;
    }
    fn wall(&self, time: Time) -> SystemTime {
        self.handle.wall(time)
    }
    fn events(&self) -> &Events {
        self.handle.events()
    }
}

impl LogSource for Logs {
    type Reader = LogReader;
    async fn reader(&self, daemon: DaemonId) -> io::Result<Option<LogReader>> {
        Logs::reader(self, daemon).await
    }
    async fn clear(&self, daemon: DaemonId) -> io::Result<bool> {
        if self.file(&daemon).is_none() {
            return Ok(false);
        }
        Logs::clear(self, daemon).await.map(|()| true)
    }
}

impl LogRead for LogReader {
    fn end(&self) -> u64 {
        LogReader::end(self)
    }
    fn tail_position(&self, lines: u32, instance: Option<u32>) -> io::Result<u64> {
        LogReader::tail_position(self, lines, instance)
    }
    fn since(&self, second: i64) -> io::Result<u64> {
        LogReader::since(self, second)
    }
    fn before(&self, position: u64, cost: (u64, u64), instance: Option<u32>) -> io::Result<u64> {
        LogReader::before(self, position, cost, instance)
    }
    fn next(&self, position: u64, max_bytes: usize) -> io::Result<Option<LogItem>> {
        LogReader::next(self, position, max_bytes)
    }
    async fn wait_after(&mut self, position: u64) -> bool {
        LogReader::wait_after(self, position).await
    }
}
