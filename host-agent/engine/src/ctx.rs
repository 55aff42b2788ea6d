//! What every decision may use besides its own state: the time, the counters, and the ways out.

use crate::effect::CommandOutcome;
use crate::input::{Slot, Ticket};
use crate::outbox::Outbox;
use crate::policy::Jitter;
use crate::ticket::Tickets;
use crate::time::Time;
use crate::timer::Timers;

/// Owned by the engine, handed down as the first argument.
#[derive(Debug)]
pub(crate) struct Ctx {
    /// When the current input happened.
    pub(crate) now: Time,
    /// Everything is being stopped because the worker ends: nothing may start.
    pub(crate) halted: bool,
    /// The next spawn's generation.
    pub(crate) next_generation: u64,
    pub(crate) jitter: Jitter,
    pub(crate) timers: Timers,
    pub(crate) tickets: Tickets,
    pub(crate) out: Outbox,
}

impl Ctx {
    pub(crate) fn new(jitter_seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            halted: false,
            next_generation: 1,
            jitter: Jitter::new(jitter_seed),
            timers: Timers::default(),
            tickets: Tickets::default(),
            out: Outbox::default(),
        }
    }

    /// A generation that was never used.
    pub(crate) fn generation(&mut self) -> u64 {
        let generation = self.next_generation;
        self.next_generation += 1;
        generation
    }

    /// Says what became of one slot of a command.
    pub(crate) fn settle(&mut self, ticket: Ticket, slot: Slot, outcome: CommandOutcome) {
        self.tickets.settle(&mut self.out, ticket, slot, outcome);
    }
}
