//! The first rows of an empty database.

use std::time::SystemTime;

use zhylon_shared::id::{TeamId, TokenId, UserId};
use zhylon_shared::token::SecretHash;

use super::{Error, Store, millis, transact};

/// A first user and its token.
#[derive(Debug, Clone)]
pub(crate) struct FirstToken {
    /// The user.
    pub(crate) user: UserId,
    /// Its name.
    pub(crate) name: String,
    /// The token.
    pub(crate) token: TokenId,
    /// SHA-256 of its secret.
    pub(crate) secret_hash: SecretHash,
}

/// The operator, the first owner and its team.
#[derive(Debug, Clone)]
pub(crate) struct FirstRows {
    /// The platform operator.
    pub(crate) operator: FirstToken,
    /// The first user.
    pub(crate) owner: FirstToken,
    /// That user's team.
    pub(crate) team: TeamId,
    /// The team's name.
    pub(crate) team_name: String,
    /// When.
    pub(crate) now: SystemTime,
}

impl Store {
    /// Stores them, all or nothing. Needs no grant: it is refused as soon as there is an operator who could give one.
    ///
    /// # Errors
    /// [`Error::Taken`] when there is an operator.
    pub(crate) async fn bootstrap(&self, first: &FirstRows) -> Result<(), Error> {
        let now = millis(first.now);
        transact!(self, conn => {
            for (person, operator) in [(&first.operator, true), (&first.owner, false)] {
                sqlx::query("INSERT INTO users (id, name, operator, create_time) VALUES ($1, $2, $3, $4)")
                    .bind(person.user.to_string())
                    .bind(&person.name)
                    .bind(operator)
                    .bind(now)
                    .execute(&mut *conn)
                    .await?;
                sqlx::query(
                    "INSERT INTO tokens (id, user_id, name, secret_hash, create_time) \
                     VALUES ($1, $2, 'bootstrap', $3, $4)",
                )
                .bind(person.token.to_string())
                .bind(person.user.to_string())
                .bind(person.secret_hash.0.as_slice())
                .bind(now)
                .execute(&mut *conn)
                .await?;
            }
            sqlx::query("INSERT INTO teams (id, name, owner_user_id, create_time) VALUES ($1, $2, $3, $4)")
                .bind(first.team.to_string())
                .bind(&first.team_name)
                .bind(first.owner.user.to_string())
                .bind(now)
                .execute(&mut *conn)
                .await?;
            sqlx::query("INSERT INTO members (team_id, user_id, permissions, create_time) VALUES ($1, $2, '', $3)")
                .bind(first.team.to_string())
                .bind(first.owner.user.to_string())
                .bind(now)
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }
}
