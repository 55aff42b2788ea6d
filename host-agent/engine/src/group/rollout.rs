//! Replacing what is outdated: all at once, or one instance after the other and no further than the first that fails.
//!
//! Where a rollout is follows from the instances alone: those that are up to date must run before the next one is
//! replaced. So an agent that was restarted goes on where its forerunner was. Only that a rollout *stopped* is
//! remembered.

use std::collections::BTreeSet;
use std::time::Duration;

use zhylon_shared::state::{InstanceState, RestartOutcome, RestartStrategy};

use crate::ctx::Ctx;
use crate::effect::Effect;
use crate::group::Group;
use crate::instance::{Instance, Order};
use crate::plan::{Goal, Standing};

/// How much longer than `start_seconds`, and than the grace of what is replaced, a restart or a step may take.
const STEP_MARGIN: Duration = Duration::from_secs(30);

impl Group {
    /// The instances that are to be replaced now.
    pub(super) fn due(&self) -> BTreeSet<u32> {
        use InstanceState::{Backoff, Exited, Fatal, Stopped};
        let mut due: BTreeSet<u32> = BTreeSet::new();
        let mut next = None;
        for (index, instance) in self.wanted() {
            let ending = instance.phase().standing() == Standing::Ending;
            if ending || !self.is_outdated(instance) {
                continue;
            }
            // What does not run has nothing to lose.
            let down = matches!(instance.state(), Backoff | Exited | Fatal | Stopped);
            if !self.is_rolling() || down && !self.is_stopped() {
                due.insert(index);
            } else if !down {
                next = next.or(Some(index));
            }
        }
        if due.is_empty() && !self.is_stopped() && self.unfinished().is_none() {
            due.extend(next);
        }
        due
    }

    /// Ends what failed, and gives what is under way its time. True if the plan is another one now.
    pub(super) fn review_rollout(&mut self, ctx: &mut Ctx) -> bool {
        let settled = self.review_restart(ctx);
        if self.candidate.is_some() || ctx.halted {
            self.step_deadline = None;
            return settled;
        }
        let of_spec = self.open_restart().is_none();
        let under_way = !of_spec || self.has_outdated() && !self.is_stopped();
        if under_way && of_spec && self.has_failed(ctx) {
            self.stop_rollout(ctx);
            return true;
        }
        if !under_way || self.unfinished().is_none() {
            self.step_deadline = None;
        } else if self.step_deadline.is_none() {
            self.step_deadline = Some(ctx.now + self.longest_step());
        }
        settled
    }

    /// What a rollout has not reached keeps its process until the daemon is written again.
    pub(super) fn stop_rollout(&mut self, ctx: &mut Ctx) {
        let Some(revision) = self.desired.as_ref().map(|desired| desired.revision) else {
            return;
        };
        let why = self.describe_stop();
        self.step_deadline = None;
        self.stopped = Some((revision, why.clone()));
        ctx.out.persist(Effect::RolloutStopped {
            daemon: self.id,
            revision,
            why,
        });
        ctx.out.changed(self.id);
    }

    /// Whether what is under way failed: an instance that is up to date does not start, or takes too long.
    pub(super) fn has_failed(&self, ctx: &Ctx) -> bool {
        let late = self
            .step_deadline
            .is_some_and(|deadline| deadline <= ctx.now);
        late || self.first_failed().is_some()
    }

    /// Whether instances go one after the other. A single one does either way.
    pub(super) fn is_rolling(&self) -> bool {
        let order = self.order.as_ref();
        let rolling = |order: &Order| order.restart_strategy == RestartStrategy::Rolling;
        self.open_restart().is_none() || order.is_some_and(rolling)
    }

    /// The rollout of what is desired stopped.
    pub(super) fn is_stopped(&self) -> bool {
        let revision = self.desired.as_ref().map(|desired| desired.revision);
        matches!(&self.stopped, Some((stopped, _)) if Some(*stopped) == revision)
    }

    /// Whether its newest run is not the one wanted. While a candidate has not proved itself, every run may stay.
    pub(super) fn is_outdated(&self, instance: &Instance) -> bool {
        let Some(order) = self.order.as_ref().filter(|_| self.candidate.is_none()) else {
            return false;
        };
        // A generation above the one wanted is another epoch's.
        let restart = self.open_restart();
        let restart = restart.is_some_and(|wanted| instance.restart_generation != wanted);
        restart || !instance.is_made_of(&order.spec)
    }

    /// Whether anything that should run is outdated.
    pub(super) fn has_outdated(&self) -> bool {
        let mut wanted = self.wanted();
        wanted.any(|(_, instance)| self.is_outdated(instance))
    }

    /// The instances that should run.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (u32, &Instance)> {
        let instances = self.instances.iter();
        let wanted = instances.filter(|(_, instance)| instance.goal() == Goal::Run);
        wanted.map(|(index, instance)| (*index, instance))
    }

    /// One that is being replaced, or is up to date and does not run yet. One that ran and then ended for good by its
    /// policy did its part.
    pub(super) fn unfinished(&self) -> Option<u32> {
        let mut wanted = self.wanted();
        let found = wanted.find(|(_, instance)| {
            let ended_well = instance.state() == InstanceState::Exited && instance.has_run();
            let arrived = instance.state() == InstanceState::Running || ended_well;
            let ending = instance.phase().standing() == Standing::Ending;
            ending || !self.is_outdated(instance) && !arrived
        });
        found.map(|(index, _)| index)
    }

    /// One that is up to date and failed.
    fn first_failed(&self) -> Option<(u32, &Instance)> {
        let mut wanted = self.wanted();
        wanted.find(|(_, instance)| {
            let failed = match instance.state() {
                InstanceState::Backoff | InstanceState::Fatal => true,
                InstanceState::Exited => !instance.has_run(),
                _ => false,
            };
            failed && !self.is_outdated(instance)
        })
    }

    /// Where it stopped, and why.
    fn describe_stop(&self) -> String {
        let (index, why) = match self.first_failed() {
            Some((index, failed)) => (
                Some(index),
                failed.last_exit().map(|last| last.message.as_str()),
            ),
            None => (self.unfinished(), Some("it did not run in time")),
        };
        let at = index.map_or_else(String::new, |index| format!(" at instance {index}"));
        format!("rollout stopped{at}: {}", why.unwrap_or("it does not run"))
    }

    /// What a stopped rollout did not reach, in words; `None` if there is nothing of that left.
    pub(super) fn left_behind(&self) -> Option<String> {
        let (_, why) = self.stopped.as_ref().filter(|_| self.is_stopped())?;
        let order = self.order.as_ref()?;
        let aborted = matches!(self.settled, Some((of, RestartOutcome::Aborted)) if of == order.restart_generation);
        let list = |left: &dyn Fn(&Instance) -> bool| {
            let left = self.wanted().filter(|(_, instance)| left(instance));
            let left: Vec<String> = left.map(|(index, _)| index.to_string()).collect();
            let plural = if left.len() == 1 {
                "instance"
            } else {
                "instances"
            };
            (!left.is_empty()).then(|| format!("{plural} {}", left.join(", ")))
        };
        let old = list(&|instance| !instance.is_made_of(&order.spec));
        let old = old.map(|of| format!("{why}; still of the old spec: {of}"));
        old.or_else(|| {
            let before = list(&|i| aborted && i.restart_generation != order.restart_generation);
            before.map(|of| format!("{why}; not restarted: {of}"))
        })
    }

    /// The longest a step takes if all goes well, and the margin.
    fn longest_step(&self) -> Duration {
        let ending = self.instances.values().map(Instance::phase);
        let ending = ending.filter(|phase| phase.standing() == Standing::Ending);
        let grace = ending
            .filter_map(|phase| phase.live())
            .map(|live| live.grace);
        let start = self.order.as_ref();
        let start = start.map_or(0, |order| order.spec.start_seconds());
        grace.max().unwrap_or_default() + Duration::from_secs(start.into()) + STEP_MARGIN
    }
}
