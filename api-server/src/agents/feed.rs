//! What of a server's desired set its agent has yet to hear. Pure: sets and answers in, updates out.
//!
//! One update is on its way at a time; what changes meanwhile goes into the next one. A delta builds only on what the
//! agent said is durable, everything else is a snapshot.

use std::collections::BTreeMap;

use zhylon_proto::agent::v1::{ConfigAck, ConfigUpdate, DaemonConfig, Hello};
use zhylon_shared::wire::set_hash;

use crate::domain::DesiredSet;

/// Hash of one daemon's configuration. The sets themselves are not kept: some agents have megabytes of them.
type Digest = Vec<u8>;

/// A set as of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    config_epoch: String,
    revision: i64,
    digests: BTreeMap<String, Digest>,
}

#[derive(Debug)]
struct Pending {
    set: Known,
    snapshot: bool,
}

/// What the agent had when it connected.
#[derive(Debug)]
struct Applied {
    config_epoch: String,
    revision: i64,
    hash: Vec<u8>,
}

/// What an answer of the agent means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// This revision is durable on the host.
    Durable(i64),
    /// The delta was refused: offer the set again, it will be a snapshot.
    OfferAgain,
    /// The snapshot was refused: the same one again would be too.
    Refused,
    /// Nothing was asked, or another revision.
    Stray,
}

/// One session's configuration feed.
#[derive(Debug)]
pub(super) struct Feed {
    applied: Option<Applied>,
    /// Durable on the host.
    base: Option<Known>,
    /// Sent and not answered.
    pending: Option<Pending>,
    /// A snapshot of this revision was refused.
    refused: Option<(String, i64)>,
}

impl Feed {
    /// For an agent that said this.
    pub(super) fn new(hello: &Hello) -> Self {
        Self {
            applied: Some(Applied {
                config_epoch: hello.config_epoch.clone(),
                revision: hello.applied_revision,
                hash: hello.applied_hash.clone(),
            }),
            base: None,
            pending: None,
            refused: None,
        }
    }

    /// Whether an update is on its way: nothing can be offered before it was answered.
    pub(super) fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// The update that brings the agent to `set`; `None` when it has it, refused it, or is not ready for it.
    pub(super) fn offer(&mut self, set: DesiredSet) -> Option<ConfigUpdate> {
        if self.is_waiting() {
            return None;
        }
        let hash = set_hash(&set.daemons);
        let known = Known {
            config_epoch: set.config_epoch,
            revision: set.revision,
            digests: set
                .daemons
                .iter()
                .map(|daemon| (daemon.id.clone(), set_hash([daemon])))
                .collect(),
        };
        if let Some(applied) = self.applied.take()
            && applied.config_epoch == known.config_epoch
            && applied.revision == known.revision
            && applied.hash == hash
        {
            self.base = Some(known);
            return None;
        }
        let at = (known.config_epoch.clone(), known.revision);
        if self.refused.as_ref() == Some(&at) {
            return None;
        }
        let base = self
            .base
            .as_ref()
            .filter(|base| base.config_epoch == known.config_epoch);
        if base == Some(&known) {
            return None;
        }
        // Same revision with other bytes must not happen; if it does, a delta of it would be refused as a conflict.
        let base = base.filter(|base| base.revision < known.revision);
        let update = ConfigUpdate {
            config_epoch: known.config_epoch.clone(),
            snapshot: base.is_none(),
            base_revision: base.map_or(0, |base| base.revision),
            target_revision: known.revision,
            hash,
            removed: base.map_or_else(Vec::new, |base| removed(base, &known)),
            daemons: match base {
                None => set.daemons,
                Some(base) => changed(base, &known, set.daemons),
            },
        };
        self.pending = Some(Pending {
            snapshot: update.snapshot,
            set: known,
        });
        Some(update)
    }

    /// The agent answered.
    pub(super) fn answer(&mut self, ack: &ConfigAck) -> Answer {
        let fits = |pending: &Pending| {
            pending.set.config_epoch == ack.config_epoch
                && (!ack.refused.is_empty() || pending.set.revision == ack.revision)
        };
        let Some(pending) = self.pending.take_if(|pending| fits(pending)) else {
            return Answer::Stray;
        };
        if ack.refused.is_empty() {
            let revision = pending.set.revision;
            self.refused = None;
            self.base = Some(pending.set);
            Answer::Durable(revision)
        } else if pending.snapshot {
            self.refused = Some((pending.set.config_epoch, pending.set.revision));
            self.base = None;
            Answer::Refused
        } else {
            self.base = None;
            Answer::OfferAgain
        }
    }
}

fn changed(base: &Known, target: &Known, daemons: Vec<DaemonConfig>) -> Vec<DaemonConfig> {
    daemons
        .into_iter()
        .filter(|daemon| base.digests.get(&daemon.id) != target.digests.get(&daemon.id))
        .collect()
}

fn removed(base: &Known, target: &Known) -> Vec<String> {
    base.digests
        .keys()
        .filter(|id| !target.digests.contains_key(*id))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
