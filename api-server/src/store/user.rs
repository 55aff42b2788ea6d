//! Users.

use std::time::SystemTime;

use zhylon_shared::id::UserId;

use super::row::row;
use super::{Error, Store, millis, read, transact};
use crate::access::PlatformGrant;

row! {
    /// A user.
    #[derive(Debug, Clone)]
    pub(crate) struct UserRow {
        /// Its id.
        pub(crate) id: UserId,
        /// Display name.
        pub(crate) name: String,
        /// Whether it is the platform operator.
        pub(crate) operator: bool,
        /// When it was created.
        pub(crate) create_time: SystemTime,
    }
}

/// A user to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewUser {
    /// Its id.
    pub(crate) id: UserId,
    /// Display name.
    pub(crate) name: String,
    /// When.
    pub(crate) create_time: SystemTime,
}

impl Store {
    /// Stores a user.
    pub(crate) async fn create_user(&self, _: &PlatformGrant, user: &NewUser) -> Result<(), Error> {
        transact!(self, conn => {
            sqlx::query("INSERT INTO users (id, name, operator, create_time) VALUES ($1, $2, $3, $4)")
                .bind(user.id.to_string())
                .bind(&user.name)
                .bind(false)
                .bind(millis(user.create_time))
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// A user.
    pub(crate) async fn user(&self, id: UserId) -> Result<Option<UserRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as("SELECT id, name, operator, create_time FROM users WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&mut *conn)
                .await?
        }))
    }
}
