//! Restarts of the api-server: a generation that is reached and then settled once, never a queued message.

use std::time::Duration;

use zhylon_shared::state::{DesiredState, InstanceState, RestartOutcome};

use crate::ctx::Ctx;
use crate::effect::Effect;
use crate::group::Group;
use crate::instance::Instance;
use crate::plan::Goal;

/// How much longer than `start_seconds`, and than the grace of what is replaced, a restart may take.
const RESTART_MARGIN: Duration = Duration::from_secs(30);

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
    /// BACKOFF then failed after the restart.
    pub(super) fn review_restart(&mut self, ctx: &mut Ctx) {
        // While everything stops because the worker ends, a restart is neither reached nor refused: the ledger keeps it.
        let Some(restart_generation) = self.open_restart().filter(|_| !ctx.halted) else {
            self.restart_deadline = None;
            return;
        };
        if let Some(outcome) = self.outcome(ctx, restart_generation) {
            self.settle(ctx, restart_generation, outcome);
        } else if self.candidate.is_some() {
            self.restart_deadline = None;
        } else if self.restart_deadline.is_none() {
            self.restart_deadline = Some(ctx.now + self.longest_restart());
        }
    }

    fn outcome(&self, ctx: &Ctx, restart_generation: i64) -> Option<RestartOutcome> {
        let held = |instance: &Instance| {
            let hold = instance.hold.as_ref();
            hold.is_some_and(|hold| hold.state == DesiredState::Stopped)
        };
        if self.effective() == DesiredState::Stopped || self.instances.values().any(held) {
            return Some(RestartOutcome::Superseded);
        }
        let wanted = || {
            self.instances
                .values()
                .filter(|instance| instance.goal() == Goal::Run)
        };
        let reached = wanted().all(|instance| {
            instance.state() == InstanceState::Running
                && instance.restart_generation >= restart_generation
        });
        if reached {
            return Some(RestartOutcome::Succeeded);
        }
        let failed = match &self.candidate {
            Some(candidate) => candidate.has_failed(),
            None => {
                let late = self
                    .restart_deadline
                    .is_some_and(|deadline| deadline <= ctx.now);
                late || wanted().any(|instance| {
                    use InstanceState::{Backoff, Exited, Fatal};
                    matches!(instance.state(), Backoff | Exited | Fatal)
                })
            }
        };
        failed.then_some(RestartOutcome::Failed)
    }

    /// The longest a restart takes if all goes well, and the margin.
    fn longest_restart(&self) -> Duration {
        let runs = self
            .instances
            .values()
            .filter_map(|instance| instance.phase().live());
        let grace = runs.map(|live| live.grace).max().unwrap_or_default();
        let start = self
            .order
            .as_ref()
            .map_or(0, |order| order.spec.start_seconds());
        grace + Duration::from_secs(start.into()) + RESTART_MARGIN
    }

    fn settle(&mut self, ctx: &mut Ctx, restart_generation: i64, outcome: RestartOutcome) {
        self.settled = Some((restart_generation, outcome));
        self.restart_deadline = None;
        ctx.out.persist(Effect::Settled {
            daemon: self.id,
            restart_generation,
            outcome,
        });
        ctx.out.changed(self.id);
    }
}
