//! Low descriptor numbers kept free for what a child is given.
//!
//! A child that gets a copy of the caller's descriptor table pays for every descriptor in it twice: when it is copied, and
//! when exec closes the copies. With a thousand daemons that is a third of what a start costs, and until it has exec'd the
//! child keeps pipes open that the caller has closed. So the child shares the table at first, and takes a copy of the part
//! below a number only (`close_range` with CLOSE_RANGE_UNSHARE, Linux 5.9). What it is given sits there.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{DupFlags, Errno, dup3, fcntl_dupfd_cloexec};

/// Above every number a daemon's helper is given something at, so that no seat is in the way.
const LOWEST: RawFd = 16;
/// A helper gets six descriptors and is one itself. Who gives more is served by a whole copy.
const SEATS: usize = 8;

/// Seats of one thread. Empty they hold `/dev/null`, close-on-exec as all that sits there.
#[derive(Debug)]
pub struct Seats {
    empty: OwnedFd,
    seats: Vec<OwnedFd>,
}

impl Seats {
    /// Takes the lowest numbers that are free: call it before there are many descriptors. `None` where the kernel can not
    /// copy a part of a table; spawning works all the same then, by a whole copy.
    ///
    /// # Errors
    /// When `/dev/null` or descriptors are not to be had.
    pub fn take() -> io::Result<Option<Self>> {
        if !can_copy_part_of_a_table()? {
            return Ok(None);
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let empty = rustix::fs::open(c"/dev/null", flags, Mode::empty())?;
        let seat = |_| fcntl_dupfd_cloexec(&empty, LOWEST);
        let seats = (0..SEATS).map(seat).collect::<Result<_, _>>()?;
        Ok(Some(Self { empty, seats }))
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = RawFd> {
        self.seats.iter().map(AsRawFd::as_raw_fd)
    }

    /// The first number above all of them.
    pub(super) fn end(&self) -> RawFd {
        self.numbers().max().unwrap_or(-1) + 1
    }

    /// Whether there are enough for a program and what it is given at these numbers, and none is one of them.
    pub(super) fn suffice(&self, mut targets: impl ExactSizeIterator<Item = RawFd>) -> bool {
        let lowest = self.numbers().min();
        targets.len() < self.seats.len() && targets.all(|target| lowest > Some(target))
    }

    /// Puts `fds` onto the first seats until the guard is dropped. No more than [`Self::suffice`] agreed to.
    pub(super) fn seat<'a>(
        &mut self,
        fds: impl Iterator<Item = BorrowedFd<'a>>,
    ) -> io::Result<Seated<'_>> {
        let mut seated = Seated {
            seats: self,
            taken: 0,
        };
        for fd in fds {
            dup3(fd, &mut seated.seats.seats[seated.taken], DupFlags::CLOEXEC)?;
            seated.taken += 1;
        }
        Ok(seated)
    }
}

/// Seats that are taken. Emptied when dropped: a pipe left there would never end.
pub(super) struct Seated<'a> {
    seats: &'a mut Seats,
    taken: usize,
}

impl Seated<'_> {
    /// Where the `index`th one sits.
    pub(super) fn number(&self, index: usize) -> RawFd {
        self.seats.seats[index].as_raw_fd()
    }
}

impl Drop for Seated<'_> {
    fn drop(&mut self) {
        let Seats { empty, seats } = &mut *self.seats;
        for seat in seats.iter_mut().take(self.taken) {
            // Both descriptors are open, so this can not fail but for a moment.
            while let Err(Errno::INTR | Errno::BUSY) = dup3(&*empty, seat, DupFlags::CLOEXEC) {}
        }
    }
}

/// Whether there is `close_range` (Linux 5.9; its flag CLOSE_RANGE_UNSHARE came with it). Asks about descriptors that are
/// never open.
///
/// # Errors
/// When that can not be found out.
pub fn can_copy_part_of_a_table() -> io::Result<bool> {
    // SAFETY: plain numbers; there is no such descriptor to be closed.
    let done = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, 0) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL | libc::EPERM) => Ok(false),
        _ => Err(error),
    }
}
