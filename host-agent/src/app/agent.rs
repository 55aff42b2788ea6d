//! The agent as seen from outside: whether it runs, and which processes it is.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::config::Config;
use crate::spawn::record::pid_of;

/// Signal on which a worker stops every daemon. Its default is to be ignored, so a worker that does not listen yet is not
/// killed by it; it is sent again and again. No terminal sends it.
pub(super) const STOP_DAEMONS: Signal = Signal::URG;

/// Signal on which the keeper becomes the program that lies in its place.
pub(super) const UPGRADE: Signal = Signal::USR2;

/// One of the agent's two processes.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: Pid,
    pidfd: OwnedFd,
}

impl Process {
    /// The keeper, if there is one.
    pub(super) fn keeper(config: &Config) -> Option<Self> {
        Self::of(&config.run_dir.join("keeper.pid"))
    }

    /// The worker, if there is one.
    pub(super) fn worker(config: &Config) -> Option<Self> {
        Self::of(&config.run_dir.join("worker.pid"))
    }

    /// The pid file may be an old one and its number a stranger's by now: the program's name must be ours.
    fn of(pid_file: &Path) -> Option<Self> {
        let pid = std::fs::read_to_string(pid_file).ok()?;
        let pid = pid_of(pid.trim_end())?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let ours = std::env::current_exe().ok()?;
        let theirs = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        // After an upgrade the name of the old program ends with ` (deleted)`.
        let theirs = theirs.file_name()?.as_encoded_bytes();
        theirs
            .starts_with(ours.file_name()?.as_encoded_bytes())
            .then_some(Self { pid, pidfd })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }
}

/// The keeper's lock: whoever has it knows that no agent runs with these directories, and that none will.
///
/// # Errors
/// When it can not be looked at.
pub(super) fn try_lock(config: &Config) -> anyhow::Result<Lock> {
    let path = config.state_dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::NeverRan),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock::Ours(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Lock::Keepers),
        Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
    }
}

/// Who has the keeper's lock.
pub(super) enum Lock {
    /// We, until this is dropped.
    Ours(File),
    /// An agent that runs.
    Keepers,
    /// No agent ever ran here.
    NeverRan,
}
