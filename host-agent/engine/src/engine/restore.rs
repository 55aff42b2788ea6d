//! The first input: what the ledger, the run records and the notes of a former worker say, put together daemon by daemon.

use zhylon_shared::id::DaemonId;
use zhylon_shared::state::RestartOutcome;

use crate::Engine;
use crate::effect::Effect;
use crate::group::Group;
use crate::input::{Adopted, DesiredDaemon, Hold, Past};

/// A hold on a daemon or, with an index, on one of its instances.
type Held = (DaemonId, Option<u32>, Hold);

impl Engine {
    pub(super) fn restore_desired(
        &mut self,
        desired: Vec<DesiredDaemon>,
        settled: Vec<(DaemonId, i64, RestartOutcome)>,
        stopped: Vec<(DaemonId, i64, String)>,
    ) {
        for daemon in desired {
            let id = daemon.id;
            let group = self.groups.entry(id).or_insert_with(|| Group::unknown(id));
            group.desire(&mut self.ctx, daemon);
        }
        for (id, restart_generation, outcome) in settled {
            if let Some(group) = self.groups.get_mut(&id) {
                group.restore_settled(restart_generation, outcome);
            }
        }
        for (id, revision, why) in stopped {
            if let Some(group) = self.groups.get_mut(&id) {
                group.restore_stopped(revision, why);
            }
        }
    }

    /// Gives back those on instances: they are not there yet.
    pub(super) fn restore_holds(&mut self, holds: Vec<Held>) -> Vec<Held> {
        let (of_instances, of_daemons): (Vec<_>, Vec<_>) =
            holds.into_iter().partition(|(_, index, _)| index.is_some());
        for (daemon, index, hold) in of_daemons {
            match self.groups.get_mut(&daemon) {
                Some(group) => group.restore_hold(&mut self.ctx, hold),
                None => self.ctx.out.persist(Effect::HoldEnded { daemon, index }),
            }
        }
        of_instances
    }

    pub(super) fn restore_runs(&mut self, mut adopted: Vec<Adopted>, past: &[Past]) {
        let ctx = &mut self.ctx;
        adopted.sort_by_key(|found| found.run.generation);
        for found in &adopted {
            let id = found.run.slot.daemon;
            ctx.next_generation = ctx.next_generation.max(found.run.generation + 1);
            let group = self.groups.entry(id).or_insert_with(|| Group::unknown(id));
            group.adopt(ctx, found);
        }
        for past in past {
            if let Some(group) = self.groups.get_mut(&past.slot.daemon) {
                group.remember(ctx, past);
            }
        }
    }

    /// Now the instances are there, and what their daemons are held to is known.
    pub(super) fn restore_instance_holds(&mut self, holds: Vec<Held>) {
        for (daemon, index, hold) in holds {
            match (self.groups.get_mut(&daemon), index) {
                (Some(group), Some(index)) => {
                    group.restore_instance_hold(&mut self.ctx, index, hold);
                }
                _ => self.ctx.out.persist(Effect::HoldEnded { daemon, index }),
            }
        }
    }
}
