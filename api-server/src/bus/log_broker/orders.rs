//! What waits to be told to an agent. Coalesced, so it never holds more than one entry per subscription: giving an
//! order never waits, however slowly the agent reads.

use std::collections::{BTreeMap, BTreeSet};

use zhylon_shared::id::DaemonId;

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
        /// What a range may cost; 0 for a feed.
        limit: u64,
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
    /// Empty this log.
    Clear {
        /// Names the request.
        id: u64,
        /// The daemon.
        daemon: DaemonId,
    },
}

/// The orders of one stream.
#[derive(Debug, Default)]
pub(super) struct Orders {
    subscribe: BTreeMap<u64, Asked>,
    credit: BTreeMap<u64, u64>,
    unsubscribe: BTreeSet<u64>,
    clear: BTreeMap<u64, DaemonId>,
}

#[derive(Debug)]
struct Asked {
    request: LogRequest,
    credit: u64,
    limit: u64,
}

impl Orders {
    pub(super) fn subscribe(&mut self, id: u64, request: LogRequest, credit: u64, limit: u64) {
        let asked = Asked {
            request,
            credit,
            limit,
        };
        self.subscribe.insert(id, asked);
    }

    pub(super) fn clear(&mut self, id: u64, daemon: DaemonId) {
        self.clear.insert(id, daemon);
    }

    /// Whoever asked waits no more.
    pub(super) fn forget_clear(&mut self, id: u64) {
        self.clear.remove(&id);
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
        if let Some((id, daemon)) = self.clear.pop_first() {
            return Some(Order::Clear { id, daemon });
        }
        if let Some((id, asked)) = self.subscribe.pop_first() {
            return Some(Order::Subscribe {
                id,
                request: asked.request,
                credit: asked.credit,
                limit: asked.limit,
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
        self.subscribe.len() + self.credit.len() + self.unsubscribe.len() + self.clear.len()
    }
}
