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

mod entries;
mod entry;
mod home;
mod inbox;
mod index;
mod log;
mod pipe;
mod reader;
mod segment;
mod thread;

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use host_agent_engine::input::Run;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use zhylon_shared::id::DaemonId;

use self::inbox::{Closing, Command, Inbox};
use self::log::{Book, Estate};
pub(crate) use self::reader::LogReader;
use self::segment::Published;
use self::thread::Identity;

/// File threads at most: one per user with daemons. The logs of further users are not written; their output is dropped and
/// counted, so that their daemons run on.
const THREADS_MAX: usize = 256;
/// How long a reader waits for a log's first look at its file. A home that takes longer hangs.
const READER_PATIENCE: Duration = Duration::from_secs(2);

/// The operating system user whose file it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
}

impl Owner {
    fn identity(&self) -> Identity {
        Identity::User {
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
        }
    }
}

/// What the log threads tell the supervisor.
#[derive(Debug)]
pub(crate) enum LogEvent {
    /// Every byte of this run is in the file (or counted as a gap); its FIFO is closed here and can go.
    Drained(Run),
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

#[derive(Debug)]
struct Room {
    index_dir: PathBuf,
    events: mpsc::Sender<LogEvent>,
    threads_alive: Arc<AtomicUsize>,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    logs: HashMap<DaemonId, Registered>,
    threads: HashMap<Identity, Arc<Inbox>>,
}

#[derive(Debug)]
struct Registered {
    owner: Owner,
    identity: Identity,
    inbox: Arc<Inbox>,
    published: watch::Receiver<Published>,
    /// For readers; `None` while the index cannot be opened.
    index: Option<Arc<File>>,
    /// The other end of `published`, until the index could be opened.
    publisher: Option<watch::Sender<Published>>,
}

impl Logs {
    /// Starts the room. `index_dir` is `state_dir/logs` (0700). Events go to `events`.
    ///
    /// # Errors
    /// When `index_dir` cannot be made.
    pub(crate) fn start(index_dir: PathBuf, events: mpsc::Sender<LogEvent>) -> io::Result<Self> {
        index::make_dir(&index_dir)?;
        let room = Room {
            index_dir,
            events,
            threads_alive: Arc::default(),
            registry: Mutex::default(),
        };
        Ok(Self {
            room: Arc::new(room),
        })
    }

    /// Makes a daemon's log known, so that it can be read and written. Repeating it with another owner begins a new file there.
    /// Never blocks on the user's home.
    pub(crate) fn register(&self, daemon: DaemonId, owner: Owner) {
        let mut registry = self.room.registry();
        if let Some(known) = registry.logs.get_mut(&daemon)
            && known.owner == owner
        {
            return self.room.find_index(daemon, known);
        }
        let (identity, inbox) = match self.room.inbox(&mut registry, &owner) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%daemon, user = owner.name, %error, "no thread for a log: it is not written");
                return;
            }
        };
        let before = match registry.logs.entry(daemon) {
            Place::Vacant(place) => {
                let (publisher, published) = watch::channel(Published::default());
                let mut new = Registered {
                    owner: owner.clone(),
                    identity,
                    inbox,
                    published,
                    index: None,
                    publisher: Some(publisher),
                };
                new.inbox.push(Command::Open(daemon, owner));
                self.room.find_index(daemon, &mut new);
                if new.publisher.is_some() {
                    let empty = Command::Inherit(daemon, Box::default());
                    new.inbox.push(empty);
                }
                place.insert(new);
                return;
            }
            Place::Occupied(mut place) => {
                let known = place.get_mut();
                let hand_over = Command::HandOver(daemon, Arc::clone(&inbox));
                known.inbox.push(hand_over);
                inbox.push(Command::Open(daemon, owner.clone()));
                known.owner = owner;
                known.inbox = inbox;
                std::mem::replace(&mut known.identity, identity)
            }
        };
        registry.retire(&before);
    }

    /// Takes over the read end (O_RDONLY|O_NONBLOCK) of a run's FIFO. `register` came before. Never blocks.
    pub(crate) fn attach(&self, run: Run, fifo: OwnedFd) {
        // A daemon may have made its own smaller. Refused only where no more is to be had.
        let _ = rustix::pipe::fcntl_setpipe_size(&fifo, pipe::PIPE_SIZE);
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

    /// The daemon was deleted: close its files. They stay where they are.
    pub(crate) fn forget(&self, daemon: DaemonId) {
        let mut registry = self.room.registry();
        if let Some(known) = registry.logs.remove(&daemon) {
            known.inbox.push(Command::Forget(daemon));
            registry.retire(&known.identity);
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
            Err(_) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the home of the log's user does not answer",
                ));
            }
        }
        Ok(Some(LogReader::new(index, published)))
    }
}

impl Room {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread of a user; started if it is not there.
    fn inbox(&self, registry: &mut Registry, owner: &Owner) -> io::Result<(Identity, Arc<Inbox>)> {
        let mut identity = owner.identity();
        if !registry.threads.contains_key(&identity)
            && self.threads_alive.load(Ordering::Relaxed) >= THREADS_MAX
        {
            tracing::error!(
                user = owner.name,
                max = THREADS_MAX,
                "too many users have daemons here: this user's logs are not written, its output is dropped"
            );
            identity = Identity::Nobody;
        }
        if let Some(inbox) = registry.threads.get(&identity) {
            return Ok((identity, Arc::clone(inbox)));
        }
        let inbox = Arc::new(Inbox::new(self.events.clone())?);
        thread::start(
            &owner.name,
            identity.clone(),
            Arc::clone(&inbox),
            self.events.clone(),
            Arc::clone(&self.threads_alive),
        )?;
        registry
            .threads
            .insert(identity.clone(), Arc::clone(&inbox));
        Ok((identity, inbox))
    }

    /// Opens the index with the agent's own identity, and hands it to the thread. Tried at every occasion until it works.
    fn find_index(&self, daemon: DaemonId, known: &mut Registered) {
        let Some(publisher) = known.publisher.take() else {
            return;
        };
        match index::open(&self.index_dir, &daemon) {
            Ok((writer, reader)) => {
                known.index = Some(Arc::new(reader));
                let estate = Estate::new(Some(Book::new(writer, publisher)));
                let inherit = Command::Inherit(daemon, Box::new(estate));
                known.inbox.push(inherit);
            }
            Err(error) => {
                tracing::error!(%daemon, %error, "a log's index cannot be opened: output waits");
                known.publisher = Some(publisher);
            }
        }
    }
}

impl Registry {
    /// A thread whose user has no more logs ends.
    fn retire(&mut self, identity: &Identity) {
        if self.logs.values().all(|known| known.identity != *identity)
            && let Some(inbox) = self.threads.remove(identity)
        {
            inbox.close(Closing::WhenEmpty);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for inbox in self.registry().threads.values() {
            inbox.close(Closing::Now);
        }
    }
}

#[cfg(test)]
mod tests;
