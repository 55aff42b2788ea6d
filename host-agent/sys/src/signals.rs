//! Signals, all 64 of them: the C library's own calls hide 32 and 33, which it uses itself.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::Signal;

/// The highest signal number.
const LAST: i32 = 64;
/// Bytes of the kernel's signal set.
const SET_BYTES: usize = 8;
/// `struct sigaction` of the kernel, as 64-bit words: handler, flags, restorer, mask. All 0 is SIG_DFL.
const SIG_DFL_ACTION: [u64; 4] = [0; 4];

/// Gives every signal its default disposition and then blocks none: how a program expects to begin its life.
///
/// # Errors
/// What rt_sigaction or rt_sigprocmask said.
pub fn reset() -> io::Result<()> {
    for number in 1..=LAST {
        if number == libc::SIGKILL || number == libc::SIGSTOP {
            continue;
        }
        let action = SIG_DFL_ACTION.as_ptr();
        let none = ptr::null_mut::<u64>();
        // SAFETY: `action` is a whole kernel sigaction; SIG_DFL runs no code of ours.
        check(unsafe { libc::syscall(libc::SYS_rt_sigaction, number, action, none, SET_BYTES) })?;
    }
    unblock_all()
}

/// Blocks no signal for the calling thread and what it starts.
///
/// # Errors
/// What rt_sigprocmask said.
pub fn unblock_all() -> io::Result<()> {
    set_mask(libc::SIG_SETMASK, 0).map(drop)
}

/// Blocks signals for the calling thread and what it starts.
///
/// # Errors
/// What rt_sigprocmask said.
pub fn block(signals: &[Signal]) -> io::Result<()> {
    set_mask(libc::SIG_BLOCK, set_of(signals)).map(drop)
}

/// Signals as a file: they must be blocked, and are then read here instead of acting.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

impl SignalFd {
    /// A non-blocking, close-on-exec descriptor for these signals, which it blocks for the calling thread.
    ///
    /// # Errors
    /// What signalfd4 or rt_sigprocmask said.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        block(signals)?;
        let set = set_of(signals);
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        let set = ptr::from_ref(&set);
        // SAFETY: `set` points to SET_BYTES readable bytes.
        let fd = check(unsafe { libc::syscall(libc::SYS_signalfd4, -1, set, SET_BYTES, flags) })?;
        // SAFETY: the kernel just made this descriptor; nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Ok(Self { fd })
    }

    /// The next pending signal's number, or `None`.
    ///
    /// # Errors
    /// What read said.
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let len = size_of::<libc::signalfd_siginfo>();
        // SAFETY: `info` is a writable buffer of `len` bytes.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), len) };
        if read < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(error),
            };
        }
        if read as usize != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: the kernel filled the whole structure, which is plain numbers.
        let info = unsafe { info.assume_init() };
        Ok(Some(info.ssi_signo as i32))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Every signal blocked for the calling thread, until dropped.
pub(crate) struct AllBlocked {
    before: u64,
}

impl AllBlocked {
    pub(crate) fn new() -> io::Result<Self> {
        let before = set_mask(libc::SIG_SETMASK, u64::MAX)?;
        Ok(Self { before })
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        // It can only fail for wrong arguments.
        let _ = set_mask(libc::SIG_SETMASK, self.before);
    }
}

fn set_of(signals: &[Signal]) -> u64 {
    signals
        .iter()
        .fold(0, |set, signal| set | 1 << (signal.as_raw() - 1))
}

/// Returns the mask that was in force.
fn set_mask(how: i32, set: u64) -> io::Result<u64> {
    let mut before = 0_u64;
    let (new, old) = (ptr::from_ref(&set), ptr::from_mut(&mut before));
    // SAFETY: both pointers are to SET_BYTES bytes of this frame.
    check(unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, new, old, SET_BYTES) })?;
    Ok(before)
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
