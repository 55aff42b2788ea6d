//! What can go wrong in the database, by what the caller can do about it.

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another api-server serves this file.
    #[error(
        "{path} is in use by another api-server (it holds the lock {path}.lock): stop that one first, or use another file"
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
    /// The write belongs to a session that was followed by a newer one.
    #[error("a newer session took over")]
    Fenced,
    /// A unique name is taken.
    #[error("taken")]
    Taken,
    /// Anything else.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
}
