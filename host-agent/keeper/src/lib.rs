//! The keeper: the agent's main process, which must outlive everything else of it.
//!
//! It adopts what a dead worker leaves behind, keeps exit statuses and log FIFOs until a worker has them, holds the
//! listening socket, and starts the worker again at once. Single-threaded; it must never speak to the network, read a
//! spec, open a user's file, or wait for anything but its own poll.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

mod channel;
mod children;
mod handover;
mod home;
mod keeper;
mod line;
mod log;
pub mod protocol;
mod worker;
mod worker_end;

pub use worker_end::{WorkerEnd, inherited_listener};

/// Where the keeper lives and what it starts.
#[derive(Debug, Clone)]
pub struct KeeperConfig {
    /// What must survive a reboot; holds the lock that keeps two agents apart. Made 0700.
    pub state_dir: PathBuf,
    /// What need only survive a kill: socket, run records, FIFOs. Made 0755.
    pub run_dir: PathBuf,
    /// The worker's arguments, without the program's own name.
    pub worker_args: Vec<OsString>,
}

impl KeeperConfig {
    fn dirs(&self) -> [PathBuf; 2] {
        [self.state_dir.clone(), self.run_dir.clone()]
    }
}

/// Why the keeper could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Another keeper is alive.
    #[error(
        "another host-agent is running with {directory}; stop it first, or give this one directories of its own \
         (state_dir, run_dir)"
    )]
    Locked {
        /// The directory that it holds.
        directory: String,
    },
    /// Something else than a directory of ours is in the way.
    #[error("{path}: {rule}")]
    Refused {
        /// What.
        path: String,
        /// The rule it breaks, and what to do.
        rule: String,
    },
    /// The system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

/// Runs until SIGTERM or SIGINT. Programs that run then go on running. On SIGUSR2 it ends the worker and becomes the
/// program that now lies where it was started from: pid, children, locks, socket and FIFOs stay.
///
/// Call it from the main thread of a process without other threads.
///
/// # Errors
/// When it could not begin, see [`KeeperError`]; once begun, only when the kernel has no memory left for a wait.
pub fn run(config: &KeeperConfig) -> Result<ExitCode, KeeperError> {
    keeper::run(config)
}
