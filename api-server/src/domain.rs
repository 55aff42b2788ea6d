//! Floor 3: the rules. Every function that a caller reaches takes its [`Ctx`] first and decides by the access table
//! before it looks at anything else of the request; every write is one transaction of the store, then a hint.
//! Knows no transport and no SQL.

mod agents;
mod callers;
mod ctx;
mod daemons;
mod error;
mod events;
mod identities;
mod intents;
mod logs;
mod page;
mod seal;
mod servers;
mod setup;
mod status;
mod teams;
mod tokens;
mod users;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use crate::store::KeyHash;
pub(crate) use agents::DesiredSet;
pub(crate) use callers::Shown;
pub(crate) use ctx::Ctx;
pub(crate) use daemons::{DaemonDraft, DaemonView};
pub(crate) use error::{Credential, DomainError as Error, Enrollment, Precondition, Reason};
pub(crate) use identities::{Renewal, Standing};
pub(crate) use intents::Intent;
pub(crate) use page::{Page, PageRequest};
pub(crate) use seal::EnvironmentKey;
pub(crate) use servers::ServerView;
pub(crate) use setup::{BootstrapNames, bootstrap};
pub(crate) use status::connection_to_api;
pub(crate) use tokens::TokenDraft;
pub(crate) use watch::{Watch, WatchEvent};

use std::str::FromStr;

use zhylon_shared::id::{Id, Kind};

use crate::bus::Bus;
use crate::clock::Clock;
use crate::store::Store;

/// The rules and what they work on. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    store: Store,
    bus: Bus,
    key: EnvironmentKey,
    clock: Clock,
}

impl Domain {
    /// The rules over this store. `key` seals environment values and must be the same at every start.
    #[must_use]
    pub(crate) fn new(store: Store, bus: Bus, key: EnvironmentKey, clock: Clock) -> Self {
        Self {
            store,
            bus,
            key,
            clock,
        }
    }

    /// Hints and presence.
    #[must_use]
    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The clock everything here goes by.
    #[must_use]
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// Reads an id. What is no id is not found, like an absent one.
///
/// # Errors
/// [`Error::NotFound`].
pub(crate) fn parse_id<K: Kind>(text: &str) -> Result<Id<K>, Error> {
    Id::from_str(text).map_err(|_| Error::NotFound(K::WORD))
}
