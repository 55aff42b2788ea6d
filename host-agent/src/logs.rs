//! The log path: FIFO → splice → file, and readers of the file.
//!
//! ```text
//! Logs ── inbox ──▶ file thread (one per user, that user's identity)
//!                     └─ log (one per daemon): FIFOs ─tee: look─ splice ─▶ ~user/.zhylon/daemon-….log
//!                          └─ index: whose bytes come next, before they move ─▶ state_dir/logs/…/index
//! LogReader ── published end (watch) + index + file
//! ```
//!
//! Nobody outside the file threads touches a user's home, and nothing here waits for one. The bytes are never in our hands on
//! their way, so no kill loses them; the index says before each move whose they are, so no kill mixes them up.

mod desk;
mod entries;
mod entry;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod home;
mod inbox;
mod index;
mod log;
mod past;
mod pipe;
mod reader;
mod registry;
mod rules;
mod segment;
mod steps;
mod thread;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host_agent_engine::input::Run;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use zhylon_shared::id::DaemonId;
use zhylon_shared::name;

use self::inbox::Command;
use self::past::Past;
pub(crate) use self::reader::LogReader;
use self::registry::Room;
pub(crate) use self::rules::{Rotation, Rules, Size, WhenFull};

/// How long a reader waits for a log's first look at its file. A home that takes longer hangs.
const READER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a log may take to be cleared. After that it is not, unless it was just being done.
const CLEAR_PATIENCE: Duration = Duration::from_secs(5);

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
    /// Output of this daemon is lost from now on, until its log can be written again; in words, why.
    Gap(DaemonId, String),
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

/// Handle to the log threads. They end with the last handle; what is in FIFOs then stays there.
#[derive(Debug, Clone)]
pub(crate) struct Logs {
    room: Arc<Room>,
}

impl Logs {
    /// Starts the room. `index_dir` is `state_dir/logs` (0700). Events go to `events`.
    ///
    /// # Errors
    /// When `index_dir` cannot be made.
    pub(crate) fn start(
        index_dir: PathBuf,
        rules: Rules,
        events: mpsc::Sender<LogEvent>,
    ) -> io::Result<Self> {
        index::make_dir(&index_dir)?;
        steps::look_beside(&index_dir);
        let room = Arc::new(Room::new(index_dir, rules, events));
        Ok(Self { room })
    }

    /// Makes a daemon's log known, so that it can be read and written. Repeating it with another owner begins a new file there.
    /// Never blocks on the user's home.
    pub(crate) fn register(&self, daemon: DaemonId, owner: Owner) {
        self.room.register(daemon, owner);
    }

    /// Takes over the read end (O_RDONLY|O_NONBLOCK) of a run's FIFO. `register` came before. Never blocks.
    pub(crate) fn attach(&self, run: Run, fifo: OwnedFd) {
        // Nothing is asked of the FIFO here: a killed agent that hangs in a dead home may hold its lock.
        let daemon = run.slot.daemon;
        match self.room.registry().logs.get_mut(&daemon) {
            Some(known) => {
                self.room.find_index(daemon, known);
                known.inbox.push(Command::Attach(run, fifo));
            }
            None => tracing::error!(%daemon, "a run of a log that is not known: it is not written"),
        }
    }

    /// The run's main process ended and its tree is gone: what is in the FIFO is all there will be.
    pub(crate) fn ended(&self, run: Run) {
        if let Some(known) = self.room.registry().logs.get(&run.slot.daemon) {
            known.inbox.push(Command::Ended(run));
        } else if self.room.events.try_send(LogEvent::Drained(run)).is_err() {
            let daemon = run.slot.daemon;
            tracing::error!(%daemon, "nobody could be told that a run without a log is drained");
        }
    }

    /// How logs are rotated.
    pub(crate) fn rotation(&self) -> Rotation {
        self.room.rules.borrow().rotation
    }

    /// Puts other rules in force, for all logs and at once: what is there is judged by them at the next rotation.
    pub(crate) fn set_rules(&self, rules: Rules) {
        self.room.rules.send_replace(rules);
    }

    /// Where a daemon's log is (or will be); `None` if it is not registered.
    pub(crate) fn file(&self, daemon: &DaemonId) -> Option<PathBuf> {
        let registry = self.room.registry();
        let owner = registry.logs.get(daemon)?.owner();
        Some(home::path(owner, &name::log_file(daemon)))
    }

    /// The daemon was deleted: close its files. They stay where they are.
    pub(crate) fn forget(&self, daemon: DaemonId) {
        let mut registry = self.room.registry();
        if let Some(known) = registry.logs.remove(&daemon) {
            known.inbox.push(Command::Forget(daemon));
            registry.retire(&known.identity);
        }
    }

    /// Empties a daemon's log file. What was in it becomes a gap to who reads it; positions only rise, and nothing that is
    /// written meanwhile is lost.
    ///
    /// # Errors
    /// Why the file is as it was: it is not known, can not be written, or its user's home does not answer in time.
    pub(crate) async fn clear(&self, daemon: DaemonId) -> io::Result<()> {
        let answered = {
            let registry = self.room.registry();
            let known = registry.logs.get(&daemon);
            let known = known.ok_or_else(|| io::Error::other("its user is not known here"))?;
            let (answer, answered) = oneshot::channel();
            known.inbox.push(Command::Clear(daemon, answer));
            answered
        };
        match timeout(CLEAR_PATIENCE, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(io::Error::other("its thread has too much to do, or ends")),
            Err(_) => Err(home_is_silent()),
        }
    }

    /// A reader of a daemon's log; `None` if it is not registered.
    ///
    /// # Errors
    /// When its index cannot be opened, or `TimedOut` when its user's home does not answer.
    pub(crate) async fn reader(&self, daemon: DaemonId) -> Result<Option<LogReader>, io::Error> {
        let (index, mut published) = {
            let registry = self.room.registry();
            let Some(known) = registry.logs.get(&daemon) else {
                return Ok(None);
            };
            let index = known.index.clone().ok_or_else(|| {
                io::Error::other("the log's index could not be opened: see the agent's own log")
            })?;
            (index, known.published.clone())
        };
        match timeout(READER_PATIENCE, published.wait_for(|now| now.ready)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Ok(None),
            Err(_) => return Err(home_is_silent()),
        }
        let past = Past::new(&self.room, daemon);
        Ok(Some(LogReader::new(index, published, past)))
    }
}

fn home_is_silent() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the home of the log's user does not answer",
    )
}

#[cfg(test)]
mod tests;
