//! Whose certificates are good: a server's newest key, the one before it until the newest is proven, and revocation.

use std::time::SystemTime;

use zhylon_shared::id::ServerId;

use super::agent::SessionRow;
use super::row::row;
use super::server::select_servers;
use super::{Error, ServerRow, Store, millis, read, transact};
use crate::access::TeamGrant;

/// SHA-256 of a certificate's public key (SubjectPublicKeyInfo, DER): what an identity is known by.
pub(crate) type KeyHash = [u8; 32];

row! {
    /// Which keys of a server are good.
    #[derive(Debug, Clone)]
    pub(crate) struct IdentityRow {
        /// Somebody has shown a certificate of the newest key.
        pub(crate) key_proven: bool,
        /// The key before it.
        pub(crate) previous_key_hash: Option<Vec<u8>>,
        /// Since when no key is good.
        pub(crate) revoke_time: Option<SystemTime>,
    }
}

/// The keys of `$k` that are good, in SQL: the newest; the one before while the newest is not proven; and where none is
/// known (an agent of before there was such a column) whatever our authority signed.
macro_rules! good {
    ($k:literal) => {
        concat!(
            "revoke_time IS NULL AND (key_hash IS NULL OR key_hash = ",
            $k,
            " OR (NOT key_proven AND previous_key_hash = ",
            $k,
            "))"
        )
    };
}

/// Makes `$k` the newest key of a server; the last proven one stays good until `$k` is proven too. Harmless when repeated.
macro_rules! set_key {
    ($k:literal) => {
        concat!(
            "identity_generation = CASE WHEN key_hash = ",
            $k,
            " THEN identity_generation ELSE identity_generation + 1 END, \
             previous_key_hash = CASE WHEN key_hash = ",
            $k,
            " OR NOT key_proven THEN previous_key_hash ELSE key_hash END, \
             key_proven = CASE WHEN key_hash = ",
            $k,
            " THEN key_proven ELSE FALSE END, key_hash = ",
            $k
        )
    };
}
pub(super) use set_key;

impl Store {
    /// Which keys of a server are good. `None`: it was deleted.
    pub(crate) async fn identity(&self, server: ServerId) -> Result<Option<IdentityRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(
                "SELECT key_proven, previous_key_hash, revoke_time FROM servers WHERE id = $1",
            )
            .bind(server.to_string())
            .fetch_optional(&mut *conn)
            .await?
        }))
    }

    /// Opens a session with a good key: raises the session epoch. The newest key is proven by it, and the one before is
    /// good no more. `None`: the key is not good, or the server was deleted.
    pub(crate) async fn claim(
        &self,
        server: ServerId,
        key: &KeyHash,
        agent_version: &str,
        now: SystemTime,
    ) -> Result<Option<SessionRow>, Error> {
        Ok(transact!(self, conn => {
            sqlx::query_as(concat!(
                "UPDATE servers SET session_epoch = session_epoch + 1, agent_version = $3, last_seen_time = $4, \
                 key_proven = CASE WHEN COALESCE(key_hash, $2) = $2 THEN TRUE ELSE key_proven END, \
                 previous_key_hash = CASE WHEN key_hash = $2 THEN NULL ELSE previous_key_hash END, \
                 key_hash = COALESCE(key_hash, $2) WHERE id = $1 AND ",
                good!("$2"),
                " RETURNING session_epoch, config_epoch, revision"
            ))
            .bind(server.to_string())
            .bind(key.as_slice())
            .bind(agent_version)
            .bind(millis(now))
            .fetch_optional(&mut *conn)
            .await?
        }))
    }

    /// No key of a server of the grant's team is good any more, and no enrolment token. The first time counts.
    ///
    /// # Errors
    /// [`Error::Gone`] when the team has no such server.
    pub(crate) async fn revoke_identity(
        &self,
        grant: &TeamGrant,
        server: ServerId,
        now: SystemTime,
    ) -> Result<ServerRow, Error> {
        Ok(transact!(self, conn => {
            sqlx::query(
                "UPDATE servers SET revoke_time = COALESCE(revoke_time, $3), key_hash = NULL, key_proven = FALSE, \
                 previous_key_hash = NULL WHERE id = $1 AND team_id = $2 RETURNING id",
            )
            .bind(server.to_string())
            .bind(grant.team().to_string())
            .bind(millis(now))
            .fetch_one(&mut *conn)
            .await?;
            sqlx::query("DELETE FROM enrollment_tokens WHERE server_id = $1")
                .bind(server.to_string())
                .execute(&mut *conn)
                .await?;
            sqlx::query_as(select_servers!("WHERE id = $1"))
                .bind(server.to_string())
                .fetch_one(&mut *conn)
                .await?
        }))
    }

    /// The newest key is shown: from now on it alone is good. `false`: it is not the newest one, or not good.
    pub(crate) async fn prove_key(&self, server: ServerId, key: &KeyHash) -> Result<bool, Error> {
        let proven = transact!(self, conn => {
            sqlx::query(
                "UPDATE servers SET key_proven = TRUE, previous_key_hash = NULL, key_hash = $2 \
                 WHERE id = $1 AND revoke_time IS NULL AND COALESCE(key_hash, $2) = $2",
            )
            .bind(server.to_string())
            .bind(key.as_slice())
            .execute(&mut *conn)
            .await?
            .rows_affected()
        });
        Ok(proven == 1)
    }

    /// `new` becomes the newest key, at the wish of who shows the good key `shown`. The same again changes nothing.
    /// `false`: `shown` is not good.
    pub(crate) async fn renew_key(
        &self,
        server: ServerId,
        shown: &KeyHash,
        new: &KeyHash,
    ) -> Result<bool, Error> {
        let renewed = transact!(self, conn => {
            // An agent of before there was such a column shows the only key there is.
            sqlx::query("UPDATE servers SET key_hash = $2, key_proven = TRUE WHERE id = $1 AND key_hash IS NULL AND revoke_time IS NULL")
                .bind(server.to_string())
                .bind(shown.as_slice())
                .execute(&mut *conn)
                .await?;
            sqlx::query(concat!(
                // Whoever shows the newest key holds it: that proves it as well.
                "UPDATE servers SET identity_generation = CASE WHEN key_hash = $3 THEN identity_generation \
                 ELSE identity_generation + 1 END, key_hash = $3, key_proven = FALSE, previous_key_hash = $2 \
                 WHERE id = $1 AND ",
                good!("$2")
            ))
            .bind(server.to_string())
            .bind(shown.as_slice())
            .bind(new.as_slice())
            .execute(&mut *conn)
            .await?
            .rows_affected()
        });
        Ok(renewed == 1)
    }
}

#[cfg(test)]
impl Store {
    /// The newest key, where one is known.
    pub(crate) async fn newest_key(&self, server: ServerId) -> Result<Option<Vec<u8>>, Error> {
        let key: Option<Option<Vec<u8>>> = read!(self, conn => {
            sqlx::query_scalar("SELECT key_hash FROM servers WHERE id = $1")
                .bind(server.to_string())
                .fetch_optional(&mut *conn)
                .await?
        });
        Ok(key.flatten())
    }
}
