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
    /// `start_seconds`.
    pub(crate) start: Duration,
    /// Since when, or from when on, it counts as RUNNING.
    pub(crate) running_at: Time,
    pub(crate) stop_signal: StopSignal,
    /// `stop_seconds`.
    pub(crate) grace: Duration,
    /// When its grace is over; `None` before it began and after the kill.
    pub(crate) kill_at: Option<Time>,
    /// It outlived its grace.
    pub(crate) killed: bool,
    /// `TreeGone` came before `Exited`: the end is still to be told.
    pub(crate) tree_gone: bool,
}

impl Live {
    /// One that the shell is asked for.
    pub(crate) fn new(generation: u64, spec: &DaemonSpec, now: Time) -> Self {
        let start = Duration::from_secs(spec.start_seconds().into());
        Self {
            generation,
            pid: 0,
            started: now,
            start,
            running_at: now + start,
            stop_signal: spec.stop_signal(),
            grace: Duration::from_secs(spec.stop_seconds().into()),
            kill_at: None,
            killed: false,
            tree_gone: false,
        }
    }

    /// One that was found alive; `start_seconds` is 0 where its spec is not known.
    pub(crate) fn adopted(found: &Adopted, start_seconds: u32, now: Time) -> Self {
        let start = Duration::from_secs(start_seconds.into());
        let ahead = start.saturating_sub(found.ran_for);
        let behind = found.ran_for.saturating_sub(start);
        Self {
            generation: found.run.generation,
            pid: found.pid,
            started: now - found.ran_for,
            start,
            running_at: if ahead.is_zero() {
                now - behind
            } else {
                now + ahead
            },
            stop_signal: found.stop_signal,
            grace: Duration::from_secs(found.stop_seconds.into()),
            kill_at: None,
            killed: false,
            tree_gone: false,
        }
    }

    /// Nothing of its tree is left, but how its main process ended is not told yet.
    pub(crate) fn without_tree(self) -> Self {
        Self {
            tree_gone: true,
            ..self
        }
    }

    /// The process is there.
    pub(crate) fn spawned(self, pid: i32, now: Time) -> Self {
        Self {
            pid,
            started: now,
            running_at: now + self.start,
            ..self
        }
    }
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
    /// Nothing there; it recycles and starts again then.
    Pausing(Time),
    /// Nothing there; it failed and is tried again then.
    Backoff(Time),
    /// The shell was asked to spawn it.
    Spawning(Live),
    /// It runs, for less than `start_seconds`.
    Starting(Live),
    /// It runs.
    Running(Live),
    /// It is to be stopped, but its spawn is not answered yet.
    Aborting(Live),
    /// Its main process was asked to end.
    Stopping(Live),
    /// Its main process ended as asked; the rest of its tree was asked too.
    Clearing(Live),
    /// Its main process ended unasked; the rest of its tree must go before anything follows.
    Leftover(Live, Verdict),
}

impl Phase {
    /// The run, while anything of it is there.
    pub(crate) fn live(&self) -> Option<&Live> {
        match self {
            Self::Stopped | Self::Exited | Self::Fatal | Self::Pausing(_) | Self::Backoff(_) => {
                None
            }
            Self::Spawning(live)
            | Self::Starting(live)
            | Self::Running(live)
            | Self::Aborting(live)
            | Self::Stopping(live)
            | Self::Clearing(live)
            | Self::Leftover(live, _) => Some(live),
        }
    }

    /// The state that people see. What follows an end is shown from the end on, though the rest of the tree still goes.
    pub(crate) fn state(&self) -> InstanceState {
        match self {
            Self::Stopped => InstanceState::Stopped,
            Self::Exited | Self::Leftover(_, Verdict::Exited) => InstanceState::Exited,
            Self::Fatal | Self::Leftover(_, Verdict::Fatal) => InstanceState::Fatal,
            Self::Backoff(_) | Self::Leftover(_, Verdict::Backoff(_)) => InstanceState::Backoff,
            Self::Pausing(_)
            | Self::Spawning(_)
            | Self::Starting(_)
            | Self::Leftover(_, Verdict::Respawn(_)) => InstanceState::Starting,
            Self::Running(_) => InstanceState::Running,
            Self::Aborting(_) | Self::Stopping(_) | Self::Clearing(_) => InstanceState::Stopping,
        }
    }

    /// The same for planning.
    pub(crate) fn standing(&self) -> Standing {
        match self {
            Self::Stopped => Standing::Resting,
            Self::Exited | Self::Fatal => Standing::Ended,
            Self::Pausing(_) | Self::Backoff(_) => Standing::Waiting,
            Self::Spawning(_) | Self::Starting(_) | Self::Running(_) | Self::Leftover(..) => {
                Standing::Live
            }
            Self::Aborting(_) | Self::Stopping(_) | Self::Clearing(_) => Standing::Ending,
        }
    }

    /// When time alone changes it.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self {
            Self::Stopped | Self::Exited | Self::Fatal => None,
            Self::Spawning(_) | Self::Running(_) | Self::Aborting(_) => None,
            Self::Pausing(until) | Self::Backoff(until) => Some(*until),
            Self::Starting(live) => Some(live.running_at),
            Self::Stopping(live) | Self::Clearing(live) | Self::Leftover(live, _) => live.kill_at,
        }
    }

    /// In BACKOFF: when it is tried again.
    pub(crate) fn next_start(&self) -> Option<Time> {
        match self {
            Self::Backoff(at) | Self::Leftover(_, Verdict::Backoff(at)) => Some(*at),
            _ => None,
        }
    }
}
