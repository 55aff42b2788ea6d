//! The ledger: what survives an agent restart and a reboot. tmp + fsync + rename + fsync of the directory.

use serde::{Deserialize, Serialize};
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::{DesiredState, RestartOutcome};

/// The configuration of this server as last accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DesiredLedger {
    /// Epoch all counters belong to; empty before the first configuration.
    pub(crate) config_epoch: String,
    /// Revision of the set.
    pub(crate) revision: i64,
    /// `zhylon_shared::wire::set_hash` of the set.
    pub(crate) hash: Vec<u8>,
    /// The set.
    pub(crate) daemons: Vec<LedgerDaemon>,
}

/// One daemon in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerDaemon {
    pub(crate) id: DaemonId,
    pub(crate) spec: DaemonSpec,
    pub(crate) state: DesiredState,
    pub(crate) intent_generation: i64,
    pub(crate) restart_generation: i64,
    pub(crate) revision: i64,
}

/// What is decided on the host: holds and outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalLedger {
    pub(crate) holds: Vec<(DaemonId, LedgerHold)>,
    pub(crate) settled: Vec<(DaemonId, i64, RestartOutcome)>,
    /// Raised at every start of a worker.
    pub(crate) worker_starts: u64,
}

/// A hold in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerHold {
    pub(crate) state: DesiredState,
    pub(crate) by: String,
    pub(crate) time_ms: u64,
    pub(crate) intent_generation: i64,
}

/// Handle to the thread that owns the ledger files.
#[derive(Debug, Clone)]
pub(crate) struct Journal {}

/// Why the ledger could not be written: nothing changed.
#[derive(Debug, thiserror::Error)]
#[error("the ledger could not be written: {0}")]
pub(crate) struct JournalError(pub(crate) String);

impl Journal {
    /// The newest durable configuration.
    pub(crate) fn desired(&self) -> DesiredLedger {
        todo!("owner: supervisor")
    }

    /// Makes a configuration durable. Returns when it is.
    pub(crate) async fn store_desired(&self, _ledger: DesiredLedger) -> Result<(), JournalError> {
        todo!("owner: supervisor")
    }
}
