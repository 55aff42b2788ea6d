//! Commands that wait at an instance, and the changes of intent that end their waiting.

use crate::ctx::Ctx;
use crate::effect::{CommandOutcome, Effect};
use crate::input::Ticket;
use crate::instance::{Event, Instance, Order};
use crate::phase::Phase;
use crate::plan::Goal;
use crate::ticket::{Awaited, Waiter};

/// Commands that may wait at one instance. Stops may last a day and clients hang up, so without a bound they would pile
/// up; when full, the oldest is answered `AbnormalTermination`.
const WAITERS_MAX: usize = 64;

impl Instance {
    /// Changes what is wanted of it. Whoever waits for the opposite is told that it will not come.
    pub(crate) fn set_goal(&mut self, ctx: &mut Ctx, goal: Goal) {
        self.goal = goal;
        self.drop_contrary(ctx);
    }

    /// The command is answered once this instance started or stopped.
    pub(crate) fn wait(&mut self, ctx: &mut Ctx, ticket: Ticket, awaited: Awaited) {
        if self.waiters.len() == WAITERS_MAX {
            let oldest = self.waiters.remove(0);
            ctx.settle(
                oldest.ticket,
                self.slot,
                CommandOutcome::AbnormalTermination,
            );
        }
        ctx.tickets.expect(ticket, self.slot);
        self.waiters.push(Waiter { ticket, awaited });
        self.drop_contrary(ctx);
    }

    /// A new run takes the place of what is there; whoever waits for that to start waits in vain.
    pub(crate) fn replace(&mut self, ctx: &mut Ctx, order: Option<&Order>) {
        if matches!(self.phase, Phase::Spawning(_) | Phase::Starting(_)) {
            self.answer(ctx, Awaited::Started, CommandOutcome::AbnormalTermination);
        }
        self.handle(ctx, order, Event::Replace);
    }

    /// Sends a signal to the main process, if there is one.
    pub(crate) fn signal(&mut self, ctx: &mut Ctx, signal: i32) -> CommandOutcome {
        match &self.phase {
            Phase::Starting(live) | Phase::Running(live) | Phase::Stopping(live) => {
                let run = self.run(live);
                ctx.out.act(Effect::Signal { run, signal });
                CommandOutcome::Done
            }
            _ => CommandOutcome::NotRunning,
        }
    }

    /// Tells everyone who waits for this.
    pub(super) fn answer(&mut self, ctx: &mut Ctx, awaited: Awaited, outcome: CommandOutcome) {
        let slot = self.slot;
        self.waiters.retain(|waiter| {
            if waiter.awaited == awaited {
                ctx.settle(waiter.ticket, slot, outcome);
            }
            waiter.awaited != awaited
        });
    }

    fn drop_contrary(&mut self, ctx: &mut Ctx) {
        let contrary = match self.goal {
            Goal::Run => Awaited::Stopped,
            Goal::Stop => Awaited::Started,
        };
        self.answer(ctx, contrary, CommandOutcome::AbnormalTermination);
    }
}
