//! What is wanted of a daemon: the api-server's desire, a local operator's hold, and which of them counts.
//!
//! Nothing here acts on a process but a request to start; the review does the rest.

use std::sync::Arc;

use zhylon_shared::state::DesiredState;

use crate::ctx::Ctx;
use crate::effect::Effect;
use crate::group::Group;
use crate::group::candidate::Candidate;
use crate::input::{Claim, DesiredDaemon, Hold};
use crate::instance::{Event, Order};
use crate::plan::Goal;

impl Group {
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
        let same_epoch = match new.claim {
            Claim::Adopted { .. } => return self.enter_epoch(ctx, old.revision, new),
            Claim::Unclaimed => {
                // Its counters stay those of the epoch it was last heard of in.
                self.desired = Some(new);
                return ctx.out.changed(self.id);
            }
            Claim::Written => old.claim != Claim::Unclaimed,
        };
        if same_epoch && new.revision < old.revision {
            self.desired = Some(old);
            return;
        }
        if !same_epoch {
            self.settled = None;
        }
        self.stopped = None;
        ctx.out.changed(self.id);
        let intended = new.intent_generation > old.intent_generation;
        if new.restart_generation > old.restart_generation {
            self.supersede_restart(ctx, old.restart_generation);
        }
        if intended {
            self.end_holds_before(ctx, new.intent_generation);
        }
        if let Some(order) = &mut self.order
            && order.restart_generation != new.restart_generation
        {
            order.restart_generation = new.restart_generation;
            order.restart_strategy = new.restart_strategy;
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
            self.end_holds(ctx);
        }
        self.candidate = None;
        self.clear_instance_holds();
        ctx.out.changed(self.id);
    }

    /// A hold is in force, unless it says what is desired anyway or a newer intent has ended it already.
    pub(crate) fn set_hold(&mut self, ctx: &mut Ctx, hold: Hold) {
        let in_force = self.desired.as_ref().is_some_and(|desired| {
            hold.state != desired.state && hold.intent_generation >= desired.intent_generation
        });
        if in_force {
            self.hold = Some(hold);
        } else {
            self.end_holds(ctx);
        }
        ctx.out.changed(self.id);
    }

    /// The same for one instance; there, a hold that says what counts for the daemon is none.
    pub(super) fn set_instance_hold(&mut self, ctx: &mut Ctx, index: u32, hold: Hold) {
        let wanted = self.effective();
        let in_force = hold.state != wanted && hold.intent_generation >= self.intent_generation();
        let instance = self.instances.get_mut(&index).filter(|_| in_force);
        match instance {
            Some(instance) => instance.hold = Some(hold),
            None => self.end_instance_hold(ctx, index),
        }
        ctx.out.changed(self.id);
    }

    /// Ends every hold, those of instances too.
    pub(super) fn end_holds(&mut self, ctx: &mut Ctx) {
        self.hold = None;
        self.clear_instance_holds();
        let (daemon, index) = (self.id, None);
        ctx.out.persist(Effect::HoldEnded { daemon, index });
    }

    /// A newer intent ends the holds that were set before it. One that knows of it already is newer.
    fn end_holds_before(&mut self, ctx: &mut Ctx, intent_generation: i64) {
        let older = |hold: &Option<Hold>| {
            hold.as_ref()
                .is_some_and(|hold| hold.intent_generation < intent_generation)
        };
        if older(&self.hold) {
            return self.end_holds(ctx);
        }
        let ended = self.instances.iter().filter(|(_, one)| older(&one.hold));
        for index in ended.map(|(index, _)| *index).collect::<Vec<_>>() {
            self.end_instance_hold(ctx, index);
        }
    }

    fn end_instance_hold(&mut self, ctx: &mut Ctx, index: u32) {
        if let Some(instance) = self.instances.get_mut(&index) {
            instance.hold = None;
        }
        let (daemon, index) = (self.id, Some(index));
        ctx.out.persist(Effect::HoldEnded { daemon, index });
    }

    /// What should be: the hold if there is one, else what is desired.
    pub(super) fn effective(&self) -> DesiredState {
        match (&self.desired, &self.hold) {
            (None, _) => DesiredState::Stopped,
            (Some(_), Some(hold)) => hold.state,
            (Some(desired), None) => desired.state,
        }
    }

    /// The ledger is told with the daemon's own hold.
    pub(super) fn clear_instance_holds(&mut self) {
        for instance in self.instances.values_mut() {
            instance.hold = None;
        }
    }

    /// The first desire of a daemon; also of one that was deleted and has not ended yet.
    fn begin(&mut self, new: DesiredDaemon) {
        self.order = Some(Order {
            spec: Arc::clone(&new.spec),
            restart_generation: new.restart_generation,
            restart_strategy: new.restart_strategy,
        });
        self.settled = None;
        self.stopped = None;
        self.desired = Some(new);
    }

    /// A newer intent is a request to start: what gave up or waits is tried at once.
    fn start_ended(&mut self, ctx: &mut Ctx) {
        for instance in self.instances.values_mut() {
            if instance.goal() == Goal::Run {
                instance.handle(ctx, self.order.as_ref(), Event::Start);
            }
        }
    }
}
