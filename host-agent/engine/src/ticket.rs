//! Answers to commands that are not complete yet.
//!
//! Waiting is data: a slot that has not settled is a missing outcome here and a [`Waiter`] at its instance. A ticket is
//! answered once, when nothing is missing, and forgotten.

use std::collections::BTreeMap;

use crate::effect::{CommandOutcome, Effect};
use crate::input::{Slot, Ticket};
use crate::outbox::Outbox;

/// What a command waits for at one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// RUNNING, or the first failure.
    Started,
    /// Nothing of it left.
    Stopped,
}

/// A command that waits at an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    /// The command.
    pub(crate) ticket: Ticket,
    /// For what.
    pub(crate) awaited: Awaited,
}

/// All commands that wait.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    open: BTreeMap<Ticket, Answer>,
}

#[derive(Debug, Default)]
struct Answer {
    outcomes: BTreeMap<Slot, Option<CommandOutcome>>,
    /// How many of `outcomes` are not known yet.
    missing: usize,
    /// All addressed slots are in `outcomes`.
    sealed: bool,
}

impl Tickets {
    /// Begins an answer.
    pub(crate) fn open(&mut self, ticket: Ticket) {
        self.open.insert(ticket, Answer::default());
    }

    /// This slot belongs to the answer; its outcome follows.
    pub(crate) fn expect(&mut self, ticket: Ticket, slot: Slot) {
        if let Some(answer) = self.open.get_mut(&ticket)
            && answer.outcomes.insert(slot, None).is_none()
        {
            answer.missing += 1;
        }
    }

    /// The outcome of one slot.
    pub(crate) fn settle(
        &mut self,
        out: &mut Outbox,
        ticket: Ticket,
        slot: Slot,
        outcome: CommandOutcome,
    ) {
        if let Some(answer) = self.open.get_mut(&ticket)
            && answer.outcomes.insert(slot, Some(outcome)) == Some(None)
        {
            answer.missing -= 1;
        }
        self.reply_if_complete(out, ticket);
    }

    /// All addressed slots are known.
    pub(crate) fn seal(&mut self, out: &mut Outbox, ticket: Ticket) {
        if let Some(answer) = self.open.get_mut(&ticket) {
            answer.sealed = true;
        }
        self.reply_if_complete(out, ticket);
    }

    /// Answers everything that still waits; what is missing ended in another way.
    pub(crate) fn abandon(&mut self, out: &mut Outbox) {
        for (ticket, answer) in std::mem::take(&mut self.open) {
            let outcome =
                |outcome: Option<_>| outcome.unwrap_or(CommandOutcome::AbnormalTermination);
            let outcomes = answer.outcomes.into_iter();
            let outcomes = outcomes
                .map(|(slot, found)| (slot, outcome(found)))
                .collect();
            out.reply(Effect::Reply { ticket, outcomes });
        }
    }

    fn reply_if_complete(&mut self, out: &mut Outbox, ticket: Ticket) {
        let complete = |answer: &Answer| answer.sealed && answer.missing == 0;
        if !self.open.get(&ticket).is_some_and(complete) {
            return;
        }
        if let Some(answer) = self.open.remove(&ticket) {
            let outcomes = answer.outcomes.into_iter();
            let outcomes = outcomes
                .filter_map(|(slot, found)| Some((slot, found?)))
                .collect();
            out.reply(Effect::Reply { ticket, outcomes });
        }
    }
}
