//! Places at which a test may kill the agent: between any two steps of a start or an end. Owns how such a place is armed.
//! Only builds with debug assertions have them; in a release build the function is empty, and so are its names.
//!
//! A point is armed by a file of its name in `run_dir/fail`. It holds the pid to kill, 0 for one's own, and how many
//! milliseconds a process that lives on lingers there, as a slow helper would. Who takes the file away kills, so an armed
//! point fires once, in whichever process comes by first.

use std::os::fd::BorrowedFd;

/// Kills, if `name` is armed. `records` is the directory of run records: it is what worker and helper both have at hand.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn fail_point(_records: BorrowedFd<'_>, _name: &'static str) {}

/// Kills, if `name` is armed. `records` is the directory of run records: it is what worker and helper both have at hand.
#[cfg(debug_assertions)]
pub fn fail_point(records: BorrowedFd<'_>, name: &'static str) {
    use rustix::process::{Signal, getppid, kill_process};

    let Some((victim, linger)) = armed(records, name) else {
        return;
    };
    let parent = getppid();
    // What is gone already need not be killed.
    let _ = kill_process(victim, Signal::KILL);
    // It was this process, or one it dies with, or one that started it: its steps go on without that one.
    while getppid() == parent {
        std::thread::yield_now();
    }
    std::thread::sleep(linger);
}

#[cfg(debug_assertions)]
fn armed(
    records: BorrowedFd<'_>,
    name: &str,
) -> Option<(rustix::process::Pid, std::time::Duration)> {
    use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
    use rustix::process::{Pid, getpid};

    let path = format!("../fail/{name}");
    let file = openat(
        records,
        &*path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let text = std::io::read_to_string(std::fs::File::from(file)).ok()?;
    unlinkat(records, &*path, AtFlags::empty()).ok()?;
    let mut words = text.split_ascii_whitespace();
    let number = words.next()?.parse().ok().filter(|number| *number >= 0)?;
    let linger = words.next().and_then(|word| word.parse().ok());
    let linger = std::time::Duration::from_millis(linger.unwrap_or(0));
    Some((Pid::from_raw(number).unwrap_or_else(getpid), linger))
}
