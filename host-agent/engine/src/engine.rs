//! The engine: hands each input to the daemons it is about, lets time pass, and orders the effects.
//!
//! It decides nothing about a daemon; that is the groups' part.

use std::collections::{BTreeMap, BTreeSet};

use zhylon_shared::id::DaemonId;

use crate::ctx::Ctx;
use crate::effect::{CommandOutcome, Effect};
use crate::group::{Address, Group};
use crate::input::{Action, CommandTarget, DesiredDaemon, Hold, Input, Past, Run, Slot, Ticket};
use crate::instance::Event;
use crate::time::Time;
use crate::timer::Timer;
use crate::view::DaemonView;

mod restore;

/// What should happen next on this host. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Engine {
    groups: BTreeMap<DaemonId, Group>,
    ctx: Ctx,
    life: Life,
}

#[derive(Debug, PartialEq, Eq)]
enum Life {
    /// Before the first input.
    New,
    /// Keeping daemons as they are desired.
    Serving,
    /// Everything is being stopped; these still have runs.
    Stopping(BTreeSet<DaemonId>),
    /// `Terminated` was said; nothing follows.
    Ended,
}

impl Engine {
    /// An engine that knows of no daemon yet. The seed decides how delays are spread; nothing else is random.
    #[must_use]
    pub fn new(jitter_seed: u64) -> Self {
        Self {
            groups: BTreeMap::new(),
            ctx: Ctx::new(jitter_seed),
            life: Life::New,
        }
    }

    /// Something happened at `now`. Time never goes back: an earlier `now` than the last counts as that.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.life == Life::Ended {
            return;
        }
        self.ctx.now = self.ctx.now.max(now);
        self.dispatch(input);
        self.pass_time();
        self.end_if_stopped();
        self.ctx.out.flush();
    }

    /// What to do now, in order, until `None`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.ctx.out.pop()
    }

    /// When to hand in [`Input::DeadlineReached`]; always later than the last input.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.ctx.timers.next()
    }

    /// The newest state of a daemon; `None` if there is nothing of it.
    #[must_use]
    pub fn view(&self, daemon: &DaemonId) -> Option<DaemonView> {
        self.groups.get(daemon).map(Group::view)
    }

    /// What the next worker of this boot should know of a daemon's instances besides their processes:
    /// [`Input::Restore::past`]. Empty where there is nothing.
    #[must_use]
    pub fn past(&self, daemon: &DaemonId) -> Vec<Past> {
        self.groups.get(daemon).map_or_else(Vec::new, Group::past)
    }

    /// All daemons there are, also those that are not desired but have not ended, ordered by id.
    pub fn daemons(&self) -> impl Iterator<Item = DaemonId> {
        self.groups.keys().copied()
    }

    fn dispatch(&mut self, input: Input) {
        let first = self.life == Life::New;
        if first {
            self.life = Life::Serving;
        }
        match input {
            Input::Restore {
                desired,
                holds,
                settled,
                stopped,
                adopted,
                past,
                first_generation,
            } if first => {
                self.ctx.next_generation = first_generation.max(self.ctx.next_generation);
                self.restore_desired(desired, settled, stopped);
                let of_instances = self.restore_holds(holds);
                self.restore_runs(adopted, &past);
                self.restore_instance_holds(of_instances);
                for id in self.daemons().collect::<Vec<_>>() {
                    self.touch(id, |group, ctx| {
                        group.adopt_counters(ctx);
                        group.keep_adopted(ctx);
                    });
                }
            }
            // Told twice, only what is desired can be news.
            Input::Restore { desired, .. } | Input::Desired(desired) => self.desired(desired),
            Input::Checked {
                daemon,
                revision,
                result,
            } => {
                self.touch(daemon, |group, ctx| group.checked(ctx, revision, result));
            }
            Input::Spawned { run, pid } => self.event(run, Event::Spawned { pid }),
            Input::SpawnFailed { run, error } => self.event(run, Event::SpawnFailed(error)),
            Input::Exited {
                run,
                exit,
                tree_gone,
            } => {
                self.event(run, Event::Exited { exit, tree_gone });
            }
            Input::TreeGone { run } => self.event(run, Event::TreeGone),
            Input::Command {
                ticket,
                action,
                targets,
                hold,
            } => {
                self.command(ticket, &action, &targets, hold);
            }
            Input::DeadlineReached => {}
            Input::Shutdown { stop_daemons } => self.shutdown(stop_daemons),
        }
    }

    fn desired(&mut self, desired: Vec<DesiredDaemon>) {
        let wanted: BTreeSet<DaemonId> = desired.iter().map(|daemon| daemon.id).collect();
        for daemon in desired {
            let id = daemon.id;
            let group = self.groups.entry(id).or_insert_with(|| Group::unknown(id));
            if !group.is_settled_on(&daemon) {
                self.touch(id, |group, ctx| group.desire(ctx, daemon));
            }
        }
        let known = self.groups.iter().filter(|(_, group)| group.is_known());
        let deleted = known.map(|(id, _)| *id).filter(|id| !wanted.contains(id));
        for id in deleted.collect::<Vec<_>>() {
            self.touch(id, Group::delete);
        }
    }

    fn event(&mut self, run: Run, event: Event) {
        self.touch(run.slot.daemon, |group, ctx| group.event(ctx, run, event));
    }

    fn command(
        &mut self,
        ticket: Ticket,
        action: &Action,
        targets: &[CommandTarget],
        hold: Option<Hold>,
    ) {
        let mut addresses: BTreeMap<DaemonId, Address> = BTreeMap::new();
        for target in targets {
            match *target {
                CommandTarget::Daemon(daemon) => addresses.entry(daemon).or_default().all = true,
                CommandTarget::Instance(Slot { daemon, index }) => {
                    addresses.entry(daemon).or_default().indexes.insert(index);
                }
            }
        }
        self.ctx.tickets.open(ticket);
        let several = addresses.len() > 1;
        for (daemon, address) in addresses {
            let Some(group) = self.groups.get(&daemon).filter(|group| group.is_known()) else {
                for index in address.indexes {
                    let slot = Slot { daemon, index };
                    self.ctx.settle(ticket, slot, CommandOutcome::BadName);
                }
                continue;
            };
            // One hold came for all of them, but each has its own count of intents.
            let intent_generation = group.intent_generation();
            let hold = hold.clone().map(|hold| match several {
                true => Hold {
                    intent_generation,
                    ..hold
                },
                false => hold,
            });
            self.touch(daemon, |group, ctx| {
                group.command(ctx, ticket, action, address, hold)
            });
        }
        self.ctx.tickets.seal(&mut self.ctx.out, ticket);
    }

    fn shutdown(&mut self, stop_daemons: bool) {
        if !stop_daemons {
            return self.end();
        }
        self.ctx.halted = true;
        let all: Vec<DaemonId> = self.daemons().collect();
        self.life = Life::Stopping(all.iter().copied().collect());
        for id in all {
            self.touch(id, |_, _| {});
        }
    }

    /// Everything whose time has come happens.
    fn pass_time(&mut self) {
        while let Some(timer) = self.ctx.timers.pop_due(self.ctx.now) {
            match timer {
                Timer::Instance(slot) => {
                    self.touch(slot.daemon, |group, ctx| group.deadline(ctx, slot.index));
                }
                Timer::Check(daemon) => self.touch(daemon, Group::recheck),
                // The review sees that the time is over.
                Timer::Step(daemon) => self.touch(daemon, |_, _| {}),
            }
        }
    }

    /// Changes a daemon, then brings about what follows from that.
    fn touch(&mut self, id: DaemonId, change: impl FnOnce(&mut Group, &mut Ctx)) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        change(group, &mut self.ctx);
        let stays = group.review(&mut self.ctx);
        if let Life::Stopping(busy) = &mut self.life
            && group.is_idle()
        {
            busy.remove(&id);
        }
        if !stays {
            self.groups.remove(&id);
            self.ctx.out.gone(id);
        }
    }

    fn end_if_stopped(&mut self) {
        if matches!(&self.life, Life::Stopping(busy) if busy.is_empty()) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.ctx.tickets.abandon(&mut self.ctx.out);
        self.ctx.timers.clear();
        self.ctx.out.terminated();
        self.life = Life::Ended;
    }
}
