//! The SQLite file: its lock, its modes, one connection that writes and a few that read.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{Error, dialect};

/// Connections that read. Reads take microseconds; more of these than cores only use memory. When all are busy a call
/// waits for one, at most [`PATIENCE`].
const READERS: u32 = 4;
/// How long a call waits for a connection or a lock before it is refused as busy: shorter than people's patience,
/// longer than any transaction of ours.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open file.
#[derive(Debug, Clone)]
pub(super) struct Sqlite {
    /// One connection: SQLite has one writer, and waiting in our own queue is fair.
    pub(super) writer: SqlitePool,
    /// Can not write.
    pub(super) readers: SqlitePool,
    // Held as long as anyone holds the store.
    _lock: Arc<File>,
}

impl Sqlite {
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        let lock = lock(path)?;
        create(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(PATIENCE)
            .connect_with(options.clone())
            .await
            .map_err(|error| refuse(path, &error))?;
        dialect::SQLITE
            .migrator()
            .run(&writer)
            .await
            .map_err(|error| refuse(path, &error))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(PATIENCE)
            .connect_with(options.read_only(true))
            .await
            .map_err(|error| refuse(path, &error))?;
        Ok(Self {
            writer,
            readers,
            _lock: Arc::new(lock),
        })
    }
}

/// Two api-servers on one file would each believe their own presence and hints; SQLite alone would let them.
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(|error| refuse(&name, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse {
            path: path.display().to_string(),
        }),
        Err(error) => Err(refuse(&name, &error)),
    }
}

/// SQLite makes its `-wal` and `-shm` files with the mode of the main one, so that one is made first, by us.
fn create(path: &Path) -> Result<(), Error> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| refuse(path, &error))?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
        .map_err(|error| refuse(path, &error))
}

fn refuse(path: &Path, reason: &dyn std::fmt::Display) -> Error {
    Error::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}
