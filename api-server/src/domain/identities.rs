//! Whose certificates are good: the agent's side of a server's identity. Dates are not judged here, they need no database.

use zhylon_shared::id::ServerId;

use super::agents::Claim;
use super::{Domain, Error};
use crate::store::{IdentityRow, KeyHash};

/// What a certificate of our own authority gets its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing<T> {
    /// It is good.
    Good(T),
    /// Somebody revoked the server's identity.
    Revoked,
    /// A newer certificate of the server is in use, or another one was enrolled since.
    Superseded,
}

/// What a request for a certificate comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// A certificate for the new key is to be signed.
    Sign,
    /// The certificate that was shown works; the one before it is good no more.
    Proven,
}

/// Characters of an agent's version that are kept: it is for people, and comes from outside.
const VERSION_MAX: usize = 64;

impl Domain {
    /// Opens a session of a server's agent that shows a certificate of this key: raises the session epoch.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the server was deleted.
    pub(crate) async fn open_session(
        &self,
        server: ServerId,
        key: &KeyHash,
        agent_version: &str,
    ) -> Result<Standing<Claim>, Error> {
        let version: String = agent_version.chars().take(VERSION_MAX).collect();
        let now = self.clock.wall();
        match self.store.claim(server, key, &version, now).await? {
            Some(session) => Ok(Standing::Good(Claim {
                session_epoch: session.session_epoch,
                config_epoch: session.config_epoch,
                revision: session.revision,
            })),
            None => self.refusal(server).await,
        }
    }

    /// Notes that `new` is the newest key of a server, at the wish of who shows `shown`; or, when they are one, that its
    /// certificate works. The same again gives the same.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the server was deleted; [`Error::Invalid`] for the key of an older certificate.
    pub(crate) async fn renew_identity(
        &self,
        server: ServerId,
        shown: &KeyHash,
        new: &KeyHash,
    ) -> Result<Standing<Renewal>, Error> {
        if shown == new {
            if self.store.prove_key(server, new).await? {
                return Ok(Standing::Good(Renewal::Proven));
            }
            let row = self.store.identity(server).await?;
            if row.is_some_and(|row| is_previous(&row, shown)) {
                let rule = "must be of a new key: this one's time is over";
                return Err(Error::field("certificate_request", "NEW_KEY", rule));
            }
        } else if self.store.renew_key(server, shown, new).await? {
            return Ok(Standing::Good(Renewal::Sign));
        }
        self.refusal(server).await
    }

    /// Whether a server that has a session may still have one. Which key opened it is not asked: a newer one ends it by a
    /// session of its own.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the server was deleted.
    pub(crate) async fn standing(&self, server: ServerId) -> Result<Standing<()>, Error> {
        let row = self.store.identity(server).await?;
        Ok(match row.ok_or(Error::NotFound("server"))?.revoke_time {
            Some(_) => Standing::Revoked,
            None => Standing::Good(()),
        })
    }

    /// Why a key of this server is not good.
    async fn refusal<T>(&self, server: ServerId) -> Result<Standing<T>, Error> {
        let row = self.store.identity(server).await?;
        Ok(match row.ok_or(Error::NotFound("server"))?.revoke_time {
            Some(_) => Standing::Revoked,
            None => Standing::Superseded,
        })
    }
}

/// Whether it is the key before the newest, and still good.
fn is_previous(row: &IdentityRow, key: &KeyHash) -> bool {
    row.revoke_time.is_none()
        && !row.key_proven
        && row.previous_key_hash.as_deref() == Some(key.as_slice())
}

#[cfg(test)]
impl Domain {
    /// A revocation whose hint is lost.
    pub(crate) async fn revoke_silently(
        &self,
        owner: &zhylon_shared::redact::Secret,
        server: ServerId,
    ) {
        let method = "zhylon.daemons.v1.ServerService/RevokeServerIdentity";
        let authorization = format!("Bearer {}", owner.expose());
        let shown = super::Shown {
            authorization: Some(&authorization),
            on_behalf_of: None,
        };
        let rule = crate::access::rule(method).unwrap();
        let ctx = self.authenticate(shown, rule).await.unwrap();
        let (row, grant) = self.enter_server(&ctx, &server.to_string()).await.unwrap();
        let now = self.clock.wall();
        self.store
            .revoke_identity(&grant, row.id, now)
            .await
            .unwrap();
    }

    /// A session of whoever is the server's agent now.
    pub(crate) async fn claim(&self, server: ServerId, version: &str) -> Result<Claim, Error> {
        let key = self.store.newest_key(server).await?;
        let key = key.map_or([0; 32], |key| key.try_into().unwrap());
        match self.open_session(server, &key, version).await? {
            Standing::Good(claim) => Ok(claim),
            other => panic!("{other:?}"),
        }
    }
}
