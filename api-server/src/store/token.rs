//! API tokens: only their hashes.

use std::time::SystemTime;

use zhylon_shared::id::{TokenId, UserId};
use zhylon_shared::token::SecretHash;

use super::row::row;
use super::{Error, Position, Store, millis, read, transact};
use crate::access::SelfGrant;

row! {
    /// A token, and what its user is.
    #[derive(Debug, Clone)]
    pub(crate) struct TokenRow {
        /// Its id.
        pub(crate) id: TokenId,
        /// Whom it acts as.
        pub(crate) user_id: UserId,
        /// Whether that is the platform operator.
        pub(crate) operator: bool,
        /// A label.
        pub(crate) name: String,
        /// SHA-256 of its secret.
        pub(crate) secret_hash: Vec<u8>,
        /// When it was created.
        pub(crate) create_time: SystemTime,
        /// When it ends.
        pub(crate) expire_time: Option<SystemTime>,
        /// When it was last used, to the minute.
        pub(crate) last_used_time: Option<SystemTime>,
        /// When it was revoked.
        pub(crate) revoke_time: Option<SystemTime>,
    }
}

/// A token to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewToken {
    /// Its id.
    pub(crate) id: TokenId,
    /// A label.
    pub(crate) name: String,
    /// SHA-256 of its secret.
    pub(crate) secret_hash: SecretHash,
    /// When.
    pub(crate) create_time: SystemTime,
    /// When it ends.
    pub(crate) expire_time: Option<SystemTime>,
}

macro_rules! select_tokens {
    ($tail:literal) => {
        concat!(
            "SELECT t.id, t.user_id, u.operator, t.name, t.secret_hash, t.create_time, t.expire_time, \
             t.last_used_time, t.revoke_time FROM tokens t JOIN users u ON u.id = t.user_id ",
            $tail
        )
    };
}

impl Store {
    /// Stores a token of the grant's user.
    pub(crate) async fn create_token(
        &self,
        grant: &SelfGrant,
        token: &NewToken,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            sqlx::query(
                "INSERT INTO tokens (id, user_id, name, secret_hash, create_time, expire_time) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(token.id.to_string())
            .bind(grant.user().to_string())
            .bind(&token.name)
            .bind(token.secret_hash.0.as_slice())
            .bind(millis(token.create_time))
            .bind(token.expire_time.map(millis))
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// A token, revoked or not.
    pub(crate) async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(select_tokens!("WHERE t.id = $1"))
                .bind(id.to_string())
                .fetch_optional(&mut *conn)
                .await?
        }))
    }

    /// A user's tokens that were not revoked, oldest first.
    pub(crate) async fn tokens(
        &self,
        user: UserId,
        after: &Position,
        limit: i64,
    ) -> Result<Vec<TokenRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(select_tokens!(
                "WHERE t.user_id = $1 AND t.revoke_time IS NULL AND (t.create_time, t.id) > ($2, $3) \
                 ORDER BY t.create_time, t.id LIMIT $4"
            ))
            .bind(user.to_string())
            .bind(after.time)
            .bind(&after.id)
            .bind(limit)
            .fetch_all(&mut *conn)
            .await?
        }))
    }

    /// Revokes a token of the grant's user; one that is revoked stays so.
    pub(crate) async fn revoke_token(
        &self,
        grant: &SelfGrant,
        id: TokenId,
        now: SystemTime,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            sqlx::query(
                "UPDATE tokens SET revoke_time = $3 \
                 WHERE id = $1 AND user_id = $2 AND revoke_time IS NULL",
            )
            .bind(id.to_string())
            .bind(grant.user().to_string())
            .bind(millis(now))
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// Notes that a token was used, if the last note is from before `earlier`.
    pub(crate) async fn touch_token(
        &self,
        id: TokenId,
        now: SystemTime,
        earlier: SystemTime,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            sqlx::query(
                "UPDATE tokens SET last_used_time = $2 \
                 WHERE id = $1 AND (last_used_time IS NULL OR last_used_time <= $3)",
            )
            .bind(id.to_string())
            .bind(millis(now))
            .bind(millis(earlier))
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }
}
