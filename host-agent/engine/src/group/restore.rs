//! The first input of a worker's life: what the ledger, the run records and the notes of a former worker say.

use std::sync::Arc;

use zhylon_shared::state::RestartOutcome;

use crate::ctx::Ctx;
use crate::effect::Effect;
use crate::group::Group;
use crate::input::{Adopted, Hold, Past, Rest, Run};
use crate::instance::Instance;

impl Group {
    /// The ledger says how its newest restart ended.
    pub(crate) fn restore_settled(&mut self, restart_generation: i64, outcome: RestartOutcome) {
        // 0 only takes the place of an older epoch's.
        self.settled = Some((restart_generation, outcome)).filter(|_| restart_generation > 0);
    }

    /// The ledger says that a rollout stopped.
    pub(crate) fn restore_stopped(&mut self, revision: i64, why: String) {
        self.stopped = Some((revision, why));
    }

    /// An instance was found alive. Runs come in the order of their generations; if there is an older one in the slot,
    /// two run where one should: the older goes at once.
    pub(crate) fn adopt(&mut self, ctx: &mut Ctx, found: &Adopted) {
        let slot = found.run.slot;
        let adopted = Instance::adopt(ctx, found, self.spec_by_hash(&found.spec_hash));
        let older = self.instances.insert(slot.index, adopted);
        if let Some(live) = older.and_then(|older| older.phase().live().copied()) {
            let run = Run {
                slot,
                generation: live.generation,
            };
            ctx.out.act(Effect::KillTree { run });
        }
    }

    /// What a former worker noted of a slot. A run that was found is newer than the notes, unless they tell of its end.
    pub(crate) fn remember(&mut self, ctx: &mut Ctx, past: &Past) {
        let index = past.slot.index;
        let live = self.instances.get(&index).and_then(|i| i.phase().live());
        let newer = live.is_some_and(|live| live.generation > past.generation);
        if live.is_none() && index >= self.processes() {
            return;
        }
        let rest = past
            .rest
            .as_ref()
            .filter(|rest| !newer && self.still_rests(rest));
        let spec = rest.and_then(|rest| self.spec_by_hash(&rest.spec_hash));
        let instance = self
            .instances
            .entry(index)
            .or_insert_with(|| Instance::new(ctx, past.slot));
        instance.remember(past);
        if let Some(rest) = rest {
            instance.rest(ctx, rest, spec);
        }
    }

    /// The ledger says that it is held.
    pub(crate) fn restore_hold(&mut self, ctx: &mut Ctx, hold: Hold) {
        let hold = self.rebased(ctx, hold);
        self.set_hold(ctx, hold);
    }

    /// The ledger says that one of its instances is held.
    pub(crate) fn restore_instance_hold(&mut self, ctx: &mut Ctx, index: u32, hold: Hold) {
        let hold = self.rebased(ctx, hold);
        self.assign_goals(ctx);
        self.set_instance_hold(ctx, index, hold);
    }

    /// A newer intent is a request to start.
    fn still_rests(&self, rest: &Rest) -> bool {
        let desired = self.desired.as_ref();
        desired.is_some_and(|desired| desired.intent_generation == rest.intent_generation)
    }

    fn spec_by_hash(&self, hash: &str) -> Option<Arc<zhylon_shared::spec::DaemonSpec>> {
        let spec = self.order.as_ref().map(|order| &order.spec);
        spec.filter(|spec| spec.instance_hash() == hash)
            .map(Arc::clone)
    }
}
