//! Restarts of the api-server: a generation that is reached and then settled once, never a queued message.

use zhylon_shared::state::{DesiredState, InstanceState, RestartOutcome};

use crate::ctx::Ctx;
use crate::effect::Effect;
use crate::group::Group;
use crate::instance::Instance;

impl Group {
    /// The restart that is not settled yet.
    pub(super) fn open_restart(&self) -> Option<i64> {
        let wanted = self.desired.as_ref()?.restart_generation;
        (wanted > self.settled_generation()).then_some(wanted)
    }

    /// The newest settled one; 0 if there was none.
    pub(super) fn settled_generation(&self) -> i64 {
        self.settled.map_or(0, |(generation, _)| generation)
    }

    /// Something newer takes its place.
    pub(super) fn supersede_restart(&mut self, ctx: &mut Ctx, restart_generation: i64) {
        if restart_generation > self.settled_generation() {
            self.settle(ctx, restart_generation, RestartOutcome::Superseded);
        }
    }

    /// Settles the restart under way if its outcome is known. Comes after the plan was carried out: what is still in
    /// BACKOFF then failed after the restart. True if it was settled.
    pub(super) fn review_restart(&mut self, ctx: &mut Ctx) -> bool {
        // While everything stops because the worker ends, a restart is neither reached nor refused: the ledger keeps it.
        let Some(restart_generation) = self.open_restart().filter(|_| !ctx.halted) else {
            return false;
        };
        let Some(outcome) = self.outcome(ctx) else {
            return false;
        };
        // Before the outcome is known: afterwards nothing of it is outdated.
        if outcome == RestartOutcome::Aborted && self.candidate.is_none() && self.has_outdated() {
            self.stop_rollout(ctx);
        }
        self.settle(ctx, restart_generation, outcome);
        true
    }

    fn outcome(&self, ctx: &Ctx) -> Option<RestartOutcome> {
        let held = |instance: &Instance| {
            let hold = instance.hold.as_ref();
            hold.is_some_and(|hold| hold.state == DesiredState::Stopped)
        };
        if self.effective() == DesiredState::Stopped || self.instances.values().any(held) {
            return Some(RestartOutcome::Superseded);
        }
        let rolling = self.is_rolling();
        let failed = match &self.candidate {
            Some(candidate) => candidate.has_failed(),
            None if self.is_reached(rolling) => return Some(RestartOutcome::Succeeded),
            None if rolling => self.has_failed(ctx),
            None => {
                use InstanceState::{Backoff, Exited, Fatal};
                let ended = |i: &Instance| matches!(i.state(), Backoff | Exited | Fatal);
                self.has_failed(ctx) || self.wanted().any(|(_, instance)| ended(instance))
            }
        };
        failed.then_some(match rolling {
            true => RestartOutcome::Aborted,
            false => RestartOutcome::Failed,
        })
    }

    /// All at once, all must run at the same moment. One after the other, each must have run.
    fn is_reached(&self, rolling: bool) -> bool {
        !self.has_outdated()
            && match rolling {
                true => self.unfinished().is_none(),
                false => {
                    let mut wanted = self.wanted();
                    wanted.all(|(_, instance)| instance.state() == InstanceState::Running)
                }
            }
    }

    fn settle(&mut self, ctx: &mut Ctx, restart_generation: i64, outcome: RestartOutcome) {
        self.settled = Some((restart_generation, outcome));
        self.step_deadline = None;
        ctx.out.persist(Effect::Settled {
            daemon: self.id,
            restart_generation,
            outcome,
        });
        ctx.out.changed(self.id);
    }
}
