//! What the ledger's configuration means for this host: what the engine is given, and what of former epochs is left.

use std::sync::Arc;

use host_agent_engine::input::{Claim, DesiredDaemon};
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::DesiredState;

use super::{DesiredLedger, Former, LedgerDaemon, LocalLedger};

impl DesiredLedger {
    /// Everything that should be on this host, as the engine wants it.
    pub(crate) fn for_engine(&self) -> Vec<DesiredDaemon> {
        let claimed = self.daemons.iter().map(|daemon| {
            let differs = daemon.runs_on.is_some();
            let claim = match daemon.adopted {
                true => Claim::Adopted { differs },
                false => Claim::Written,
            };
            daemon.for_engine(claim)
        });
        let unclaimed = self.unclaimed.iter();
        let unclaimed = unclaimed.map(|daemon| daemon.for_engine(Claim::Unclaimed));
        claimed.chain(unclaimed).collect()
    }

    /// A daemon of the set, or one that is unclaimed.
    pub(crate) fn find(&self, id: DaemonId) -> Option<&LedgerDaemon> {
        let mut all = self.daemons.iter().chain(&self.unclaimed);
        all.find(|daemon| daemon.id == id)
    }

    /// Takes out what is unclaimed and was stopped by a person: that was the decision. Until the next start of a worker
    /// it could be taken back. True if there was such a daemon.
    pub(super) fn drop_stopped(&mut self, local: &LocalLedger) -> bool {
        let before = self.unclaimed.len();
        self.unclaimed.retain(|daemon| {
            let mut holds = local.holds.iter();
            !holds.any(|(id, hold)| *id == daemon.id && hold.state == DesiredState::Stopped)
        });
        self.unclaimed.len() < before
    }
}

impl LedgerDaemon {
    /// What is run here: what the configuration says, or what ran before it.
    pub(crate) fn in_force(&self) -> (&DaemonSpec, DesiredState) {
        match &self.runs_on {
            Some(former) => (&former.spec, former.state),
            None => (&self.spec, self.state),
        }
    }

    /// The same daemon in the first configuration of a new epoch: it runs on as it was where that says otherwise.
    pub(crate) fn adopting(self, former: &Self) -> Self {
        let (spec, state) = former.in_force();
        let same = self.spec.same_instance(spec)
            && self.spec.processes() == spec.processes()
            && self.state == state;
        let runs_on = (!same).then(|| Former {
            spec: spec.clone(),
            state,
        });
        Self {
            adopted: true,
            runs_on,
            ..self
        }
    }

    fn for_engine(&self, claim: Claim) -> DesiredDaemon {
        let (spec, state) = self.in_force();
        DesiredDaemon {
            id: self.id,
            spec: Arc::new(spec.clone()),
            state,
            intent_generation: self.intent_generation,
            restart_generation: self.restart_generation,
            restart_strategy: self.restart_strategy,
            revision: self.revision,
            claim,
        }
    }
}
