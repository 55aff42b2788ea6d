//! What a file thread is asked to do. Putting something in never waits, whatever the thread hangs on.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_agent_engine::input::Run;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, oneshot};
use zhylon_shared::id::DaemonId;

use super::log::Estate;
use super::pipe;
use super::segment::Segment;
use super::{LogEvent, Owner};

/// Waiting commands above which a thread counts as hanging. Then a run that both began and ended while it hung is given up:
/// its bytes are counted as dropped. What lives is never given up, so the true bound is this plus what lives.
pub(super) const COMMANDS_MAX: usize = 1024;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Command {
    /// A log of this thread's user. What it needs to write follows as `Inherit`.
    Open(DaemonId, Owner),
    /// Everything a log consists of but its place: from the registry, or from the thread that had it.
    Inherit(DaemonId, Box<Estate>),
    /// The log goes to another thread (or owner).
    HandOver(DaemonId, Arc<Inbox>),
    /// A run's FIFO.
    Attach(Run, OwnedFd),
    /// A run's tree is gone.
    Ended(Run),
    /// Empty the file. Not done once nobody waits for it any more.
    Clear(DaemonId, oneshot::Sender<io::Result<()>>),
    /// Open an older segment for a reader.
    Past(
        DaemonId,
        u32,
        std::sync::mpsc::SyncSender<io::Result<Option<Arc<Segment>>>>,
    ),
    /// Finish what ended, then close.
    Forget(DaemonId),
}

impl Command {
    pub(super) fn daemon(&self) -> DaemonId {
        match self {
            Self::Open(daemon, _)
            | Self::Inherit(daemon, _)
            | Self::HandOver(daemon, _)
            | Self::Clear(daemon, _)
            | Self::Past(daemon, ..)
            | Self::Forget(daemon) => *daemon,
            Self::Attach(run, _) | Self::Ended(run) => run.slot.daemon,
        }
    }
}

/// When the thread may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Closing {
    /// Not.
    #[default]
    Open,
    /// When its last log is gone: its user has no more daemons.
    WhenEmpty,
    /// Now: nobody holds the room any more.
    Now,
}

/// What was put in.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// In order.
    pub(super) commands: VecDeque<Command>,
    /// Bytes of runs that were given up.
    pub(super) given_up: HashMap<DaemonId, u64>,
    /// Whether to end.
    pub(super) closing: Closing,
}

/// The inbox of one file thread.
#[derive(Debug)]
pub(super) struct Inbox {
    letters: Mutex<Letters>,
    bell: OwnedFd,
    events: mpsc::Sender<LogEvent>,
}

impl Inbox {
    pub(super) fn new(events: mpsc::Sender<LogEvent>) -> io::Result<Self> {
        Ok(Self {
            letters: Mutex::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            events,
        })
    }

    /// Readable when there is something.
    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    pub(super) fn push(&self, command: Command) {
        self.push_together([command]);
    }

    /// Nothing comes in between them.
    pub(super) fn push_together(&self, commands: impl IntoIterator<Item = Command>) {
        let mut letters = self.lock();
        for command in commands {
            let is_full = letters.commands.len() >= COMMANDS_MAX;
            match command {
                Command::Ended(run) if is_full => self.give_up(&mut letters, run),
                // Dropping it says no.
                Command::Clear(..) | Command::Past(..) if is_full => {}
                command => letters.commands.push_back(command),
            }
        }
        drop(letters);
        self.ring();
    }

    pub(super) fn close(&self, closing: Closing) {
        self.lock().closing = closing;
        self.ring();
    }

    /// Takes everything out.
    pub(super) fn take(&self) -> Letters {
        // The bell only says that there may be something: an empty one is no error.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        let mut letters = self.lock();
        let closing = letters.closing;
        std::mem::replace(
            &mut *letters,
            Letters {
                closing,
                ..Letters::default()
            },
        )
    }

    fn give_up(&self, letters: &mut Letters, run: Run) {
        let attached = letters
            .commands
            .iter()
            .position(|command| matches!(command, Command::Attach(of, _) if *of == run));
        // With its beginning already out of here, the end must follow; so it must when nobody can be told.
        if let Some(at) = attached
            && self.events.try_send(LogEvent::Drained(run)).is_ok()
            && let Some(Command::Attach(_, fifo)) = letters.commands.remove(at)
        {
            let bytes = pipe::waiting(&fifo);
            *letters.given_up.entry(run.slot.daemon).or_default() += bytes;
            tracing::error!(
                daemon = %run.slot.daemon,
                bytes,
                "the user's log thread has hung for long (a dead home?): the output of a run is dropped"
            );
        } else {
            letters.commands.push_back(Command::Ended(run));
        }
    }

    fn ring(&self) {
        // Only fails when it rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
