//! Writes to daemons.

use std::time::SystemTime;

use zhylon_shared::id::{DaemonId, ServerId};

use super::{DaemonRow, select_daemons};
use crate::access::TeamGrant;
use crate::store::event::{Insert, record_event, shorten_events};
use crate::store::{Error, NewEvent, Store, millis, transact};

/// Everything of a daemon that its team may change.
#[derive(Debug, Clone)]
pub(crate) struct DaemonChange {
    /// The label.
    pub(crate) name: Option<String>,
    /// JSON, without the environment.
    pub(crate) spec: String,
    /// Sealed; empty where there is none.
    pub(crate) environment: Vec<u8>,
    /// JSON list.
    pub(crate) environment_names: String,
    /// Whether it should run.
    pub(crate) desired_running: bool,
    /// Raised by every Start, Stop and Restart.
    pub(crate) intent_generation: i64,
    /// A new restart. It gets the next restart generation.
    pub(crate) restart: Option<NewRestart>,
    /// Tells of this change.
    pub(crate) event: NewEvent,
}

/// A restart to be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewRestart {
    /// When it expires.
    pub(crate) not_after: SystemTime,
    /// Whether it goes from instance to instance.
    pub(crate) rolling: bool,
}

/// A daemon to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewDaemon {
    /// Its id.
    pub(crate) id: DaemonId,
    /// Its server.
    pub(crate) server_id: ServerId,
    /// What its team wants.
    pub(crate) change: DaemonChange,
    /// When.
    pub(crate) now: SystemTime,
    /// How many daemons the server may have. As many again may be stopping after they were deleted, so that creating
    /// and deleting on a server that is away does not fill the database.
    pub(crate) quota: i64,
    /// Checks everything the transaction checks, and takes it back.
    pub(crate) validate_only: bool,
}

/// Raises a server's revision; gives the new one. No row: the team has no such server.
macro_rules! raise_revision {
    ($conn:expr, $server:expr, $team:expr) => {
        sqlx::query_scalar::<_, i64>(
            "UPDATE servers SET revision = revision + 1 WHERE id = $1 AND team_id = $2 RETURNING revision",
        )
        .bind($server.to_string())
        .bind($team.to_string())
        .fetch_one(&mut *$conn)
        .await?
    };
}

/// Reads a daemon again inside a transaction.
macro_rules! read_one {
    ($conn:expr, $id:expr) => {
        sqlx::query_as(select_daemons!("d.id = $1"))
            .bind($id.to_string())
            .fetch_one(&mut *$conn)
            .await?
    };
}

impl Store {
    /// Stores a daemon on a server of the grant's team.
    ///
    /// # Errors
    /// [`Error::Gone`] without such a server, [`Error::Taken`] when it has a daemon of this name, [`Error::Full`].
    pub(crate) async fn create_daemon(
        &self,
        grant: &TeamGrant,
        new: &NewDaemon,
    ) -> Result<DaemonRow, Error> {
        let change = &new.change;
        let row = transact!(self, conn => {
            let revision = raise_revision!(conn, new.server_id, grant.team());
            let (all, alive): (i64, i64) = sqlx::query_as(
                "SELECT COUNT(*), COUNT(CASE WHEN deleted_revision IS NULL THEN 1 END) FROM daemons \
                 WHERE server_id = $1",
            )
            .bind(new.server_id.to_string())
            .fetch_one(&mut *conn)
            .await?;
            if alive >= new.quota || all >= 2 * new.quota {
                return Err(Error::Full(new.quota));
            }
            sqlx::query(
                "INSERT INTO daemons (id, server_id, name, spec, environment, environment_names, \
                 desired_running, intent_generation, restart_generation, host_restart_generation, \
                 fallback_restart_generation, restart_revision, changed_revision, version, create_time, \
                 update_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, 0, $9, 1, $10, $10)",
            )
            .bind(new.id.to_string())
            .bind(new.server_id.to_string())
            .bind(change.name.as_deref())
            .bind(&change.spec)
            .bind(&change.environment)
            .bind(&change.environment_names)
            .bind(change.desired_running)
            .bind(change.intent_generation)
            .bind(revision)
            .bind(millis(new.now))
            .execute(&mut *conn)
            .await?;
            let row = read_one!(conn, new.id);
            if new.validate_only {
                return Ok(row);
            }
            record_event!(conn, told(new.server_id, new.id, &change.event, new.now, false));
            row
        });
        Ok(row)
    }

    /// Changes a daemon of the grant's team. `decide` sees it as it is and says how it should be; what it refuses is not
    /// written. `validate_only`: does all of it, and takes it back.
    ///
    /// # Errors
    /// [`Error::Gone`] without such a daemon, [`Error::Taken`] when its server has another of this name, and what
    /// `decide` says.
    pub(crate) async fn change_daemon<E: From<Error>>(
        &self,
        grant: &TeamGrant,
        (server, id): (ServerId, DaemonId),
        now: SystemTime,
        validate_only: bool,
        decide: impl FnOnce(&DaemonRow) -> Result<DaemonChange, E> + Send,
    ) -> Result<DaemonRow, E> {
        // Two layers of errors: the outer one is the database's, the inner one takes the transaction back as well.
        let outcome: Result<DaemonRow, Refused<E>> = async {
            let row = transact!(self, conn => {
                let revision = raise_revision!(conn, server, grant.team());
                let old: DaemonRow = read_one!(conn, id);
                if old.server_id != server {
                    return Err(Refused::Store(Error::Gone));
                }
                let change = decide(&old).map_err(Refused::Decision)?;
                let restart = NextRestart::of(&old, &change, revision);
                sqlx::query(
                    "UPDATE daemons SET name = $2, spec = $3, environment = $4, environment_names = $5, \
                     desired_running = $6, intent_generation = $7, restart_generation = $8, \
                     host_restart_generation = $9, fallback_restart_generation = $10, restart_revision = $11, \
                     restart_not_after = $12, changed_revision = $13, version = version + 1, update_time = $14, \
                     restart_rolling = $15 \
                     WHERE id = $1",
                )
                .bind(id.to_string())
                .bind(change.name.as_deref())
                .bind(&change.spec)
                .bind(&change.environment)
                .bind(&change.environment_names)
                .bind(change.desired_running)
                .bind(change.intent_generation)
                .bind(restart.generation)
                .bind(restart.host)
                .bind(restart.fallback)
                .bind(restart.revision)
                .bind(restart.not_after.map(millis))
                .bind(revision)
                .bind(millis(now))
                .bind(restart.rolling)
                .execute(&mut *conn)
                .await?;
                let row = read_one!(conn, id);
                if validate_only {
                    return Ok(row);
                }
                record_event!(conn, told(server, id, &change.event, now, false));
                row
            });
            Ok(row)
        }
        .await;
        outcome.map_err(|refused| match refused {
            Refused::Store(error) => error.into(),
            Refused::Decision(error) => error,
        })
    }

    /// Deletes a daemon of the grant's team. The row stays as a tombstone until the host reports that it is gone; on a
    /// server where no agent ever was it goes at once. `decide` sees it as it is and tells of its deletion.
    ///
    /// # Errors
    /// [`Error::Gone`] without such a daemon, and what `decide` says.
    pub(crate) async fn delete_daemon<E: From<Error>>(
        &self,
        grant: &TeamGrant,
        (server, id): (ServerId, DaemonId),
        now: SystemTime,
        decide: impl FnOnce(&DaemonRow) -> Result<NewEvent, E> + Send,
    ) -> Result<(), E> {
        let outcome: Result<(), Refused<E>> = async {
            transact!(self, conn => {
                let revision = raise_revision!(conn, server, grant.team());
                let old: DaemonRow = read_one!(conn, id);
                if old.server_id != server {
                    return Err(Refused::Store(Error::Gone));
                }
                let event = decide(&old).map_err(Refused::Decision)?;
                record_event!(conn, told(server, id, &event, now, true));
                shorten_events!(conn, id, now);
                if old.session_epoch == 0 {
                    sqlx::query("DELETE FROM daemons WHERE id = $1")
                        .bind(id.to_string())
                        .execute(&mut *conn)
                        .await?;
                } else {
                    // What is left is the id. Secrets and status of a deleted daemon are of no use to anyone.
                    sqlx::query(
                        "UPDATE daemons SET name = NULL, spec = '', environment = $3, environment_names = '[]', \
                         deleted_revision = $2, changed_revision = $2, version = version + 1 WHERE id = $1",
                    )
                    .bind(id.to_string())
                    .bind(revision)
                    .bind(Vec::new())
                    .execute(&mut *conn)
                    .await?;
                    sqlx::query("DELETE FROM daemon_status WHERE daemon_id = $1")
                        .bind(id.to_string())
                        .execute(&mut *conn)
                        .await?;
                }
            });
            Ok(())
        }
        .await;
        outcome.map_err(|refused| match refused {
            Refused::Store(error) => error.into(),
            Refused::Decision(error) => error,
        })
    }
}

/// An event of the API.
fn told(
    server: ServerId,
    daemon: DaemonId,
    new: &NewEvent,
    now: SystemTime,
    deleted: bool,
) -> Insert<'_> {
    Insert {
        server,
        daemon,
        new,
        time: now,
        now,
        deleted,
        host: None,
    }
}

enum Refused<E> {
    Store(Error),
    Decision(E),
}

impl<E> From<sqlx::Error> for Refused<E> {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The restart columns after a change.
struct NextRestart {
    generation: i64,
    host: i64,
    fallback: i64,
    revision: i64,
    not_after: Option<SystemTime>,
    rolling: bool,
}

impl NextRestart {
    fn of(old: &DaemonRow, change: &DaemonChange, revision: i64) -> Self {
        let Some(restart) = change.restart else {
            return Self {
                generation: old.restart_generation,
                host: old.host_restart_generation,
                fallback: old.fallback_restart_generation,
                revision: old.restart_revision,
                not_after: old.restart_not_after,
                rolling: old.restart_rolling,
            };
        };
        // Where the host does not have the restart before this one, both expire together, back to what it has.
        let pending = old.restart_revision > old.acked_revision;
        Self {
            generation: old.restart_generation + 1,
            host: old.restart_generation + 1,
            fallback: if pending {
                old.fallback_restart_generation
            } else {
                old.host_restart_generation
            },
            revision,
            not_after: Some(restart.not_after),
            rolling: restart.rolling,
        }
    }
}
