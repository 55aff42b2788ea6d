//! What agents ask and tell. Their writes carry the session epoch that [`Domain::claim`] gave; a newer session fences
//! off the older one's writes.

use zhylon_proto::agent::v1::{DaemonConfig, DaemonReport};
use zhylon_shared::id::{EnrollmentId, ServerId};
use zhylon_shared::redact::Secret;

use super::{Domain, Error};

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
}

impl Domain {
    /// Opens a session of a server's agent: raises the session epoch.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the server was deleted.
    pub(crate) async fn claim(
        &self,
        server: ServerId,
        agent_version: &str,
    ) -> Result<Claim, Error> {
        let _ = (server, agent_version);
        todo!("owner: api")
    }

    /// What the server should run, to be handed to its agent. Restarts whose `not_after` has passed and that the host
    /// has not acknowledged end here as EXPIRED: so call [`Domain::acknowledge`] with the revision of the agent's
    /// ledger before the first call.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the server was deleted.
    pub(crate) async fn desired(&self, server: ServerId) -> Result<DesiredSet, Error> {
        let _ = server;
        todo!("owner: api")
    }

    /// `revision` is durable on the host.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub(crate) async fn acknowledge(
        &self,
        server: ServerId,
        session_epoch: i64,
        revision: i64,
    ) -> Result<(), Error> {
        let _ = (server, session_epoch, revision);
        todo!("owner: api")
    }

    /// Stores the newest status of daemons. `full`: these are all daemons of the host.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub(crate) async fn record_status(
        &self,
        server: ServerId,
        session_epoch: i64,
        full: bool,
        reports: Vec<DaemonReport>,
    ) -> Result<(), Error> {
        let _ = (server, session_epoch, full, reports);
        todo!("owner: api")
    }

    /// The agent gave a sign of life.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub(crate) async fn seen(&self, server: ServerId, session_epoch: i64) -> Result<(), Error> {
        let _ = (server, session_epoch);
        todo!("owner: api")
    }

    /// Which of these servers have a newer revision than the one given; with it. One read for all. A server that is
    /// gone comes back with `None`.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn revisions_behind(
        &self,
        known: &[(ServerId, i64)],
    ) -> Result<Vec<(ServerId, Option<i64>)>, Error> {
        let _ = known;
        todo!("owner: api")
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
        let _ = (id, secret, key_hash);
        todo!("owner: api")
    }
}
