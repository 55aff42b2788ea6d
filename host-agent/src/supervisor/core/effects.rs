//! What the engine says, done; what changed, published.

use std::sync::Arc;

use host_agent_engine::effect::Effect;
use host_agent_sys::fail_point::fail_point;
use rustix::process::Signal;
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::{DaemonSpec, SpecDraft};

use super::{Core, Stage};
use crate::spawn::StartOrder;
use crate::supervisor::{DaemonEntry, clock};

impl Core {
    /// Tells the engine what happened, does what it says, until it has nothing more to say; then ends are
    /// recorded and what changed is published.
    pub(super) fn settle(&mut self) {
        while self.restore.is_none()
            && let Some(input) = self.inputs.pop_front()
        {
            self.engine.handle(clock::now(), input);
            while let Some(effect) = self.engine.poll_effect() {
                self.carry_out(effect);
            }
        }
        self.finish_ends();
        self.publish();
        for (pid, run) in std::mem::take(&mut self.over) {
            self.ended.over(pid, run);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn {
                run,
                spec,
                restart_generation,
            } => {
                fail_point(self.ground.records.dir(), "spawn-decided");
                let order = StartOrder {
                    run,
                    spec,
                    restart_generation,
                };
                if let Err(order) = self.spawners.submit(order) {
                    self.backlog.push_back(order);
                }
            }
            Effect::Signal { run, signal } => {
                if let (Some(live), Some(signal)) = (self.runs.get_mut(&run), known(signal)) {
                    live.tree.remember();
                    live.signal(signal);
                }
            }
            Effect::SignalTree { run, signal } => {
                if let (Some(live), Some(signal)) = (self.runs.get_mut(&run), known(signal)) {
                    live.tree.signal(signal);
                }
            }
            Effect::KillTree { run } => {
                let view = self.engine.view(&run.slot.daemon);
                self.events.killed(run, view.as_ref());
                self.kill_tree(run);
            }
            Effect::Check {
                daemon,
                revision,
                spec,
            } => self.queries.check(daemon, revision, spec),
            Effect::HoldsRebased {
                daemon,
                intent_generation,
            } => self.journal.holds_rebased(daemon, intent_generation),
            Effect::RolloutStopped {
                daemon,
                revision,
                why,
            } => self.journal.rollout_stopped(daemon, revision, why),
            Effect::HoldEnded { daemon, index } => self.journal.hold_ended(daemon, index),
            Effect::Settled {
                daemon,
                restart_generation,
                outcome,
            } => self.journal.settled(daemon, restart_generation, outcome),
            Effect::Changed { daemon } => {
                self.changed.insert(daemon);
            }
            Effect::Gone { daemon } => self.on_gone(daemon),
            Effect::Reply { ticket, outcomes } => {
                if let Some(answer) = self.tickets.remove(&ticket) {
                    // Whoever asked may have gone.
                    let _ = answer.send(outcomes);
                }
            }
            Effect::Terminated => {
                if self.stage == Stage::Stopping {
                    tracing::info!("every daemon is stopped");
                }
            }
        }
    }

    fn on_gone(&mut self, daemon: DaemonId) {
        self.changed.remove(&daemon);
        self.usages.forget(&daemon);
        self.events.over_for(daemon);
        self.journal.forget(daemon);
        self.ended.note(daemon, Vec::new());
        let Some(entry) = self.board.daemon(&daemon) else {
            return;
        };
        let mut entry = DaemonEntry::clone(&entry);
        entry.view.state = zhylon_shared::state::aggregate([]);
        entry.view.instances.clear();
        entry.usage.clear();
        entry.view.hold = None;
        entry.view.converged = true;
        entry.gone = true;
        self.board.publish(vec![entry]);
    }

    fn publish(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        let entries = changed.iter().filter_map(|id| {
            let view = self.engine.view(id)?;
            self.ended.note(*id, self.engine.past(id));
            let old = self.board.daemon(id);
            let past = match &old {
                Some(_) => Vec::new(),
                None => self.past.remove(id).unwrap_or_default(),
            };
            self.events
                .changed(old.as_deref().map(|old| &old.view), &past, &view);
            let spec = match self.specs.get(id) {
                Some(spec) => Arc::clone(spec),
                None => unknown_spec()?,
            };
            Some(DaemonEntry {
                uid: self.uids.get(spec.user()).copied(),
                usage: self.usages.of(id),
                view,
                spec,
                version: 0,
                gone: false,
            })
        });
        self.board.publish(entries.collect());
    }
}

/// What stands for the spec of a daemon that was deleted while no worker ran: its instances are being stopped.
fn unknown_spec() -> Option<Arc<DaemonSpec>> {
    let draft = SpecDraft {
        command: "unknown".to_owned(),
        ..SpecDraft::default()
    };
    DaemonSpec::check(draft).ok().map(Arc::new)
}

/// Signals come from specs and from operators; both were checked.
fn known(signal: i32) -> Option<Signal> {
    let known = Signal::from_named_raw(signal);
    if known.is_none() {
        tracing::warn!(signal, "there is no such signal");
    }
    known
}
