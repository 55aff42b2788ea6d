//! Enrolment tokens: only their hashes.

use std::time::SystemTime;

use zhylon_shared::id::{EnrollmentId, ServerId};
use zhylon_shared::token::SecretHash;

use super::identity::{KeyHash, set_key};
use super::row::row;
use super::{Error, Store, millis, read, transact};
use crate::access::TeamGrant;

row! {
    /// An enrolment token.
    #[derive(Debug, Clone)]
    pub(crate) struct EnrollmentRow {
        /// The server it is for.
        pub(crate) server_id: ServerId,
        /// SHA-256 of its secret.
        pub(crate) secret_hash: Vec<u8>,
        /// When it ends.
        pub(crate) expire_time: SystemTime,
    }
}

/// An enrolment token to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewEnrollment {
    /// Its id.
    pub(crate) id: EnrollmentId,
    /// The server it is for.
    pub(crate) server_id: ServerId,
    /// SHA-256 of its secret.
    pub(crate) secret_hash: SecretHash,
    /// When.
    pub(crate) create_time: SystemTime,
    /// When it ends.
    pub(crate) expire_time: SystemTime,
}

impl Store {
    /// Stores an enrolment token for a server of the grant's team, and drops that server's expired ones.
    ///
    /// # Errors
    /// [`Error::Gone`] when the team has no such server.
    pub(crate) async fn create_enrollment(
        &self,
        grant: &TeamGrant,
        token: &NewEnrollment,
    ) -> Result<(), Error> {
        let stored = transact!(self, conn => {
            sqlx::query("DELETE FROM enrollment_tokens WHERE server_id = $1 AND expire_time <= $2")
                .bind(token.server_id.to_string())
                .bind(millis(token.create_time) - KEEP_EXPIRED_MS)
                .execute(&mut *conn)
                .await?;
            sqlx::query(
                "INSERT INTO enrollment_tokens (id, server_id, secret_hash, create_time, expire_time) \
                 SELECT $1, id, $3, $4, $5 FROM servers WHERE id = $2 AND team_id = $6",
            )
            .bind(token.id.to_string())
            .bind(token.server_id.to_string())
            .bind(token.secret_hash.0.as_slice())
            .bind(millis(token.create_time))
            .bind(millis(token.expire_time))
            .bind(grant.team().to_string())
            .execute(&mut *conn)
            .await?
            .rows_affected()
        });
        if stored == 0 {
            Err(Error::Gone)
        } else {
            Ok(())
        }
    }

    /// An enrolment token.
    pub(crate) async fn enrollment(
        &self,
        id: EnrollmentId,
    ) -> Result<Option<EnrollmentRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as("SELECT server_id, secret_hash, expire_time FROM enrollment_tokens WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&mut *conn)
                .await?
        }))
    }

    /// Uses a token up for a key: one conditional UPDATE, so of two at once one loses. The key is its server's newest one
    /// from then on, and ends a revocation. `false`: another key has the token.
    pub(crate) async fn use_enrollment(
        &self,
        id: EnrollmentId,
        key_hash: &KeyHash,
        now: SystemTime,
    ) -> Result<bool, Error> {
        let used = transact!(self, conn => {
            let server: Option<String> = sqlx::query_scalar(
                "UPDATE enrollment_tokens SET key_hash = $2 \
                 WHERE id = $1 AND expire_time > $3 AND (key_hash IS NULL OR key_hash = $2) RETURNING server_id",
            )
            .bind(id.to_string())
            .bind(key_hash.as_slice())
            .bind(millis(now))
            .fetch_optional(&mut *conn)
            .await?;
            if let Some(server) = &server {
                sqlx::query(concat!("UPDATE servers SET revoke_time = NULL, ", set_key!("$2"), " WHERE id = $1"))
                    .bind(server)
                    .bind(key_hash.as_slice())
                    .execute(&mut *conn)
                    .await?;
            }
            server.is_some()
        });
        Ok(used)
    }
}

/// How long an expired token is kept, so that who comes too late hears "expired" and not "unknown".
const KEEP_EXPIRED_MS: i64 = 7 * 24 * 3600 * 1000;
