//! What the engine shows of a daemon.

use zhylon_shared::id::DaemonId;
use zhylon_shared::state::{DesiredState, InstanceState, RestartOutcome};

use crate::input::{Exit, Hold};
use crate::time::Time;

/// The newest state of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonView {
    /// The daemon.
    pub id: DaemonId,
    /// Aggregate state.
    pub state: InstanceState,
    /// What is desired by the api-server.
    pub desired: DesiredState,
    /// The local hold in force.
    pub hold: Option<Hold>,
    /// The revision this view is about.
    pub revision: i64,
    /// Whether everything desired (or held) is reached.
    pub converged: bool,
    /// The newest settled restart generation.
    pub settled_restart_generation: i64,
    /// Its outcome; `None` if there never was one.
    pub restart_outcome: Option<RestartOutcome>,
    /// Why it is not converged, in words; empty if it is.
    pub message: String,
    /// The instances, ordered by index.
    pub instances: Vec<InstanceView>,
}

/// The newest state of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceView {
    /// 0 … `processes` - 1 (more while instances that are too many end).
    pub index: u32,
    /// Generation of the newest spawn; 0 if there was none.
    pub generation: u64,
    /// Process id; 0 when there is none.
    pub pid: i32,
    /// State.
    pub state: InstanceState,
    /// Since when it has this state.
    pub since: Time,
    /// When its newest spawn was started; `None` if there was none.
    pub started: Option<Time>,
    /// Respawns since it was last started on request.
    pub restart_count: u64,
    /// How it last ended or failed to start.
    pub last_exit: Option<LastExit>,
    /// In BACKOFF: when it is tried again.
    pub next_start: Option<Time>,
}

/// An end of a process, or a failed start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastExit {
    /// How the main process ended; `None` if it never became the program.
    pub exit: Option<Exit>,
    /// Whether it outlived its grace and was killed.
    pub killed_after_grace: bool,
    /// When.
    pub time: Time,
    /// In words: `exit code 1`, `signal 9 (killed after its grace)`, `chdir /srv: No such file or directory (os error 2)`.
    pub message: String,
}
