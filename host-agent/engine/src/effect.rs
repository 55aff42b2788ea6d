//! What the engine asks of its shell. Effects are carried out in the order in which they come.

use std::sync::Arc;

use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::RestartOutcome;

use crate::input::{Run, Slot, Ticket};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start a process; answered by `Spawned` or `SpawnFailed`.
    Spawn {
        /// Which run; its generation was never used before.
        run: Run,
        /// What to run.
        spec: Arc<DaemonSpec>,
        /// The restart generation it is started for.
        restart_generation: i64,
    },
    /// Send a signal to the main process (by pidfd). A process that is gone is no error.
    Signal {
        /// Which run.
        run: Run,
        /// Signal number.
        signal: i32,
    },
    /// Send a signal to everything in the run's tree.
    SignalTree {
        /// Which run.
        run: Run,
        /// Signal number.
        signal: i32,
    },
    /// Kill everything in the run's tree. `TreeGone` (and `Exited`, if the main process still lived) follow.
    KillTree {
        /// Which run.
        run: Run,
    },
    /// Find out whether user, directory and program of a spec resolve, without starting anything; answered by `Checked`.
    Check {
        /// The daemon.
        daemon: DaemonId,
        /// The revision of the spec.
        revision: i64,
        /// The spec.
        spec: Arc<DaemonSpec>,
    },
    /// Holds ended; take them out of the ledger.
    HoldEnded {
        /// The daemon.
        daemon: DaemonId,
        /// The instance whose own hold ended; `None`: all of the daemon, those of its instances too.
        index: Option<u32>,
    },
    /// The holds of a daemon, and of its instances, override this intent generation from now on: a new config epoch
    /// counts anew. Write it to the ledger.
    HoldsRebased {
        /// The daemon.
        daemon: DaemonId,
        /// The intent generation.
        intent_generation: i64,
    },
    /// A rollout stopped. The instances it has not reached keep their process until the daemon is written again; write
    /// it to the ledger.
    RolloutStopped {
        /// The daemon.
        daemon: DaemonId,
        /// The revision that was rolled out.
        revision: i64,
        /// Where and why, in words.
        why: String,
    },
    /// The outcome of a restart is known; write it to the ledger.
    Settled {
        /// The daemon.
        daemon: DaemonId,
        /// Which restart.
        restart_generation: i64,
        /// How it ended.
        outcome: RestartOutcome,
    },
    /// The daemon's view changed: publish the newest.
    Changed {
        /// The daemon.
        daemon: DaemonId,
    },
    /// A daemon that is no longer desired is gone altogether: forget and report it.
    Gone {
        /// The daemon.
        daemon: DaemonId,
    },
    /// Answers a command: every addressed slot with its outcome, ordered by slot.
    Reply {
        /// The command.
        ticket: Ticket,
        /// What became of each slot. Empty when the daemon is unknown.
        outcomes: Vec<(Slot, CommandOutcome)>,
    },
    /// Everything that was to be stopped before the worker ends is stopped.
    Terminated,
}

/// What became of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandOutcome {
    /// Done: started (RUNNING), stopped (tree gone), restarted, signalled.
    Done,
    /// Start: it was running already.
    AlreadyStarted,
    /// Stop, signal: it was not running.
    NotRunning,
    /// Start: the program does not exist.
    NoFile,
    /// Start: the program is not executable.
    NotExecutable,
    /// Start: it could not be spawned, or ended before `start_seconds`.
    SpawnError,
    /// Start: it left STARTING in another way (a stop came in between).
    AbnormalTermination,
    /// There is no such instance.
    BadName,
}
