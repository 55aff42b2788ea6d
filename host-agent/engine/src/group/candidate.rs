//! A changed spec: user, directory and program must resolve before anything old is stopped for it.
//!
//! The old spec stays in force until then, as a whole: a respawn in the meantime uses it, and so does a new number of
//! instances that came together with what does not resolve.

use std::sync::Arc;

use zhylon_shared::spec::DaemonSpec;

use crate::ctx::Ctx;
use crate::effect::Effect;
use crate::group::Group;
use crate::input::StartError;
use crate::plan::{Goal, Standing};
use crate::policy::delay;
use crate::time::Time;

/// A spec that has not proved itself yet.
#[derive(Debug)]
pub(super) struct Candidate {
    spec: Arc<DaemonSpec>,
    revision: i64,
    /// Checks that failed.
    failures: u32,
    state: Check,
}

#[derive(Debug)]
enum Check {
    Asked,
    Failed { message: String, retry_at: Time },
}

impl Candidate {
    /// Why it does not resolve, if that is known.
    pub(super) fn failure(&self) -> Option<&str> {
        match &self.state {
            Check::Asked => None,
            Check::Failed { message, .. } => Some(message),
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure().is_some()
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        match self.state {
            Check::Asked => None,
            Check::Failed { retry_at, .. } => Some(retry_at),
        }
    }
}

impl Group {
    /// A spec is desired. It is in force at once if it makes the same process or nothing old can be lost by it, else
    /// once it is checked.
    pub(super) fn propose(&mut self, ctx: &mut Ctx, spec: Arc<DaemonSpec>, revision: i64) {
        let other_runs = self.has_other_runs();
        let Some(order) = &mut self.order else {
            return;
        };
        let same = Arc::ptr_eq(&order.spec, &spec) || order.spec.same_instance(&spec);
        if same {
            order.spec = Arc::clone(&spec);
        }
        if same && !other_runs {
            self.candidate = None;
            return;
        }
        let old = self.candidate.take();
        let failures = old.as_ref().map_or(0, |old| old.failures);
        let asked = old.is_some_and(|old| old.revision == revision && !old.has_failed());
        let state = Check::Asked;
        self.candidate = Some(Candidate {
            spec,
            revision,
            failures,
            state,
        });
        if !self.has_something_to_lose() {
            self.accept(ctx);
        } else if !asked {
            self.ask(ctx);
        }
    }

    /// Runs of another spec than the one in force were found alive: they too are kept until it is checked.
    pub(crate) fn keep_adopted(&mut self, ctx: &mut Ctx) {
        self.assign_goals(ctx);
        if let Some(desired) = self.desired.as_ref().filter(|_| !self.is_stopped()) {
            let (spec, revision) = (Arc::clone(&desired.spec), desired.revision);
            self.propose(ctx, spec, revision);
        }
    }

    /// The answer to a check; of an older revision, it is dropped.
    pub(crate) fn checked(&mut self, ctx: &mut Ctx, revision: i64, result: Result<(), StartError>) {
        let Some(candidate) = &mut self.candidate else {
            return;
        };
        if candidate.revision != revision || candidate.has_failed() {
            return;
        }
        match result {
            Ok(()) => self.accept(ctx),
            Err(error) => {
                let retry_at = ctx.now + ctx.jitter.spread(delay(candidate.failures));
                candidate.failures = candidate.failures.saturating_add(1);
                candidate.state = Check::Failed {
                    message: error.message,
                    retry_at,
                };
            }
        }
        ctx.out.changed(self.id);
    }

    /// A failed check is tried again.
    pub(crate) fn recheck(&mut self, ctx: &mut Ctx) {
        if let Some(candidate) = self.candidate.as_mut().filter(|_| !ctx.halted) {
            candidate.state = Check::Asked;
            self.ask(ctx);
        }
    }

    /// The candidate is in force; the next review replaces what it outdates.
    pub(super) fn accept(&mut self, ctx: &mut Ctx) {
        if let (Some(candidate), Some(order)) = (self.candidate.take(), &mut self.order) {
            order.spec = candidate.spec;
            // What is under way replaces anew, so it gets its time anew.
            self.step_deadline = None;
            ctx.out.changed(self.id);
        }
    }

    /// Whether an old run might be worse off under another spec: one that runs or will be tried again. What is being
    /// stopped is gone anyway, what gave up has nothing to lose.
    pub(super) fn has_something_to_lose(&self) -> bool {
        self.instances.values().any(|instance| {
            let standing = instance.phase().standing();
            instance.goal() == Goal::Run && matches!(standing, Standing::Live | Standing::Waiting)
        })
    }

    fn has_other_runs(&self) -> bool {
        self.instances.values().any(|instance| {
            instance.goal() == Goal::Run
                && instance.phase().standing() == Standing::Live
                && self
                    .order
                    .as_ref()
                    .is_some_and(|order| !instance.is_made_of(&order.spec))
        })
    }

    fn ask(&self, ctx: &mut Ctx) {
        if let Some(candidate) = &self.candidate {
            ctx.out.act(Effect::Check {
                daemon: self.id,
                revision: candidate.revision,
                spec: Arc::clone(&candidate.spec),
            });
            ctx.out.changed(self.id);
        }
    }
}
