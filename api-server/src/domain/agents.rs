//! What agents ask and tell. Their writes carry the session epoch that [`Domain::open_session`] gave; a newer session fences
//! off the older one's writes.

use std::collections::HashMap;
use std::time::SystemTime;

use prost::Message as _;
use zhylon_proto::agent::v1::{DaemonConfig, DaemonReport};
use zhylon_shared::id::{DaemonId, EnrollmentId, ServerId};
use zhylon_shared::redact::Secret;
use zhylon_shared::state::RestartStrategy;
use zhylon_shared::token;
use zhylon_shared::wire::{spec_to_agent, strategy_to_agent};

use super::{Domain, Enrollment, Error};
use crate::bus::Hint;
use crate::store::{DaemonRow, DesiredRows};

/// Largest report of one daemon. 64 instances with a message each take a fraction of it; a host that sends more is
/// refused, so that it can not fill the database.
const REPORT_MAX: usize = 64 * 1024;

/// An accepted session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Fences writes of older sessions of this server.
    pub(crate) session_epoch: i64,
    /// The epoch all counters of this server belong to.
    pub(crate) config_epoch: String,
    /// The server's current revision.
    pub(crate) revision: i64,
}

/// Everything a server should run, read in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DesiredSet {
    /// The epoch of `revision`.
    pub(crate) config_epoch: String,
    /// The server's revision.
    pub(crate) revision: i64,
    /// Its daemons, environment values in the clear.
    pub(crate) daemons: Vec<DaemonConfig>,
    /// Somebody revoked the server's identity: this is for no agent.
    pub(crate) revoked: bool,
}

impl Domain {
    /// What the server should run, to be handed to its agent. Restarts whose `not_after` has passed and that the host
    /// has not acknowledged end here as EXPIRED: so call [`Domain::acknowledge`] with the revision of the agent's
    /// ledger before the first call.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the server was deleted.
    pub(crate) async fn desired(&self, server: ServerId) -> Result<DesiredSet, Error> {
        let mut rows = self.desired_rows(server).await?;
        let now = self.clock.wall();
        let expired = rows.daemons.iter().filter(|row| expired(row, now));
        let ended: Vec<_> = expired.map(|row| row.id).collect();
        if !ended.is_empty() {
            self.store.expire_restarts(server, now).await?;
            for daemon in ended {
                self.bus
                    .hints()
                    .tell(Hint::DaemonChanged { server, daemon });
            }
            rows = self.desired_rows(server).await?;
        }
        let daemons = rows.daemons.iter().map(|row| self.config(row));
        Ok(DesiredSet {
            daemons: daemons.collect::<Result<_, _>>()?,
            config_epoch: rows.server.config_epoch,
            revision: rows.server.revision,
            revoked: rows.server.revoke_time.is_some(),
        })
    }

    /// `revision` is durable on the host. One that the server never had is not believed.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub(crate) async fn acknowledge(
        &self,
        server: ServerId,
        session_epoch: i64,
        revision: i64,
    ) -> Result<(), Error> {
        let now = self.clock.wall();
        let write = self.store.acknowledge(server, session_epoch, revision, now);
        Ok(write.await?)
    }

    /// Stores the newest status of daemons. `full`: these are all daemons of the host.
    ///
    /// # Errors
    /// [`Error::Fenced`]; [`Error::Invalid`] when a report is too long, and then nothing is stored.
    pub(crate) async fn record_status(
        &self,
        server: ServerId,
        session_epoch: i64,
        full: bool,
        reports: Vec<DaemonReport>,
    ) -> Result<(), Error> {
        let mut encoded = Vec::with_capacity(reports.len());
        for report in reports {
            // What is no id is no daemon of ours.
            let Ok(id) = report.id.parse::<DaemonId>() else {
                continue;
            };
            let bytes = report.encode_to_vec();
            if bytes.len() > REPORT_MAX {
                let text = format!("{id}: at most {REPORT_MAX} bytes, has {}", bytes.len());
                return Err(Error::field("status.daemons", "TOO_LONG", text));
            }
            encoded.push((id, report.gone, bytes));
        }
        let now = self.clock.wall();
        let changed = self
            .store
            .record_status(server, session_epoch, full, &encoded, now)
            .await?;
        for daemon in changed {
            self.bus
                .hints()
                .tell(Hint::DaemonChanged { server, daemon });
        }
        Ok(())
    }

    /// The agent gave a sign of life.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub(crate) async fn seen(&self, server: ServerId, session_epoch: i64) -> Result<(), Error> {
        let now = self.clock.wall();
        Ok(self.store.seen(server, session_epoch, now).await?)
    }

    /// Which of these servers have another revision than the one given; with it. One read for all. A server that is
    /// gone, or whose identity is revoked, comes back with `None`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn revisions_behind(
        &self,
        known: &[(ServerId, i64)],
    ) -> Result<Vec<(ServerId, Option<i64>)>, Error> {
        let ids: Vec<_> = known.iter().map(|(server, _)| *server).collect();
        let current: HashMap<_, _> = self
            .store
            .revisions(&ids)
            .await?
            .into_iter()
            .map(|row| (row.id, row.revision))
            .collect();
        let behind = known.iter().filter_map(|(server, known)| {
            let current = current.get(server).copied();
            (current != Some(*known)).then_some((*server, current))
        });
        Ok(behind.collect())
    }

    /// Uses an enrolment token up for the public key with this SHA-256. The same key again, while the token lives, is
    /// answered again: the first answer may have been lost.
    ///
    /// # Errors
    /// [`Error::Enrollment`].
    pub(crate) async fn redeem_enrollment(
        &self,
        id: EnrollmentId,
        secret: &Secret,
        key_hash: [u8; 32],
    ) -> Result<ServerId, Error> {
        let row = self.store.enrollment(id).await?;
        // An unknown token takes the same comparison as a known one, and gets the same answer as a wrong secret.
        let stored = row
            .as_ref()
            .map_or([0; 32].as_slice(), |row| &row.secret_hash);
        let genuine = token::verify(secret, stored);
        let Some(row) = row.filter(|_| genuine) else {
            return Err(Error::Enrollment(Enrollment::Unknown));
        };
        let now = self.clock.wall();
        if row.expire_time <= now {
            return Err(Error::Enrollment(Enrollment::Expired));
        }
        if self.store.use_enrollment(id, &key_hash, now).await? {
            Ok(row.server_id)
        } else {
            Err(Error::Enrollment(Enrollment::Used))
        }
    }

    async fn desired_rows(&self, server: ServerId) -> Result<DesiredRows, Error> {
        let rows = self.store.desired(server).await?;
        rows.ok_or(Error::NotFound("server"))
    }

    fn config(&self, row: &DaemonRow) -> Result<DaemonConfig, Error> {
        Ok(DaemonConfig {
            id: row.id.to_string(),
            spec: Some(spec_to_agent(&self.load_spec(row)?)),
            running: row.desired_running,
            intent_generation: row.intent_generation,
            restart_generation: row.host_restart_generation,
            restart_strategy: strategy_to_agent(strategy(row)).into(),
            revision: row.changed_revision,
        })
    }
}

fn strategy(row: &DaemonRow) -> RestartStrategy {
    match row.restart_rolling {
        true => RestartStrategy::Rolling,
        false => RestartStrategy::AllAtOnce,
    }
}

/// Whether its newest restart ends here: the host does not have it, and its time is over.
fn expired(row: &DaemonRow, now: SystemTime) -> bool {
    row.host_restart_generation == row.restart_generation
        && row.restart_revision > row.acked_revision
        && row.restart_not_after.is_some_and(|end| end < now)
}
