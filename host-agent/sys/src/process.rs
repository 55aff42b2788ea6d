//! What a process can tell about itself and others, and the descriptors it was born with.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::Pid;

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`). With the boot id it tells a process
/// from a later one with the same pid. Works for zombies too.
///
/// # Errors
/// NotFound when there is no such process; InvalidData when the file is not as the kernel writes it.
pub fn start_time(pid: Pid) -> io::Result<u64> {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    Ok(parse_stat(&read_proc(&path)?)?.start_time)
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Field 3: `Z` when the main thread has ended, even while others still run.
    pub state: char,
    /// Field 4. `None`: outside of our pid namespace.
    pub parent: Option<Pid>,
    /// Field 6. `None`: outside of our pid namespace, as that of whatever a container was entered with.
    pub session: Option<Pid>,
    /// Field 22, clock ticks since boot.
    pub start_time: u64,
}

/// State, relations and start time of a process.
///
/// # Errors
/// As [`start_time`].
pub fn stat(pid: Pid) -> io::Result<Stat> {
    parse_stat(&read_proc(&format!("/proc/{}/stat", pid.as_raw_nonzero()))?)
}

/// A process that ends between open and read answers ESRCH: it is not there either.
fn read_proc(path: &str) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => io::ErrorKind::NotFound.into(),
        _ => error,
    })
}

/// The name in field 2 is the process's own choice and may hold spaces and brackets: only what follows the last `)`
/// counts.
fn parse_stat(stat: &[u8]) -> io::Result<Stat> {
    let bad = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "stat is not as the kernel writes it",
        )
    };
    let close = stat.iter().rposition(|b| *b == b')').ok_or_else(bad)?;
    let rest = std::str::from_utf8(&stat[close + 1..]).map_err(|_| bad())?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next().and_then(|f| f.chars().next());
    let mut number = |nth| fields.nth(nth).and_then(|f| f.parse().ok());
    match (state, number(0), number(1), number(15)) {
        (Some(state), Some(parent), Some(session), Some(start_time)) => Ok(Stat {
            state,
            parent: pid(parent).ok_or_else(bad)?,
            session: pid(session).ok_or_else(bad)?,
            start_time,
        }),
        _ => Err(bad()),
    }
}

/// 0 stands for a process that our pid namespace does not show.
fn pid(number: u64) -> Option<Option<Pid>> {
    let number = i32::try_from(number).ok()?;
    Some(Pid::from_raw(number))
}

/// A random name of this boot, 36 characters. Pids and start times are comparable within one boot only.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim_end().to_owned())
}

/// Takes over a descriptor this process was started with, and makes it close-on-exec.
///
/// Call it once per number, before anything else opens files: what it returns is owned by the caller alone.
///
/// # Errors
/// EBADF when the number is not open.
pub fn inherited_fd(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: borrowed for two calls that answer EBADF if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl_getfd(borrowed)?;
    fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and by this function's rule nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Makes every descriptor from `first` up close-on-exec, so that nothing leaks into the next program.
///
/// # Errors
/// What close_range said; on kernels that do not know it (or its flag), what reading `/proc/self/fd` said.
pub fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let cloexec = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: closes nothing, sets a flag only.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, cloexec) };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EINVAL | libc::EPERM) => walk_close_on_exec_from(first),
        _ => Err(error),
    }
}

/// For kernels before 5.11, and containers that forbid what they do not know.
fn walk_close_on_exec_from(first: RawFd) -> io::Result<()> {
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|n| n.parse::<RawFd>().ok());
        let Some(number) = number.filter(|n| *n >= first) else {
            continue;
        };
        // SAFETY: the number was open a moment ago and nothing closes it meanwhile; at worst the answer is EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_setfd(fd, FdFlags::CLOEXEC)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
