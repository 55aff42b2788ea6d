//! Processes by pid *and* start time, so that a reused pid is never taken for ours.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Pid, PidfdFlags, Signal};

/// A process that was seen alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub start_time: u64,
}

impl Process {
    /// The process that has this pid now.
    #[must_use]
    pub fn find(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; the fields after it do not.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let start_time = fields.get(19)?.parse().ok()?;
        // A zombie is no process to us: nobody can talk to it.
        (*fields.first()? != "Z").then_some(Self { pid, start_time })
    }

    /// The process whose pid is in a file (one decimal number).
    #[must_use]
    pub fn from_file(path: &Path) -> Option<Self> {
        Self::find(std::fs::read_to_string(path).ok()?.trim().parse().ok()?)
    }

    /// Whether it still lives.
    #[must_use]
    pub fn lives(&self) -> bool {
        Self::find(self.pid).as_ref() == Some(self)
    }

    /// Sends a signal; nothing happens if it is gone.
    ///
    /// # Errors
    /// When we may not.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(());
        };
        let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(());
        };
        // The pidfd is taken first and the start time compared afterwards: what it names now it names for ever.
        if !self.lives() {
            return Ok(());
        }
        match rustix::process::pidfd_send_signal(&pidfd, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Asks it to end, waits, and kills it when it does not within `grace`.
    ///
    /// # Errors
    /// When we may not.
    pub fn end(&self, grace: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        if !wait_until(grace, || !self.lives()) {
            self.signal(Signal::KILL)?;
            wait_until(Duration::from_secs(5), || !self.lives());
        }
        Ok(())
    }
}

/// Waits until `done` is true; false if it was not within `limit`.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
