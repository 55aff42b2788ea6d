//! Local operators' commands: first the intent is noted, then what was asked for is done, then it is waited for.

use std::collections::BTreeSet;

use zhylon_shared::state::{DesiredState, InstanceState};

use crate::ctx::Ctx;
use crate::effect::CommandOutcome;
use crate::group::Group;
use crate::input::{Action, Hold, Slot, Ticket};
use crate::instance::Event;
use crate::plan::{Goal, Standing};
use crate::ticket::Awaited;

/// Which instances of one daemon a command is about.
#[derive(Debug, Default)]
pub(crate) struct Address {
    /// The daemon as a whole.
    pub(crate) all: bool,
    /// Single instances of it.
    pub(crate) indexes: BTreeSet<u32>,
}

impl Group {
    /// Whether commands know it.
    pub(crate) fn is_known(&self) -> bool {
        self.desired.is_some()
    }

    /// The intent generation that a hold written now overrides.
    pub(crate) fn intent_generation(&self) -> i64 {
        self.desired
            .as_ref()
            .map_or(0, |desired| desired.intent_generation)
    }

    /// Carries out one command. Every addressed slot gets an outcome now or once it settled.
    pub(crate) fn command(
        &mut self,
        ctx: &mut Ctx,
        ticket: Ticket,
        action: &Action,
        address: Address,
        hold: Option<Hold>,
    ) {
        let processes = self.processes();
        let absent = address.indexes.range(processes..);
        for index in absent {
            ctx.settle(ticket, self.slot(*index), CommandOutcome::BadName);
        }
        let addressed: Vec<u32> = if address.all {
            (0..processes).collect()
        } else {
            address.indexes.range(..processes).copied().collect()
        };
        match action {
            Action::Signal(signal) => self.signal(ctx, ticket, &addressed, *signal),
            Action::Stop => {
                self.intend(ctx, &address, &addressed, DesiredState::Stopped, hold);
                self.stop(ctx, ticket, &addressed);
            }
            Action::Start => {
                self.intend(ctx, &address, &addressed, DesiredState::Running, hold);
                self.start(ctx, ticket, &addressed);
            }
            Action::Restart => {
                self.intend(ctx, &address, &addressed, DesiredState::Running, hold);
                self.restart(ctx, ticket, &addressed);
            }
        }
    }

    /// Notes what the operator wants: of the daemon as its hold, of single instances as theirs.
    fn intend(
        &mut self,
        ctx: &mut Ctx,
        address: &Address,
        addressed: &[u32],
        state: DesiredState,
        hold: Option<Hold>,
    ) {
        if address.all {
            self.clear_instance_holds();
            if let Some(hold) = hold {
                return self.set_hold(ctx, hold);
            }
            if self.hold.as_ref().is_some_and(|hold| hold.state != state) {
                self.end_holds(ctx);
            }
        }
        let hold = hold.unwrap_or_else(|| Hold {
            state,
            by: String::new(),
            time_ms: 0,
            intent_generation: self.intent_generation(),
        });
        for index in addressed {
            self.set_instance_hold(ctx, *index, hold.clone());
        }
    }

    fn stop(&mut self, ctx: &mut Ctx, ticket: Ticket, addressed: &[u32]) {
        self.assign_goals(ctx);
        for index in addressed {
            let slot = self.slot(*index);
            let Some(instance) = self.instances.get_mut(index) else {
                continue;
            };
            match instance.phase().standing() {
                Standing::Resting | Standing::Ended => {
                    ctx.settle(ticket, slot, CommandOutcome::NotRunning);
                }
                Standing::Waiting | Standing::Live | Standing::Ending => {
                    instance.wait(ctx, ticket, Awaited::Stopped);
                }
            }
        }
    }

    fn start(&mut self, ctx: &mut Ctx, ticket: Ticket, addressed: &[u32]) {
        self.assign_goals(ctx);
        for index in addressed {
            let slot = self.slot(*index);
            let Some(instance) = self.instances.get_mut(index) else {
                continue;
            };
            if matches!(
                instance.state(),
                InstanceState::Starting | InstanceState::Running
            ) {
                ctx.settle(ticket, slot, CommandOutcome::AlreadyStarted);
                continue;
            }
            if instance.goal() == Goal::Run {
                instance.handle(ctx, self.order.as_ref(), Event::Start);
            }
            instance.wait(ctx, ticket, Awaited::Started);
        }
    }

    fn restart(&mut self, ctx: &mut Ctx, ticket: Ticket, addressed: &[u32]) {
        self.assign_goals(ctx);
        for index in addressed {
            let Some(instance) = self.instances.get_mut(index) else {
                continue;
            };
            if instance.goal() == Goal::Run {
                instance.replace(ctx, self.order.as_ref());
            }
            instance.wait(ctx, ticket, Awaited::Started);
        }
    }

    fn signal(&mut self, ctx: &mut Ctx, ticket: Ticket, addressed: &[u32], signal: i32) {
        for index in addressed {
            let slot = self.slot(*index);
            if let Some(instance) = self.instances.get_mut(index) {
                let outcome = instance.signal(ctx, signal);
                ctx.settle(ticket, slot, outcome);
            }
        }
    }

    fn slot(&self, index: u32) -> Slot {
        Slot {
            daemon: self.id,
            index,
        }
    }
}
