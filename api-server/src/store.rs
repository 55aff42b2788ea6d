//! Floor 2: the database. The only room that speaks SQL. Every public function is one statement or one transaction, so
//! nothing is ever half written; what a server should run changes only together with its revision.
//!
//! One SQL text with `$n` placeholders serves every database: a body inside [`read!`] or [`transact!`] is compiled once
//! for each arm of [`Db`], with that database's own types.

mod agent;
mod daemon;
mod dialect;
mod enrollment;
mod error;
mod event;
mod identity;
mod row;
mod server;
mod setup;
mod sqlite;
mod team;
mod token;
mod user;

#[cfg(test)]
mod conformance;

pub(crate) use agent::DesiredRows;
pub(crate) use daemon::{DaemonChange, DaemonRow, DaemonVersion, NewDaemon, NewRestart, Scope};
pub(crate) use enrollment::NewEnrollment;
pub(crate) use error::StoreError as Error;
pub(crate) use event::{EventRow, HostEvent, NewEvent};
pub(crate) use identity::{IdentityRow, KeyHash};
pub(crate) use server::{Deletion, NewServer, ServerRow};
pub(crate) use setup::{FirstRows, FirstToken};
pub(crate) use team::{MemberRow, NewTeam, TeamRow};
pub(crate) use token::{NewToken, TokenRow};
pub(crate) use user::{NewUser, UserRow};

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    db: Db,
}

/// One arm per kind of database.
#[derive(Debug, Clone)]
enum Db {
    Sqlite(sqlite::Sqlite),
}

/// Runs `$body` on a connection for reading, in one transaction: what it reads belongs together.
macro_rules! read {
    ($store:expr, $conn:ident => $body:expr) => {
        match &$store.db {
            $crate::store::Db::Sqlite(db) => {
                let mut transaction = db.readers.begin().await?;
                let $conn = &mut *transaction;
                let out = $body;
                transaction.commit().await?;
                out
            }
        }
    };
}

/// Runs `$body` as one transaction that writes; `?` inside it takes everything back.
macro_rules! transact {
    ($store:expr, $conn:ident => $body:expr) => {
        match &$store.db {
            $crate::store::Db::Sqlite(db) => {
                // A transaction that begins by reading could not be upgraded while another one writes.
                let mut transaction = db.writer.begin_with("BEGIN IMMEDIATE").await?;
                let $conn = &mut *transaction;
                let out = $body;
                transaction.commit().await?;
                out
            }
        }
    };
}

pub(crate) use {read, transact};

impl Store {
    /// Opens (and creates or migrates) an SQLite file. The file and its lock are readable by their owner only.
    ///
    /// # Errors
    /// When another api-server has it open, the file can not be used, or is from a newer version.
    pub(crate) async fn open_sqlite(path: &Path) -> Result<Self, Error> {
        let db = Db::Sqlite(sqlite::Sqlite::open(path).await?);
        Ok(Self { db })
    }
}

/// Where a page begins: after this time and id. The default is the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// Creation time, Unix milliseconds.
    pub(crate) time: i64,
    /// Id.
    pub(crate) id: String,
}

impl Default for Position {
    fn default() -> Self {
        Self {
            time: i64::MIN,
            id: String::new(),
        }
    }
}

/// A time as it is stored. Times before 1970 can not be meant; they become 0.
#[must_use]
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A stored time.
#[must_use]
pub(crate) fn from_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
