//! The agent as seen from outside: whether it runs, and which processes it is.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use host_agent_sys::process::stat;
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
    /// The keeper, if there is one. Its pid file may be an old one and the number a stranger's by now, another agent's
    /// keeper even: it must be our program, and have the lock of these directories open.
    pub(super) fn keeper(config: &Config) -> Option<Self> {
        let keeper = Self::open(noted(&config.run_dir.join("keeper.pid"))?)?;
        let ours = std::env::current_exe().ok()?;
        let theirs = std::fs::read_link(format!("/proc/{}/exe", keeper.pid)).ok()?;
        // After an upgrade the name of the old program ends with ` (deleted)`.
        let theirs = theirs.file_name()?.as_encoded_bytes();
        let is_ours = theirs.starts_with(ours.file_name()?.as_encoded_bytes());
        (is_ours && has_open(keeper.pid, &lock_of(config))).then_some(keeper)
    }

    /// The worker, if there is one: the kernel knows whose child it is. Its pid file may be an old one, or could not be
    /// written; it is asked only where the kernel tells of no children.
    pub(super) fn worker(config: &Config) -> Option<Self> {
        let keeper = Self::keeper(config)?.pid;
        let list = format!("/proc/{keeper}/task/{keeper}/children");
        let children: Vec<Pid> = match std::fs::read_to_string(list) {
            Ok(list) => list.split_ascii_whitespace().filter_map(pid_of).collect(),
            Err(_) => noted(&config.run_dir.join("worker.pid"))
                .into_iter()
                .collect(),
        };
        let mut found = children.into_iter().filter_map(Self::open);
        found.find(|child| child.is_worker_of(keeper) == Some(true))
    }

    /// A daemon's orphan is the keeper's child, too, and may call itself what it likes: a worker is the keeper's program
    /// under the keeper's user.
    fn is_worker_of(&self, keeper: Pid) -> Option<bool> {
        let identity = |pid: Pid| {
            let program = std::fs::metadata(format!("/proc/{pid}/exe")).ok()?;
            let process = std::fs::metadata(format!("/proc/{pid}")).ok()?;
            Some((program.dev(), program.ino(), process.uid()))
        };
        let words = std::fs::read(format!("/proc/{}/cmdline", self.pid)).ok()?;
        let is_worker = words.split(|byte| *byte == 0).nth(1) == Some(b"worker");
        let is_child = stat(self.pid).ok()?.parent == Some(keeper);
        Some(is_worker && is_child && identity(self.pid)? == identity(keeper)?)
    }

    /// Opened before anything else is asked: from then on its number can not become another's unseen.
    fn open(pid: Pid) -> Option<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid, pidfd })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }
}

/// The number in a pid file.
fn noted(pid_file: &Path) -> Option<Pid> {
    pid_of(std::fs::read_to_string(pid_file).ok()?.trim_end())
}

/// Whether a process has this very file open.
fn has_open(pid: Pid, file: &Path) -> bool {
    let (Ok(wanted), Ok(fds)) = (
        std::fs::metadata(file),
        std::fs::read_dir(format!("/proc/{pid}/fd")),
    ) else {
        return false;
    };
    fds.flatten().any(|fd| {
        // A keeper has thousands of pipes: by their names they are none.
        std::fs::read_link(fd.path()).is_ok_and(|path| path.file_name() == file.file_name())
            && std::fs::metadata(fd.path())
                .is_ok_and(|open| (open.dev(), open.ino()) == (wanted.dev(), wanted.ino()))
    })
}

fn lock_of(config: &Config) -> PathBuf {
    config.state_dir.join("lock")
}

/// The keeper's lock: whoever has it knows that no agent runs with these directories, and that none will.
///
/// # Errors
/// When it can not be looked at.
pub(super) fn try_lock(config: &Config) -> anyhow::Result<Lock> {
    let path = lock_of(config);
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
