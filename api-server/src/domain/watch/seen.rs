//! What a watch has told, and what it has yet to tell: versions and ids, no states.

use std::collections::{HashMap, HashSet, VecDeque};

use zhylon_shared::id::{DaemonId, ServerId};

use crate::bus::Connection;
use crate::store::{DaemonRow, DaemonVersion, Scope};

/// One entry per daemon of the scope: as bounded as that is.
#[derive(Debug, Default)]
pub(super) struct Seen {
    daemons: HashMap<DaemonId, Entry>,
    // Each id at most once: `Entry::queued`.
    changed: VecDeque<DaemonId>,
    gone: VecDeque<DaemonId>,
}

#[derive(Debug)]
struct Entry {
    server: ServerId,
    told: Option<Version>,
    queued: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    changed_revision: i64,
    status_version: i64,
    connection: Connection,
}

/// What to tell next.
pub(super) enum Next {
    /// Read it and tell it.
    Changed(DaemonId),
    /// It is gone.
    Gone(DaemonId),
}

impl Seen {
    /// Holds what is there against what was told; `scope` is all that was looked at.
    pub(super) fn compare(
        &mut self,
        scope: Scope,
        there: impl Iterator<Item = (DaemonVersion, Connection)>,
    ) {
        let mut present = HashSet::new();
        for (row, connection) in there {
            present.insert(row.id);
            let now = Version {
                changed_revision: row.changed_revision,
                status_version: row.status_version,
                connection,
            };
            let entry = self.daemons.entry(row.id).or_insert(Entry {
                server: row.server_id,
                told: None,
                queued: false,
            });
            if entry.told != Some(now) && !entry.queued {
                entry.queued = true;
                self.changed.push_back(row.id);
            }
        }
        let gone = &mut self.gone;
        self.daemons.retain(|id, entry| {
            let looked_at = match scope {
                Scope::Server(server) => entry.server == server,
                Scope::Team(_) => true,
            };
            let keep = !looked_at || present.contains(id);
            if !keep && entry.told.is_some() {
                gone.push_back(*id);
            }
            keep
        });
    }

    pub(super) fn next(&mut self) -> Option<Next> {
        if let Some(id) = self.gone.pop_front() {
            return Some(Next::Gone(id));
        }
        while let Some(id) = self.changed.pop_front() {
            // It may be gone since it was queued.
            if let Some(entry) = self.daemons.get_mut(&id) {
                entry.queued = false;
                return Some(Next::Changed(id));
            }
        }
        None
    }

    /// This state of a daemon is told.
    pub(super) fn told(&mut self, row: &DaemonRow, connection: Connection) {
        if let Some(entry) = self.daemons.get_mut(&row.id) {
            entry.told = Some(Version {
                changed_revision: row.changed_revision,
                status_version: row.status_version,
                connection,
            });
        }
    }

    /// A daemon turned out to be gone. Whether it was ever told.
    pub(super) fn forget(&mut self, id: DaemonId) -> bool {
        self.daemons
            .remove(&id)
            .is_some_and(|entry| entry.told.is_some())
    }
}
