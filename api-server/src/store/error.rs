//! What can go wrong in the database, by what the caller can do about it.

/// SQLite's primary result codes for "someone else writes" and "this table is locked".
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another api-server serves this file.
    #[error(
        "{path} is in use by another api-server (it holds {path}.lock): stop that one first, or use another file"
    )]
    InUse {
        /// The database file.
        path: String,
    },
    /// The file can not be used.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The database did not answer in time.
    #[error("the database is busy")]
    Busy,
    /// The write belongs to a session that was followed by a newer one, or to a deleted server.
    #[error("a newer session took over, or the server was deleted")]
    Fenced,
    /// A unique name is taken.
    #[error("the name is taken")]
    Taken,
    /// What should be changed is not there.
    #[error("the row is gone")]
    Gone,
    /// No room: as many rows as are allowed.
    #[error("no more than {0} rows are allowed")]
    Full(i64),
    /// Anything else.
    #[error("database: {0}")]
    Sql(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::RowNotFound => Self::Gone,
            sqlx::Error::Database(database) if database.is_unique_violation() => Self::Taken,
            sqlx::Error::Database(database) if is_busy(database.code().as_deref()) => Self::Busy,
            _ => Self::Sql(error),
        }
    }
}

// The low byte of an extended code is the primary one.
fn is_busy(code: Option<&str>) -> bool {
    code.and_then(|code| code.parse::<i32>().ok())
        .is_some_and(|code| matches!(code & 0xff, SQLITE_BUSY | SQLITE_LOCKED))
}
