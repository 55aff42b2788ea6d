//! Places at which a test may kill the agent: between any two steps of a move, a rotation or a clear. Owns where such a place
//! is armed: `fail` beside the directory of indexes, which is there only when a test made it. Release builds have none.

use std::path::Path;

/// A step is done. A test may want to know what is found when it was the last one.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn step(_name: &'static str) {}

/// Remembers where steps are armed.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn look_beside(_index_dir: &Path) {}

/// Where steps are armed. One for the whole process: it has one room for logs, but in tests, where the first that is asked
/// for is the only one.
#[cfg(debug_assertions)]
static ARMED: std::sync::OnceLock<std::os::fd::OwnedFd> = std::sync::OnceLock::new();

/// A step is done. A test may want to know what is found when it was the last one.
#[cfg(debug_assertions)]
pub(super) fn step(name: &'static str) {
    use std::os::fd::AsFd as _;

    if let Some(dir) = ARMED.get() {
        host_agent_sys::fail_point::fail_point(dir.as_fd(), name);
    }
}

/// Remembers where steps are armed. With the agent's identity: file threads have others.
#[cfg(debug_assertions)]
pub(super) fn look_beside(index_dir: &Path) {
    use rustix::fs::{Mode, OFlags, open};

    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(dir) = open(index_dir.with_file_name("fail"), flags, Mode::empty()) {
        // Another room of the same test program has it.
        let _ = ARMED.set(dir);
    }
}
