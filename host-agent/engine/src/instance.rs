//! One instance of a daemon: one `match` over where it is and what happened ([`step`]), one door through which that
//! changes ([`Instance::set`]).
//!
//! It knows nothing of its daemon but its orders (what a spawn is made of) and its goal. It never starts a run while
//! anything of an older one is left.

use std::sync::Arc;

use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::{InstanceState, RestartStrategy};

use crate::ctx::Ctx;
use crate::effect::CommandOutcome;
use crate::input::{Adopted, Exit, Hold, Slot, StartError};
use crate::phase::{Live, Phase};
use crate::plan::Goal;
use crate::policy::Record;
use crate::ticket::{Awaited, Waiter};
use crate::time::Time;
use crate::timer::Timer;
use crate::view::{InstanceView, LastExit};

mod act;
mod past;
mod step;
mod waiting;

/// What a spawn is made of.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) spec: Arc<DaemonSpec>,
    pub(crate) restart_generation: i64,
    /// How that restart replaces; whatever is said of it later.
    pub(crate) restart_strategy: RestartStrategy,
}

/// What can happen to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A request: what does not run is tried at once.
    Start,
    /// A request: nothing of it shall be left.
    Stop,
    /// A request: a new run takes the place of whatever is there.
    Replace,
    Spawned {
        pid: i32,
    },
    SpawnFailed(StartError),
    Exited {
        exit: Exit,
        tree_gone: bool,
    },
    TreeGone,
    Deadline,
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Instance {
    slot: Slot,
    goal: Goal,
    /// A local operator's hold on this instance alone; it says something else than what counts for the daemon.
    pub(crate) hold: Option<Hold>,
    phase: Phase,
    since: Time,
    started: Option<Time>,
    /// Newest spawn; 0 if there was none.
    generation: u64,
    /// What its newest spawn was made of; `None` if that is not known. A respawn is made of the same: only a request or
    /// its turn in a rollout brings another spec.
    spec: Option<Arc<DaemonSpec>>,
    /// Its newest run has been RUNNING.
    ran: bool,
    /// What its newest spawn was made for.
    pub(crate) restart_generation: i64,
    record: Record,
    restart_count: u64,
    last_exit: Option<LastExit>,
    /// What a command is told if the newest run failed.
    fault: CommandOutcome,
    waiters: Vec<Waiter>,
}

impl Instance {
    /// One that never ran.
    pub(crate) fn new(ctx: &mut Ctx, slot: Slot) -> Self {
        ctx.out.changed(slot.daemon);
        Self {
            slot,
            goal: Goal::Stop,
            hold: None,
            phase: Phase::Stopped,
            since: ctx.now,
            started: None,
            generation: 0,
            spec: None,
            ran: false,
            restart_generation: 0,
            record: Record::default(),
            restart_count: 0,
            last_exit: None,
            fault: CommandOutcome::SpawnError,
            waiters: Vec::new(),
        }
    }

    /// One that was found alive; `spec` is what it was made of, if that is known.
    pub(crate) fn adopt(ctx: &mut Ctx, found: &Adopted, spec: Option<Arc<DaemonSpec>>) -> Self {
        let start_seconds = spec.as_ref().map_or(0, |spec| spec.start_seconds());
        let live = Live::adopted(found, start_seconds, ctx.now);
        let mut adopted = Self {
            goal: Goal::Run,
            generation: found.run.generation,
            spec,
            restart_generation: found.restart_generation,
            ..Self::new(ctx, found.run.slot)
        };
        if live.running_at > ctx.now {
            adopted.set(ctx, Phase::Starting(live));
            adopted.since = live.started;
        } else {
            adopted.set(ctx, Phase::Running(live));
            adopted.since = live.running_at;
        }
        adopted
    }

    /// Whether its newest spawn was made of this spec, as far as a process can tell.
    pub(crate) fn is_made_of(&self, spec: &Arc<DaemonSpec>) -> bool {
        let made_of = self.spec.as_ref();
        made_of.is_some_and(|made_of| Arc::ptr_eq(made_of, spec) || made_of.same_instance(spec))
    }

    /// Whether its newest run has been RUNNING.
    pub(crate) fn has_run(&self) -> bool {
        self.ran
    }

    pub(crate) fn goal(&self) -> Goal {
        self.goal
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(crate) fn state(&self) -> InstanceState {
        self.phase.state()
    }

    pub(crate) fn last_exit(&self) -> Option<&LastExit> {
        self.last_exit.as_ref()
    }

    /// What people see of it.
    pub(crate) fn view(&self) -> InstanceView {
        InstanceView {
            index: self.slot.index,
            generation: self.generation,
            pid: self.phase.live().map_or(0, |live| live.pid),
            state: self.state(),
            since: self.since,
            started: self.started,
            restart_count: self.restart_count,
            last_exit: self.last_exit.clone(),
            next_start: self.phase.next_start(),
            hold: self.hold.clone(),
        }
    }

    /// The one door: every change of phase goes through here, is timed, announced, and told to those who wait.
    fn set(&mut self, ctx: &mut Ctx, phase: Phase) {
        if self.phase.state() != phase.state() {
            self.since = ctx.now;
        }
        self.started = phase.live().map(|live| live.started).or(self.started);
        self.ran |= matches!(phase, Phase::Running(_));
        self.phase = phase;
        let timer = Timer::Instance(self.slot);
        ctx.timers.set(timer, phase.deadline());
        ctx.out.changed(self.slot.daemon);
        match phase.state() {
            InstanceState::Running => self.answer(ctx, Awaited::Started, CommandOutcome::Done),
            InstanceState::Backoff | InstanceState::Exited | InstanceState::Fatal => {
                self.answer(ctx, Awaited::Started, self.fault);
            }
            InstanceState::Stopped => self.answer(ctx, Awaited::Stopped, CommandOutcome::Done),
            InstanceState::Starting | InstanceState::Stopping | InstanceState::Unknown => {}
        }
    }
}

#[cfg(test)]
mod tests;
