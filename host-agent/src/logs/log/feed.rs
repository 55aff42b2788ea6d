//! One run's FIFO, and how far we are with it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use host_agent_engine::input::Run;
use rustix::pipe::fcntl_setpipe_size;
use zhylon_shared::id::DaemonId;

use crate::logs::desk::Desk;
use crate::logs::entry::Source;
use crate::logs::pipe;

/// How long a piece without a line end may wait for it before it is moved: prompts, progress.
const PIECE_AGE: Duration = Duration::from_millis(200);
/// How long the next generation waits for the end of the one before. It follows that one's end at once or after a delay.
const SUCCESSION: Duration = Duration::from_millis(200);

/// One run's FIFO.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) run: Run,
    pub(super) fifo: OwnedFd,
    /// Epoll's word for it, while it is watched.
    pub(super) token: Option<u64>,
    /// Whether there may be something that was not looked at.
    pub(super) ready: bool,
    /// When the piece without line end that waits in the FIFO was first seen.
    pub(super) piece_since: Option<Instant>,
    /// The run is over, and so many bytes were left then. What another holder of the FIFO adds is not the run's.
    pub(super) left: Option<u64>,
    /// Until when it waits for its predecessor, if that is still there.
    held_until: Option<Instant>,
    /// Everything is moved or counted.
    pub(super) done: bool,
}

impl Feed {
    /// `successor_since`: set if an older run of the same slot is still there.
    pub(super) fn new(run: Run, fifo: OwnedFd, successor_since: Option<Instant>) -> Self {
        Self {
            run,
            fifo,
            token: None,
            ready: true,
            piece_since: None,
            left: None,
            held_until: successor_since.map(|since| since + SUCCESSION),
            done: false,
        }
    }

    pub(super) fn source(&self) -> Source {
        self.run.into()
    }

    pub(super) fn same_slot_before(&self, run: Run) -> bool {
        self.run.slot == run.slot && self.run.generation < run.generation
    }

    pub(super) fn watch(&mut self, daemon: DaemonId, desk: &mut Desk) -> io::Result<()> {
        self.ready = true;
        // A daemon may have made its own smaller. Refused only where no more is to be had.
        let _ = fcntl_setpipe_size(&self.fifo, pipe::PIPE_SIZE);
        self.token = Some(desk.watch(daemon, &self.fifo)?);
        Ok(())
    }

    pub(super) fn unwatch(&mut self, desk: &mut Desk) {
        if let Some(token) = self.token.take() {
            desk.unwatch(token, &self.fifo);
        }
    }

    /// What is in the FIFO now is all there will be.
    pub(super) fn end(&mut self) {
        self.ready = true;
        self.left.get_or_insert(pipe::waiting(&self.fifo));
    }

    /// Whether it is over and nothing of it is left.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left
            .is_some_and(|left| left == 0 || pipe::waiting(&self.fifo) == 0)
    }

    /// So many bytes left the FIFO.
    pub(super) fn took(&mut self, bytes: u64) {
        self.piece_since = None;
        self.left = self.left.map(|left| left.saturating_sub(bytes));
    }

    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| *until > now)
    }

    /// When its waiting piece is old enough.
    pub(super) fn piece_due(&self) -> Option<Instant> {
        self.piece_since.map(|since| since + PIECE_AGE)
    }

    pub(super) fn look_at_clock(&mut self, now: Instant) {
        self.ready |= self.piece_due().is_some_and(|due| due <= now);
    }
}
