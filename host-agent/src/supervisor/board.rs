//! The newest state of every daemon, for everybody to read. Written by the owner only; readers never make it wait long:
//! they clone pointers under the lock and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;
use zhylon_shared::id::DaemonId;

use super::DaemonEntry;

/// See the module. Bounded by the daemons of this host.
#[derive(Debug)]
pub(super) struct Board {
    state: RwLock<State>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<DaemonId, Arc<DaemonEntry>>,
    /// What a hold written now overrides, of every desired daemon.
    intents: BTreeMap<DaemonId, i64>,
}

impl Board {
    pub(super) fn new() -> Self {
        Self {
            state: RwLock::default(),
            version: watch::Sender::new(0),
        }
    }

    pub(super) fn snapshot(&self) -> BTreeMap<DaemonId, Arc<DaemonEntry>> {
        self.read().entries.clone()
    }

    pub(super) fn daemon(&self, id: &DaemonId) -> Option<Arc<DaemonEntry>> {
        self.read().entries.get(id).cloned()
    }

    pub(super) fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn intent_generation(&self, id: &DaemonId) -> Option<i64> {
        self.read().intents.get(id).copied()
    }

    /// The intent generations of the complete set.
    pub(super) fn set_intents(&self, intents: BTreeMap<DaemonId, i64>) {
        self.write().intents = intents;
    }

    /// Replaces entries, all in one new version. Their `version` is set here.
    pub(super) fn publish(&self, entries: Vec<DaemonEntry>) {
        if entries.is_empty() {
            return;
        }
        let version = *self.version.borrow() + 1;
        let mut state = self.write();
        for entry in entries {
            let id = entry.view.id;
            state
                .entries
                .insert(id, Arc::new(DaemonEntry { version, ..entry }));
        }
        drop(state);
        self.version.send_replace(version);
    }

    /// Takes an entry out.
    pub(super) fn remove(&self, id: &DaemonId) {
        self.write().entries.remove(id);
        self.version.send_modify(|version| *version += 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
