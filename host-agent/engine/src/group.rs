//! A daemon and its instances: what is desired, held and known of it, brought together after every input.
//!
//! Everything that changes only notes what is wanted; [`Group::review`] then does what follows, so there is one road
//! from intent to action, whatever the intent came from.

use std::collections::BTreeMap;

use zhylon_shared::id::DaemonId;
use zhylon_shared::state::{DesiredState, RestartOutcome};

use crate::ctx::Ctx;
use crate::effect::Effect;
use crate::input::{DesiredDaemon, Hold, Run, Slot};
use crate::instance::{Event, Instance, Order};
use crate::plan::{Change, Goal, plan};
use crate::time::Time;
use crate::timer::Timer;

use candidate::Candidate;

mod candidate;
mod command;
mod epoch;
mod intent;
mod restart;
mod restore;
mod rollout;
mod view;

pub(crate) use command::Address;

/// One daemon.
#[derive(Debug)]
pub(crate) struct Group {
    id: DaemonId,
    /// `None` once it is deleted, or if it was never known.
    desired: Option<DesiredDaemon>,
    /// What spawns are made of; `None` if it was never known.
    order: Option<Order>,
    /// A spec that must prove itself before anything old is stopped for it.
    candidate: Option<Candidate>,
    hold: Option<Hold>,
    settled: Option<(i64, RestartOutcome)>,
    /// The rollout of this revision stopped, for this reason: what it has not reached stays as it is.
    stopped: Option<(i64, String)>,
    /// When the restart, or the step of a rollout, that is under way counts as failed.
    step_deadline: Option<Time>,
    instances: BTreeMap<u32, Instance>,
}

impl Group {
    /// A daemon of which nothing is known.
    pub(crate) fn unknown(id: DaemonId) -> Self {
        Self {
            id,
            desired: None,
            order: None,
            candidate: None,
            hold: None,
            settled: None,
            stopped: None,
            step_deadline: None,
            instances: BTreeMap::new(),
        }
    }

    /// Something happened to a run; dropped if it is not the slot's newest.
    pub(crate) fn event(&mut self, ctx: &mut Ctx, run: Run, event: Event) {
        let Some(instance) = self.instances.get_mut(&run.slot.index) else {
            return;
        };
        if instance
            .phase()
            .live()
            .is_some_and(|live| live.generation == run.generation)
        {
            instance.handle(ctx, self.order.as_ref(), event);
        }
    }

    /// A deadline of one of its instances has come.
    pub(crate) fn deadline(&mut self, ctx: &mut Ctx, index: u32) {
        if let Some(instance) = self.instances.get_mut(&index) {
            instance.handle(ctx, self.order.as_ref(), Event::Deadline);
        }
    }

    /// Brings about what is wanted, as far as it can be now. False when nothing is left of a daemon nobody wants.
    pub(crate) fn review(&mut self, ctx: &mut Ctx) -> bool {
        self.assign_goals(ctx);
        if self.candidate.is_some() && !self.has_something_to_lose() {
            self.accept(ctx);
            self.assign_goals(ctx);
        }
        self.carry_out_plan(ctx);
        if self.review_rollout(ctx) {
            // A step is done, or the rollout is over: the plan is another one.
            self.carry_out_plan(ctx);
            self.review_rollout(ctx);
        }
        let retry_at = self.candidate.as_ref().and_then(Candidate::retry_at);
        ctx.timers
            .set(Timer::Check(self.id), retry_at.filter(|_| !ctx.halted));
        ctx.timers.set(Timer::Step(self.id), self.step_deadline);
        self.desired.is_some() || !self.instances.is_empty()
    }

    /// Whether nothing of any run is left.
    pub(crate) fn is_idle(&self) -> bool {
        self.instances
            .values()
            .all(|instance| instance.phase().live().is_none())
    }

    /// How many instances there should be.
    fn processes(&self) -> u32 {
        match (&self.desired, &self.order) {
            (Some(_), Some(order)) => order.spec.processes(),
            _ => 0,
        }
    }

    /// Every slot there should be exists, and every slot knows what is wanted of it.
    fn assign_goals(&mut self, ctx: &mut Ctx) {
        let (processes, effective) = (self.processes(), self.effective());
        for index in 0..processes {
            let slot = Slot {
                daemon: self.id,
                index,
            };
            self.instances
                .entry(index)
                .or_insert_with(|| Instance::new(ctx, slot));
        }
        for (index, instance) in &mut self.instances {
            let wanted = instance.hold.as_ref().map_or(effective, |hold| hold.state)
                == DesiredState::Running;
            let goal = if wanted && *index < processes && !ctx.halted {
                Goal::Run
            } else {
                Goal::Stop
            };
            instance.set_goal(ctx, goal);
        }
    }

    fn carry_out_plan(&mut self, ctx: &mut Ctx) {
        let processes = self.processes();
        let due = self.due();
        if !due.is_empty() {
            // A step begins, with a time of its own.
            self.step_deadline = None;
        }
        let order = self.order.as_ref();
        let mut removed = Vec::new();
        for (index, instance) in &mut self.instances {
            let outdated = due.contains(index);
            let surplus = *index >= processes;
            let plan = |instance: &Instance| {
                plan(
                    instance.goal(),
                    instance.phase().standing(),
                    outdated,
                    surplus,
                )
            };
            match plan(instance) {
                Change::Keep | Change::Remove => {}
                Change::Start => instance.handle(ctx, order, Event::Start),
                Change::Stop => instance.handle(ctx, order, Event::Stop),
                Change::Replace => instance.replace(ctx, order),
            }
            // Also what had no process to stop, and so is stopped already.
            if plan(instance) == Change::Remove {
                removed.push(*index);
            }
        }
        for index in removed {
            let removed = self.instances.remove(&index);
            if removed.is_some_and(|instance| instance.hold.is_some()) {
                ctx.out.persist(Effect::HoldEnded {
                    daemon: self.id,
                    index: Some(index),
                });
            }
            ctx.out.changed(self.id);
        }
    }
}
