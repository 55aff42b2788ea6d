//! The log path: FIFO → splice → file, and readers of the file.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bytes::Bytes;
use host_agent_engine::input::Run;
use tokio::sync::mpsc;
use zhylon_shared::id::DaemonId;

/// The operating system user whose file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
}

/// What the log threads tell the supervisor.
#[derive(Debug)]
pub(crate) enum LogEvent {
    /// Every byte of this run is in the file (or counted as a gap); its FIFO is closed here and can go.
    Drained(Run),
}

/// Handle to the log threads.
#[derive(Debug, Clone)]
pub(crate) struct Logs {}

impl Logs {
    /// Starts the room. `index_dir` is `state_dir/logs` (0700). Events go to `events`.
    pub(crate) fn start(
        _index_dir: PathBuf,
        _events: mpsc::Sender<LogEvent>,
    ) -> std::io::Result<Self> {
        todo!("owner: logs")
    }

    /// Makes a daemon's log known, so that it can be read and written. Repeating it with another owner begins a new file there.
    /// Never blocks on the user's home.
    pub(crate) fn register(&self, _daemon: DaemonId, _owner: Owner) {
        todo!("owner: logs")
    }

    /// Takes over the read end (O_RDONLY|O_NONBLOCK) of a run's FIFO. `register` came before. Never blocks.
    pub(crate) fn attach(&self, _run: Run, _fifo: OwnedFd) {
        todo!("owner: logs")
    }

    /// The run's main process ended and its tree is gone: what is in the FIFO is all there will be.
    pub(crate) fn ended(&self, _run: Run) {
        todo!("owner: logs")
    }

    /// The daemon was deleted: close its files. They stay where they are.
    pub(crate) fn forget(&self, _daemon: DaemonId) {
        todo!("owner: logs")
    }

    /// A reader of a daemon's log; `None` if it is not registered.
    pub(crate) async fn reader(
        &self,
        _daemon: DaemonId,
    ) -> Result<Option<LogReader>, std::io::Error> {
        todo!("owner: logs")
    }
}

/// One event of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogItem {
    /// Bytes of one instance, ending at a line end unless `partial`.
    Data {
        next_position: u64,
        instance: u32,
        time: i64,
        data: Bytes,
        partial: bool,
    },
    /// Bytes that can not be read any more.
    Missing {
        next_position: u64,
        bytes: u64,
        reason: zhylon_proto::daemons::v1::LogGapReason,
    },
}

/// Reads one daemon's log by position. Positions count the bytes of the daemon's own stream since creation.
#[derive(Debug)]
pub(crate) struct LogReader {}

impl LogReader {
    /// Position of the current end.
    pub(crate) fn end(&self) -> u64 {
        todo!("owner: logs")
    }

    /// Position from which `lines` whole lines remain until the end (of one instance only, if given).
    pub(crate) fn tail_position(
        &self,
        _lines: u32,
        _instance: Option<u32>,
    ) -> std::io::Result<u64> {
        todo!("owner: logs")
    }

    /// The last `bytes` bytes of the log, for `supervisorctl tail`.
    pub(crate) fn last_bytes(&self, _bytes: usize) -> std::io::Result<Vec<u8>> {
        todo!("owner: logs")
    }

    /// The next item at `position`, at most `max_bytes` of data; `None` when there is nothing yet. Never waits.
    pub(crate) fn next(
        &self,
        _position: u64,
        _max_bytes: usize,
    ) -> std::io::Result<Option<LogItem>> {
        todo!("owner: logs")
    }

    /// Returns once there is something after `position`, or the daemon is forgotten (then false).
    pub(crate) async fn wait_after(&mut self, _position: u64) -> bool {
        todo!("owner: logs")
    }
}
