//! What waits to be told to an agent. Coalesced, so it never holds more than one entry per subscription: giving an
//! order never waits, however slowly the agent reads.

use std::collections::{BTreeMap, BTreeSet};

use super::LogRequest;

/// One thing to tell an agent about its subscription `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Send this log.
    Subscribe {
        /// The subscription.
        id: u64,
        /// What.
        request: LogRequest,
        /// How many bytes of data may be sent at first.
        credit: u64,
    },
    /// So many bytes more.
    Credit {
        /// The subscription.
        id: u64,
        /// How many.
        bytes: u64,
    },
    /// No more.
    Unsubscribe {
        /// The subscription.
        id: u64,
    },
}

/// The orders of one stream.
#[derive(Debug, Default)]
pub(super) struct Orders {
    subscribe: BTreeMap<u64, (LogRequest, u64)>,
    credit: BTreeMap<u64, u64>,
    unsubscribe: BTreeSet<u64>,
}

impl Orders {
    pub(super) fn subscribe(&mut self, id: u64, request: LogRequest, credit: u64) {
        self.subscribe.insert(id, (request, credit));
    }

    pub(super) fn credit(&mut self, id: u64, bytes: u64) {
        *self.credit.entry(id).or_default() += bytes;
    }

    /// What was never told need not be taken back.
    pub(super) fn unsubscribe(&mut self, id: u64) {
        self.credit.remove(&id);
        if self.subscribe.remove(&id).is_none() {
            self.unsubscribe.insert(id);
        }
    }

    /// The next one: ends first, for they make room.
    pub(super) fn next(&mut self) -> Option<Order> {
        if let Some(id) = self.unsubscribe.pop_first() {
            return Some(Order::Unsubscribe { id });
        }
        if let Some((id, (request, credit))) = self.subscribe.pop_first() {
            return Some(Order::Subscribe {
                id,
                request,
                credit,
            });
        }
        let (id, bytes) = self.credit.pop_first()?;
        Some(Order::Credit { id, bytes })
    }

    /// Ends the agent was not told yet.
    pub(super) fn ended(&self) -> usize {
        self.unsubscribe.len()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.subscribe.len() + self.credit.len() + self.unsubscribe.len()
    }
}
