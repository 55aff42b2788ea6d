//! The run record: how a later worker finds this process again and knows what it is.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;

use host_agent_sys::fail_point::fail_point;
use host_agent_sys::process::start_time;
use rustix::fs::{Mode, OFlags, openat, renameat};
use rustix::process::getpid;

/// Writes `<pid>` into the directory: pid, start time, then the worker's lines. Whole or not at all, but not forced to
/// disk: it means nothing after a reboot.
pub(crate) fn write(records: BorrowedFd<'_>, lines: &str) -> io::Result<()> {
    let pid = getpid();
    let started = start_time(pid)?;
    let pid = pid.as_raw_nonzero();
    let (name, tmp) = (format!("{pid}"), format!("{pid}.tmp"));

    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(records, &*tmp, flags, Mode::RUSR | Mode::WUSR)?;
    let text = format!("pid={pid}\nstart_time={started}\n{lines}");
    File::from(file).write_all(text.as_bytes())?;
    fail_point(records, "exec-written");
    Ok(renameat(records, &*tmp, records, &*name)?)
}
