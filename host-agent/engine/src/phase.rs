//! Where an instance is: facts only, changed by nothing but events. What is wanted of it is its goal.

use std::time::Duration;

use zhylon_shared::signal::StopSignal;
use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::InstanceState;

use crate::input::Adopted;
use crate::plan::Standing;
use crate::policy::Verdict;
use crate::time::Time;

/// A run that is there or on its way, with the promises it was started under: they hold whatever became of its spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) generation: u64,
    /// 0 before it is known and after the main process ended.
    pub(crate) pid: i32,
    pub(crate) started: Time,
    pub(crate) start: Duration,
    pub(crate) stop_signal: StopSignal,
    pub(crate) grace: Duration,
    /// `TreeGone` came before `Exited`: the end is still to be told.
    pub(crate) tree_gone: bool,
}

impl Live {
    pub(crate) fn new(generation: u64, spec: &DaemonSpec, now: Time) -> Self {
        Self {
            generation,
            pid: 0,
            started: now,
            start: Duration::from_secs(spec.start_seconds().into()),
            stop_signal: spec.stop_signal(),
            grace: Duration::from_secs(spec.stop_seconds().into()),
            tree_gone: false,
        }
    }

    /// One that was found alive; `start_seconds` is 0 where its spec is not known.
    pub(crate) fn adopted(found: &Adopted, start_seconds: u32, now: Time) -> Self {
        Self {
            generation: found.run.generation,
            pid: found.pid,
            started: now - found.ran_for,
            start: Duration::from_secs(start_seconds.into()),
            stop_signal: found.stop_signal,
            grace: Duration::from_secs(found.stop_seconds.into()),
            tree_gone: false,
        }
    }
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The spawn is not answered yet; the process is asked as soon as it is there.
    Spawn,
    /// The main process was asked.
    Main,
    /// The main process ended, others of its tree were asked.
    Tree,
}

/// Where an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing there, on request.
    Stopped,
    /// Ended by itself; stays so.
    Exited,
    /// Failed too often; stays so.
    Fatal,
    /// Nothing there until its next start.
    Waiting {
        until: Time,
        /// After a failure; else the pause of a recycle.
        failed: bool,
    },
    /// The shell was asked to spawn it.
    Spawning(Live),
    /// It runs, for less than `start_seconds`.
    Starting { live: Live, until: Time },
    /// It runs.
    Running { live: Live, since: Time },
    /// It is being stopped on request.
    Stopping {
        live: Live,
        ending: Ending,
        /// When its grace is over; `None` before it began and after the kill.
        kill_at: Option<Time>,
        /// It outlived its grace.
        killed: bool,
    },
    /// The main process ended unasked; what is left of its tree must go before anything follows.
    Leftover {
        live: Live,
        /// `None` after the kill.
        kill_at: Option<Time>,
        next: Verdict,
    },
}

impl Phase {
    /// The run, while anything of it is there.
    pub(crate) fn live(&self) -> Option<&Live> {
        match self {
            Self::Stopped | Self::Exited | Self::Fatal | Self::Waiting { .. } => None,
            Self::Spawning(live)
            | Self::Starting { live, .. }
            | Self::Running { live, .. }
            | Self::Stopping { live, .. }
            | Self::Leftover { live, .. } => Some(live),
        }
    }

    /// The run again, to note something about it.
    pub(crate) fn live_mut(&mut self) -> Option<&mut Live> {
        match self {
            Self::Stopped | Self::Exited | Self::Fatal | Self::Waiting { .. } => None,
            Self::Spawning(live)
            | Self::Starting { live, .. }
            | Self::Running { live, .. }
            | Self::Stopping { live, .. }
            | Self::Leftover { live, .. } => Some(live),
        }
    }

    /// The state that people see. What follows an end is shown from the end on, though the tree still goes.
    pub(crate) fn state(&self) -> InstanceState {
        match self {
            Self::Stopped => InstanceState::Stopped,
            Self::Exited => InstanceState::Exited,
            Self::Fatal => InstanceState::Fatal,
            Self::Waiting { failed: true, .. } => InstanceState::Backoff,
            Self::Waiting { failed: false, .. } | Self::Spawning(_) | Self::Starting { .. } => {
                InstanceState::Starting
            }
            Self::Running { .. } => InstanceState::Running,
            Self::Stopping { .. } => InstanceState::Stopping,
            Self::Leftover { next, .. } => match next {
                Verdict::Respawn(_) => InstanceState::Starting,
                Verdict::Backoff(_) => InstanceState::Backoff,
                Verdict::Exited => InstanceState::Exited,
                Verdict::Fatal => InstanceState::Fatal,
            },
        }
    }

    /// The same for planning.
    pub(crate) fn standing(&self) -> Standing {
        match self {
            Self::Stopped => Standing::Resting,
            Self::Exited | Self::Fatal => Standing::Ended,
            Self::Waiting { .. } => Standing::Waiting,
            Self::Stopping { .. } => Standing::Ending,
            Self::Spawning(_)
            | Self::Starting { .. }
            | Self::Running { .. }
            | Self::Leftover { .. } => Standing::Live,
        }
    }

    /// When time alone changes it.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self {
            Self::Stopped
            | Self::Exited
            | Self::Fatal
            | Self::Spawning(_)
            | Self::Running { .. } => None,
            Self::Waiting { until, .. } | Self::Starting { until, .. } => Some(*until),
            Self::Stopping { kill_at, .. } | Self::Leftover { kill_at, .. } => *kill_at,
        }
    }

    /// In BACKOFF: when it is tried again.
    pub(crate) fn next_start(&self) -> Option<Time> {
        match self {
            Self::Waiting {
                until,
                failed: true,
            } => Some(*until),
            Self::Leftover {
                next: Verdict::Backoff(at),
                ..
            } => Some(*at),
            _ => None,
        }
    }
}
