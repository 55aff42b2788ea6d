//! Merges configurations into the ledger's set. Pure: decides, and leaves writing and acting to the session.
//!
//! The host trusts the wire no more than a person: every spec is checked again, and the hash of the set that would
//! result must be the one the api-server means. A refused update leaves everything as it was.

use std::collections::BTreeMap;

use zhylon_proto::agent::v1::{ConfigUpdate, DaemonConfig};
use zhylon_shared::id::DaemonId;
use zhylon_shared::state::DesiredState;
use zhylon_shared::wire;

use crate::journal::{DesiredLedger, LedgerDaemon};

/// Why an update is refused as a whole: `ConfigAck.refused` and `ConfigAck.message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    /// The update does not build on what is here; a snapshot helps.
    fn gap(message: String) -> Self {
        let code = "REVISION_GAP";
        Self { code, message }
    }
    /// What is here has the same revision and other content.
    fn conflict(message: String) -> Self {
        let code = "REVISION_CONFLICT";
        Self { code, message }
    }
    /// What is here is newer.
    fn regression(message: String) -> Self {
        let code = "REVISION_REGRESSION";
        Self { code, message }
    }
    /// The update breaks a rule.
    fn invalid(message: String) -> Self {
        let code = "INVALID";
        Self { code, message }
    }
}

/// The ledger after `update`; `None` if `current` is it already.
///
/// # Errors
/// When the update is refused.
pub(super) fn merge(
    current: &DesiredLedger,
    update: &ConfigUpdate,
) -> Result<Option<DesiredLedger>, Refusal> {
    if update.config_epoch.is_empty() {
        return Err(Refusal::invalid("config_epoch: must not be empty".into()));
    }
    let (here, target) = (current.revision, update.target_revision);
    if update.config_epoch == current.config_epoch {
        if target < here {
            return Err(Refusal::regression(format!(
                "revision {target} was offered, but this host already has {here} of the same epoch"
            )));
        }
        if target == here && update.hash == current.hash {
            return Ok(None);
        }
        if target == here {
            return Err(Refusal::conflict(format!(
                "revision {target} was offered with other content than this host has under that number"
            )));
        }
        if !update.snapshot && update.base_revision != here {
            return Err(Refusal::gap(format!(
                "the change builds on revision {}, but this host has {here}",
                update.base_revision
            )));
        }
    } else if !update.snapshot {
        return Err(Refusal::gap(format!(
            "the change belongs to epoch {:?}, but this host has {:?}",
            update.config_epoch, current.config_epoch
        )));
    }

    // A host without a configuration has nothing that could be of another epoch.
    let new_epoch = update.config_epoch != current.config_epoch && !current.config_epoch.is_empty();
    let mut set = BTreeMap::new();
    let mut unclaimed: BTreeMap<_, _> = (current.unclaimed.iter())
        .map(|daemon| (daemon.id, daemon.clone()))
        .collect();
    if new_epoch {
        let known = current.daemons.iter();
        unclaimed.extend(known.map(|daemon| (daemon.id, daemon.clone())));
    }
    if !update.snapshot {
        set.extend(
            current
                .daemons
                .iter()
                .map(|daemon| (daemon.id, daemon.clone())),
        );
    }
    let named = changed(update)?;
    for id in removed(update, &named)? {
        set.remove(&id);
        unclaimed.remove(&id);
    }
    for (id, daemon) in named {
        let known = current.find(id);
        let daemon = match known {
            Some(known) if new_epoch => daemon.adopting(known),
            // It was not written since: it still is what the epoch began with.
            Some(known) if known.adopted && known.revision == daemon.revision => LedgerDaemon {
                adopted: true,
                runs_on: known.runs_on.clone(),
                ..daemon
            },
            _ => daemon,
        };
        unclaimed.remove(&id);
        set.insert(id, daemon);
    }

    let daemons: Vec<LedgerDaemon> = set.into_values().collect();
    let hash = hash(&daemons);
    if hash != update.hash {
        let text = "the resulting set has another hash than the api-server's";
        return Err(if update.snapshot {
            Refusal::invalid(format!("hash: {text}; is this agent older than it?"))
        } else {
            Refusal::gap(format!("{text}: a snapshot is needed"))
        });
    }
    Ok(Some(DesiredLedger {
        config_epoch: update.config_epoch.clone(),
        revision: target,
        hash,
        daemons,
        unclaimed: unclaimed.into_values().collect(),
    }))
}

fn changed(update: &ConfigUpdate) -> Result<BTreeMap<DaemonId, LedgerDaemon>, Refusal> {
    let mut named = BTreeMap::new();
    for config in &update.daemons {
        let daemon = parse(config)?;
        if let Some(twice) = named.insert(daemon.id, daemon) {
            return Err(Refusal::invalid(format!("{} is named twice", twice.id)));
        }
    }
    Ok(named)
}

fn removed(
    update: &ConfigUpdate,
    named: &BTreeMap<DaemonId, LedgerDaemon>,
) -> Result<Vec<DaemonId>, Refusal> {
    if update.snapshot && !update.removed.is_empty() {
        return Err(Refusal::invalid(
            "removed: must be empty in a snapshot".into(),
        ));
    }
    let parse = |text: &String| {
        let id: DaemonId = text
            .parse()
            .map_err(|error| Refusal::invalid(format!("removed: {text:?}: {error}")))?;
        if named.contains_key(&id) {
            return Err(Refusal::invalid(format!(
                "{id} is both changed and removed"
            )));
        }
        Ok(id)
    };
    update.removed.iter().map(parse).collect()
}

fn parse(config: &DaemonConfig) -> Result<LedgerDaemon, Refusal> {
    let id: DaemonId = (config.id.parse())
        .map_err(|error| Refusal::invalid(format!("daemons: {:?}: {error}", config.id)))?;
    let spec = (config.spec.as_ref())
        .ok_or_else(|| Refusal::invalid(format!("{id}: spec: is missing")))?;
    Ok(LedgerDaemon {
        id,
        spec: wire::spec_from_agent(spec)
            .map_err(|error| Refusal::invalid(format!("{id}: {error}")))?,
        state: if config.running {
            DesiredState::Running
        } else {
            DesiredState::Stopped
        },
        intent_generation: config.intent_generation,
        restart_generation: config.restart_generation,
        restart_strategy: wire::strategy_from_wire("restart_strategy", config.restart_strategy)
            .map_err(|error| Refusal::invalid(format!("{id}: {error}")))?,
        revision: config.revision,
        adopted: false,
        runs_on: None,
    })
}

/// The hash of a set as both sides compute it.
pub(super) fn hash(daemons: &[LedgerDaemon]) -> Vec<u8> {
    let configs: Vec<DaemonConfig> = daemons.iter().map(config).collect();
    wire::set_hash(&configs)
}

fn config(daemon: &LedgerDaemon) -> DaemonConfig {
    DaemonConfig {
        id: daemon.id.to_string(),
        spec: Some(wire::spec_to_agent(&daemon.spec)),
        running: daemon.state == DesiredState::Running,
        intent_generation: daemon.intent_generation,
        restart_generation: daemon.restart_generation,
        restart_strategy: wire::strategy_to_agent(daemon.restart_strategy).into(),
        revision: daemon.revision,
    }
}

#[cfg(test)]
mod tests;
