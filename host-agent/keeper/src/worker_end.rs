//! The worker's end of the line to its keeper.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use host_agent_sys::process::inherited_fd;
use host_agent_sys::signals;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::channel::{self, Received};
use crate::protocol::{RunKey, ToKeeper, ToWorker};

/// The worker finds the line to its keeper here.
pub(crate) const LINE_FD: RawFd = 3;
/// The worker finds the listening local socket here, non-blocking.
pub(crate) const LISTENER_FD: RawFd = 4;

/// The worker's end. Sends never wait: WouldBlock means that the keeper does not read at the moment (stopped by a
/// signal); what was not sent is for the caller to try again.
#[derive(Debug)]
pub struct WorkerEnd {
    line: OwnedFd,
}

impl WorkerEnd {
    /// Takes over descriptor 3 and ties this process to its keeper: it gets SIGKILL when the keeper ends. Unblocks all
    /// signals, which the keeper blocks.
    ///
    /// Call it once, first of all, on the main thread, which must never change its ids (that would cut the tie).
    ///
    /// # Errors
    /// BrokenPipe when the keeper died already; EBADF when this process was not started by a keeper.
    pub fn from_inherited() -> io::Result<Self> {
        let line = inherited_fd(LINE_FD)?;
        signals::unblock_all()?;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let keeper = socket_peercred(&line)?.pid;
        if getppid() != Some(keeper) {
            let text = "the keeper that started this worker is gone";
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, text));
        }
        Ok(Self { line })
    }

    /// Says that this worker listens: the keeper answers with all it kept.
    ///
    /// # Errors
    /// See [`WorkerEnd`].
    pub fn send_hello(&self) -> io::Result<()> {
        self.send(ToKeeper::Hello, None)
    }

    /// Gives a run's read end to the keeper. It arrives even if this worker dies right after.
    ///
    /// # Errors
    /// See [`WorkerEnd`].
    pub fn send_hold(&self, run: &RunKey, fifo: BorrowedFd<'_>) -> io::Result<()> {
        self.send(ToKeeper::Hold { run: *run }, Some(fifo))
    }

    /// The keeper need not hold this run's FIFO any longer.
    ///
    /// # Errors
    /// See [`WorkerEnd`].
    pub fn send_drop(&self, run: &RunKey) -> io::Result<()> {
        self.send(ToKeeper::Drop { run: *run }, None)
    }

    /// The end that was told is recorded (or nobody's): the keeper reaps it.
    ///
    /// # Errors
    /// See [`WorkerEnd`].
    pub fn send_ack(&self, pid: i32, start_time: u64) -> io::Result<()> {
        self.send(ToKeeper::Ack { pid, start_time }, None)
    }

    /// The next message, `None` when there is none yet.
    ///
    /// # Errors
    /// UnexpectedEof when the keeper is gone, InvalidData for a frame that is not understood.
    pub fn recv(&self) -> io::Result<Option<ToWorker>> {
        match channel::receive(self.as_fd())? {
            Received::Nothing => Ok(None),
            Received::Closed => Err(io::ErrorKind::UnexpectedEof.into()),
            Received::Frame { bytes, .. } => match ToWorker::decode(&bytes) {
                Some(message) => Ok(Some(message)),
                None => Err(io::ErrorKind::InvalidData.into()),
            },
        }
    }

    fn send(&self, message: ToKeeper, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        channel::send(self.as_fd(), &message.encode(), fd)
    }
}

impl AsFd for WorkerEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

/// Takes over descriptor 4: the listening local socket, non-blocking. Call it once.
///
/// # Errors
/// EBADF when this process was not started by a keeper.
pub fn inherited_listener() -> io::Result<OwnedFd> {
    inherited_fd(LISTENER_FD)
}
