//! A new config epoch: an older database was restored, so all counters begin anew. Nothing that runs is touched for it.

use std::sync::Arc;

use zhylon_shared::state::RestartOutcome;

use crate::ctx::Ctx;
use crate::effect::Effect;
use crate::group::Group;
use crate::input::{Claim, DesiredDaemon, Hold};

impl Group {
    /// The first configuration of a new epoch, about a daemon that is here already: its counters are compared with none
    /// of before.
    pub(super) fn enter_epoch(&mut self, ctx: &mut Ctx, old_revision: i64, new: DesiredDaemon) {
        self.step_deadline = None;
        if let Some(order) = &mut self.order {
            order.restart_generation = new.restart_generation;
        }
        let (spec, revision) = (Arc::clone(&new.spec), new.revision);
        let stopped = self
            .stopped
            .take_if(|(stopped, _)| *stopped == old_revision);
        self.stopped = stopped.map(|(_, why)| (revision, why));
        self.desired = Some(new);
        self.adopt_counters(ctx);
        match &self.stopped {
            Some((revision, why)) => ctx.out.persist(Effect::RolloutStopped {
                daemon: self.id,
                revision: *revision,
                why: why.clone(),
            }),
            // It is what is in force; what is being checked goes on being checked.
            None => {
                self.assign_goals(ctx);
                self.propose(ctx, spec, revision);
            }
        }
        ctx.out.changed(self.id);
    }

    /// Takes over the counters of an epoch's first configuration: its restart is not run again, holds override its
    /// intent. Also what the ledger of an interrupted worker did not get to say.
    pub(crate) fn adopt_counters(&mut self, ctx: &mut Ctx) {
        let Some(desired) = self.desired.as_ref() else {
            return;
        };
        if !matches!(desired.claim, Claim::Adopted { .. }) {
            return;
        }
        let (intent, restart) = (desired.intent_generation, desired.restart_generation);
        if self.settled_generation() != restart {
            self.restore_settled(restart, RestartOutcome::Superseded);
            ctx.out.persist(Effect::Settled {
                daemon: self.id,
                restart_generation: restart,
                outcome: RestartOutcome::Superseded,
            });
        }
        let instances = self.instances.values_mut();
        let own = instances.filter_map(|instance| instance.hold.as_mut());
        let mut rebased = false;
        for hold in self.hold.iter_mut().chain(own) {
            rebased |= hold.intent_generation != intent;
            hold.intent_generation = intent;
        }
        if rebased {
            self.tell_rebased(ctx, intent);
        }
    }

    /// A hold from the ledger, which may be of the epoch before.
    pub(super) fn rebased(&self, ctx: &mut Ctx, hold: Hold) -> Hold {
        let desired = self.desired.as_ref();
        let adopted = desired.filter(|desired| matches!(desired.claim, Claim::Adopted { .. }));
        match adopted.map(|desired| desired.intent_generation) {
            Some(intent) if intent != hold.intent_generation => {
                self.tell_rebased(ctx, intent);
                Hold {
                    intent_generation: intent,
                    ..hold
                }
            }
            _ => hold,
        }
    }

    fn tell_rebased(&self, ctx: &mut Ctx, intent_generation: i64) {
        ctx.out.persist(Effect::HoldsRebased {
            daemon: self.id,
            intent_generation,
        });
    }
}
