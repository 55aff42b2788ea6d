//! The tokio shell around the engine: one task owns it, everyone else holds a [`SupervisorHandle`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::{Action, CommandTarget, DesiredDaemon, Slot};
use host_agent_engine::time::Time;
use host_agent_engine::view::DaemonView;
use tokio::sync::watch;
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;

/// One daemon as the host last saw it.
#[derive(Debug, Clone)]
pub(crate) struct DaemonEntry {
    /// The engine's view.
    pub(crate) view: DaemonView,
    /// Its spec (the newest desired one).
    pub(crate) spec: Arc<DaemonSpec>,
    /// The uid its user has here; `None` if there is no such user.
    pub(crate) uid: Option<u32>,
    /// Board version in which it last changed.
    pub(crate) version: u64,
    /// It was deleted and nothing of it is left; kept until [`SupervisorHandle::forget`].
    pub(crate) gone: bool,
}

/// Who asks, for holds and logs.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// For people: `root`, `anna (uid 1001)`, `root for anna (uid 1001)`.
    pub(crate) name: String,
}

/// Why a local request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The hold could not be written; nothing was done.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    /// The worker is ending.
    #[error("the agent is shutting down")]
    ShuttingDown,
}

/// The only door to the engine.
#[derive(Debug, Clone)]
pub(crate) struct SupervisorHandle {}

impl SupervisorHandle {
    /// Hands over the complete set, already durable in the ledger.
    pub(crate) async fn desire(&self, _set: Vec<DesiredDaemon>) -> Result<(), Refused> {
        todo!("owner: supervisor")
    }

    /// Carries out a local request: writes the hold, acts, and returns when every addressed instance settled.
    pub(crate) async fn command(
        &self,
        _action: Action,
        _targets: Vec<CommandTarget>,
        _by: Operator,
    ) -> Result<Vec<(Slot, CommandOutcome)>, Refused> {
        todo!("owner: supervisor")
    }

    /// All daemons, newest state, ordered by id.
    pub(crate) fn snapshot(&self) -> BTreeMap<DaemonId, Arc<DaemonEntry>> {
        todo!("owner: supervisor")
    }

    /// One daemon.
    pub(crate) fn daemon(&self, _id: &DaemonId) -> Option<Arc<DaemonEntry>> {
        todo!("owner: supervisor")
    }

    /// The board's version: raised with every change; wait on it, then compare entries' versions.
    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        todo!("owner: supervisor")
    }

    /// The api-server knows that this daemon is gone.
    pub(crate) async fn forget(&self, _id: DaemonId) {
        todo!("owner: supervisor")
    }

    /// Wall-clock time of an engine time.
    pub(crate) fn wall(&self, _time: Time) -> SystemTime {
        todo!("owner: supervisor")
    }
}
