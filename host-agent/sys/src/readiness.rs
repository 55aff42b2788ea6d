//! Waiting for an epoll descriptor in a tokio task.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An epoll descriptor of the caller's, with any number of descriptors registered level-triggered in it, as one thing
/// to await. The caller reads the events itself, with a timeout of zero.
pub struct Readiness {
    epoll: AsyncFd<OwnedFd>,
}

impl Readiness {
    /// Registers it with the current runtime.
    ///
    /// # Errors
    /// What the runtime's own epoll said.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn new(epoll: OwnedFd) -> io::Result<Self> {
        // SAFETY: `epoll` is an open descriptor owned by the AsyncFd from here on. It stays open, and the same, as long
        // as that lives: an OwnedFd's number never changes, and `&AsyncFd` lets nobody replace it.
        let epoll = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) }?;
        Ok(Self { epoll })
    }

    /// Returns when events are waiting; at once if some were left unread. Cancel safe.
    ///
    /// # Errors
    /// What poll said, or that the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        loop {
            let mut guard = self.epoll.readable().await?;
            // The runtime hears of edges only, so its readiness is kept until the kernel says that nothing is left. An
            // edge between that answer and `clear_ready` is not lost: tokio drops only what the guard has seen.
            if self.has_events()? {
                guard.retain_ready();
                return Ok(());
            }
            guard.clear_ready();
        }
    }

    fn has_events(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.epoll.get_ref(), PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            match poll(&mut fds, Some(&now)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.get_ref().as_fd()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readiness")
            .field(self.epoll.get_ref())
            .finish()
    }
}

#[cfg(test)]
mod tests;
