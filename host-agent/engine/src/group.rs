//! A daemon and its instances: what is desired, held and known of it, brought together after every input.
//!
//! Everything that changes only notes what is wanted; [`Group::review`] then does what follows, so there is one road
//! from intent to action, whatever the intent came from.

use std::collections::BTreeMap;
use std::sync::Arc;

use zhylon_shared::id::DaemonId;
use zhylon_shared::state::{DesiredState, RestartOutcome};

use crate::ctx::Ctx;
use crate::effect::Effect;
use crate::input::{Adopted, DesiredDaemon, Hold, Run, Slot};
use crate::instance::{Event, Instance, Order};
use crate::plan::{Change, Goal, plan};
use crate::timer::Timer;

use candidate::Candidate;

mod candidate;
mod command;
mod restart;
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
    /// When the restart under way counts as failed.
    restart_deadline: Option<crate::time::Time>,
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
            restart_deadline: None,
            instances: BTreeMap::new(),
        }
    }

    /// The ledger says how its newest restart ended.
    pub(crate) fn restore_settled(&mut self, restart_generation: i64, outcome: RestartOutcome) {
        self.settled = Some((restart_generation, outcome));
    }

    /// An instance was found alive. Runs come in the order of their generations; if there is an older one in the slot,
    /// two run where one should: the older goes at once.
    pub(crate) fn adopt(&mut self, ctx: &mut Ctx, found: &Adopted) {
        let spec = self
            .order
            .as_ref()
            .filter(|order| order.spec.instance_hash() == found.spec_hash);
        let (start, epoch) = spec.map_or((0, 0), |order| (order.spec.start_seconds(), order.epoch));
        let slot = found.run.slot;
        let adopted = Instance::adopt(ctx, found, start, epoch);
        let older = self.instances.insert(slot.index, adopted);
        if let Some(live) = older.and_then(|older| older.phase().live().copied()) {
            let run = Run {
                slot,
                generation: live.generation,
            };
            ctx.out.act(Effect::KillTree { run });
        }
    }

    /// Whether this is what is desired already, and nothing is to be tried again for it.
    pub(crate) fn is_settled_on(&self, new: &DesiredDaemon) -> bool {
        let retry = self.candidate.as_ref().is_some_and(Candidate::has_failed);
        !retry && self.desired.as_ref() == Some(new)
    }

    /// The newest desire. One with an older revision than the known one is ignored.
    pub(crate) fn desire(&mut self, ctx: &mut Ctx, new: DesiredDaemon) {
        let Some(old) = self.desired.take() else {
            ctx.out.changed(self.id);
            self.begin(new);
            return;
        };
        if new.revision < old.revision {
            self.desired = Some(old);
            return;
        }
        ctx.out.changed(self.id);
        let intended = new.intent_generation > old.intent_generation;
        if new.restart_generation > old.restart_generation {
            self.supersede_restart(ctx, old.restart_generation);
        }
        if intended {
            self.clear_operators();
            if self
                .hold
                .as_ref()
                .is_some_and(|h| h.intent_generation < new.intent_generation)
            {
                self.end_hold(ctx);
            }
        }
        if let Some(order) = &mut self.order {
            order.restart_generation = new.restart_generation;
        }
        let (spec, revision) = (Arc::clone(&new.spec), new.revision);
        self.desired = Some(new);
        self.assign_goals(ctx);
        self.propose(ctx, spec, revision);
        if intended {
            self.start_ended(ctx);
        }
    }

    /// It is no longer desired.
    pub(crate) fn delete(&mut self, ctx: &mut Ctx) {
        let Some(old) = self.desired.take() else {
            return;
        };
        self.supersede_restart(ctx, old.restart_generation);
        if self.hold.is_some() {
            self.end_hold(ctx);
        }
        self.candidate = None;
        self.clear_operators();
        ctx.out.changed(self.id);
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
        self.review_restart(ctx);
        let retry_at = self.candidate.as_ref().and_then(Candidate::retry_at);
        ctx.timers
            .set(Timer::Check(self.id), retry_at.filter(|_| !ctx.halted));
        ctx.timers
            .set(Timer::Restart(self.id), self.restart_deadline);
        self.desired.is_some() || !self.instances.is_empty()
    }

    /// Whether nothing of any run is left.
    pub(crate) fn is_idle(&self) -> bool {
        self.instances
            .values()
            .all(|instance| instance.phase().live().is_none())
    }

    /// What should be: the hold if there is one, else what is desired.
    fn effective(&self) -> DesiredState {
        match (&self.desired, &self.hold) {
            (None, _) => DesiredState::Stopped,
            (Some(_), Some(hold)) => hold.state,
            (Some(desired), None) => desired.state,
        }
    }

    /// How many instances there should be.
    fn processes(&self) -> u32 {
        match (&self.desired, &self.order) {
            (Some(_), Some(order)) => order.spec.processes(),
            _ => 0,
        }
    }

    /// The first desire of a daemon; also of one that was deleted and has not ended yet.
    fn begin(&mut self, new: DesiredDaemon) {
        self.order = Some(Order {
            spec: Arc::clone(&new.spec),
            epoch: self.order.as_ref().map_or(1, |old| old.epoch + 1),
            restart_generation: new.restart_generation,
        });
        self.settled = None;
        self.desired = Some(new);
    }

    /// A hold is in force, unless it says what is desired anyway or a newer intent has ended it already.
    pub(crate) fn set_hold(&mut self, ctx: &mut Ctx, hold: Hold) {
        let in_force = self.desired.as_ref().is_some_and(|desired| {
            hold.state != desired.state && hold.intent_generation >= desired.intent_generation
        });
        if in_force {
            self.hold = Some(hold);
        } else {
            self.end_hold(ctx);
        }
        ctx.out.changed(self.id);
    }

    fn end_hold(&mut self, ctx: &mut Ctx) {
        self.hold = None;
        ctx.out.persist(Effect::HoldEnded { daemon: self.id });
    }

    fn clear_operators(&mut self) {
        for instance in self.instances.values_mut() {
            instance.operator = None;
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
            let wanted = instance.operator.unwrap_or(effective) == DesiredState::Running;
            let goal = if wanted && *index < processes && !ctx.halted {
                Goal::Run
            } else {
                Goal::Stop
            };
            instance.set_goal(ctx, goal);
        }
    }

    /// A newer intent is a request to start: what gave up or waits is tried at once.
    fn start_ended(&mut self, ctx: &mut Ctx) {
        for instance in self.instances.values_mut() {
            if instance.goal() == Goal::Run {
                instance.handle(ctx, self.order.as_ref(), Event::Start);
            }
        }
    }

    fn carry_out_plan(&mut self, ctx: &mut Ctx) {
        let processes = self.processes();
        let oldest = self.oldest_wanted();
        let order = self.order.as_ref();
        let mut removed = Vec::new();
        for (index, instance) in &mut self.instances {
            let standing = instance.phase().standing();
            let outdated = oldest.is_some_and(|oldest| oldest.outdates(instance));
            match plan(instance.goal(), standing, outdated, *index >= processes) {
                Change::Keep => {}
                Change::Start => instance.handle(ctx, order, Event::Start),
                Change::Stop => instance.handle(ctx, order, Event::Stop),
                Change::Replace => instance.replace(ctx, order),
                Change::Remove => removed.push(*index),
            }
        }
        for index in removed {
            self.instances.remove(&index);
            ctx.out.changed(self.id);
        }
    }

    /// The oldest run that may stay; `None` while a candidate has not proved itself, since then everything may.
    fn oldest_wanted(&self) -> Option<Oldest> {
        let order = self.order.as_ref().filter(|_| self.candidate.is_none())?;
        let restart_generation = self.open_restart().unwrap_or(i64::MIN);
        Some(Oldest {
            epoch: order.epoch,
            restart_generation,
        })
    }
}

/// See [`Group::oldest_wanted`].
#[derive(Debug, Clone, Copy)]
struct Oldest {
    epoch: u64,
    restart_generation: i64,
}

impl Oldest {
    fn outdates(self, instance: &Instance) -> bool {
        instance.epoch != self.epoch || instance.restart_generation < self.restart_generation
    }
}
