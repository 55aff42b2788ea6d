//! What agents write, fenced by their session epoch, and what they are handed.

use std::time::SystemTime;

use zhylon_shared::id::{DaemonId, ServerId};

use super::daemon::select_daemons;
use super::row::row;
use super::server::select_servers;
use super::{DaemonRow, Error, ServerRow, Store, millis, read, transact};

row! {
    /// An accepted session.
    #[derive(Debug, Clone)]
    pub(crate) struct SessionRow {
        /// Fences writes of older sessions.
        pub(crate) session_epoch: i64,
        /// The epoch the server's counters belong to.
        pub(crate) config_epoch: String,
        /// The server's revision.
        pub(crate) revision: i64,
    }
}

row! {
    /// A server's revision.
    #[derive(Debug, Clone)]
    pub(crate) struct RevisionRow {
        /// The server.
        pub(crate) id: ServerId,
        /// Its revision.
        pub(crate) revision: i64,
    }
}

/// Everything a server should run, as it was at one moment.
#[derive(Debug, Clone)]
pub(crate) struct DesiredRows {
    /// The server.
    pub(crate) server: ServerRow,
    /// Its daemons, by id.
    pub(crate) daemons: Vec<DaemonRow>,
}

/// Servers asked for in one statement: SQLite allows 32766 parameters, PostgreSQL 65535; the rest goes in the next one.
const IN_ONE_STATEMENT: usize = 1000;

/// Proves that the session is the newest one and nobody revoked its identity, and notes that its agent lives.
macro_rules! fence {
    ($conn:expr, $server:expr, $epoch:expr, $now:expr) => {
        let alive = sqlx::query(
            "UPDATE servers SET last_seen_time = $3 WHERE id = $1 AND session_epoch = $2 \
             AND revoke_time IS NULL",
        )
        .bind($server.to_string())
        .bind($epoch)
        .bind(millis($now))
        .execute(&mut *$conn)
        .await?
        .rows_affected();
        if alive == 0 {
            return Err(Error::Fenced);
        }
    };
}
pub(super) use fence;

impl Store {
    /// Notes that the agent lives.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub(crate) async fn seen(
        &self,
        server: ServerId,
        epoch: i64,
        now: SystemTime,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            fence!(conn, server, epoch, now);
        });
        Ok(())
    }

    /// Notes which revision is durable on the host. One that we never had is not noted.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub(crate) async fn acknowledge(
        &self,
        server: ServerId,
        epoch: i64,
        revision: i64,
        now: SystemTime,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            fence!(conn, server, epoch, now);
            sqlx::query("UPDATE servers SET acked_revision = $2 WHERE id = $1 AND revision >= $2")
                .bind(server.to_string())
                .bind(revision)
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// Everything a server should run. `None`: the server was deleted.
    pub(crate) async fn desired(&self, server: ServerId) -> Result<Option<DesiredRows>, Error> {
        let found: Option<ServerRow>;
        let daemons = read!(self, conn => {
            found = sqlx::query_as(select_servers!("WHERE id = $1"))
                .bind(server.to_string())
                .fetch_optional(&mut *conn)
                .await?;
            sqlx::query_as(select_daemons!("d.server_id = $1 ORDER BY d.id"))
                .bind(server.to_string())
                .fetch_all(&mut *conn)
                .await?
        });
        Ok(found.map(|server| DesiredRows { server, daemons }))
    }

    /// Ends the restarts of a server that the host does not have and that were to be handed over before `now`. The host
    /// is told the generation it has; that is a change, so the revision rises.
    pub(crate) async fn expire_restarts(
        &self,
        server: ServerId,
        now: SystemTime,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            let revision: Option<i64> = sqlx::query_scalar(
                "UPDATE servers SET revision = revision + 1 WHERE id = $1 RETURNING revision",
            )
            .bind(server.to_string())
            .fetch_optional(&mut *conn)
            .await?;
            sqlx::query(
                "UPDATE daemons SET host_restart_generation = fallback_restart_generation, \
                 changed_revision = $2, version = version + 1 \
                 WHERE server_id = $1 AND deleted_revision IS NULL \
                 AND host_restart_generation = restart_generation AND restart_not_after < $3 \
                 AND restart_revision > (SELECT acked_revision FROM servers WHERE id = $1)",
            )
            .bind(server.to_string())
            .bind(revision.unwrap_or_default())
            .bind(millis(now))
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// The revisions of these servers; those that are gone or whose identity is revoked are left out.
    pub(crate) async fn revisions(&self, servers: &[ServerId]) -> Result<Vec<RevisionRow>, Error> {
        let mut all = Vec::with_capacity(servers.len());
        for some in servers.chunks(IN_ONE_STATEMENT) {
            all.extend::<Vec<RevisionRow>>(read!(self, conn => {
                let mut query = sqlx::QueryBuilder::new("SELECT id, revision FROM servers WHERE revoke_time IS NULL AND id IN (");
                let mut ids = query.separated(", ");
                for id in some {
                    ids.push_bind(id.to_string());
                }
                query.push(")");
                query.build_query_as().fetch_all(&mut *conn).await?
            }));
        }
        Ok(all)
    }

    /// Stores the newest reports (id, is it gone, bytes) of a server's daemons. What is reported gone and was deleted
    /// goes; with `full` also what was deleted, acknowledged and is not reported at all. Gives the daemons whose status
    /// is new.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub(crate) async fn record_status(
        &self,
        server: ServerId,
        epoch: i64,
        full: bool,
        reports: &[(DaemonId, bool, Vec<u8>)],
        now: SystemTime,
    ) -> Result<Vec<DaemonId>, Error> {
        let mut new = Vec::new();
        transact!(self, conn => {
            fence!(conn, server, epoch, now);
            for (id, gone, report) in reports {
                if *gone {
                    sqlx::query(
                        "DELETE FROM daemons WHERE id = $1 AND server_id = $2 AND deleted_revision IS NOT NULL",
                    )
                    .bind(id.to_string())
                    .bind(server.to_string())
                    .execute(&mut *conn)
                    .await?;
                    continue;
                }
                // A report of another server's daemon, or of a deleted one, finds no row.
                let stored = sqlx::query(
                    "INSERT INTO daemon_status (daemon_id, session_epoch, report, reported_time, version) \
                     SELECT id, $3, $4, $5, 1 FROM daemons \
                     WHERE id = $1 AND server_id = $2 AND deleted_revision IS NULL \
                     ON CONFLICT (daemon_id) DO UPDATE SET session_epoch = excluded.session_epoch, \
                     report = excluded.report, reported_time = excluded.reported_time, \
                     version = daemon_status.version + 1",
                )
                .bind(id.to_string())
                .bind(server.to_string())
                .bind(epoch)
                .bind(report)
                .bind(millis(now))
                .execute(&mut *conn)
                .await?
                .rows_affected();
                if stored > 0 {
                    new.push(*id);
                }
            }
            if full {
                let known: Vec<(String, bool)> = sqlx::query_as(
                    "SELECT d.id, (d.deleted_revision IS NOT NULL) FROM daemons d \
                     JOIN servers s ON s.id = d.server_id WHERE d.server_id = $1 \
                     AND (d.deleted_revision IS NULL OR d.deleted_revision <= s.acked_revision)",
                )
                .bind(server.to_string())
                .fetch_all(&mut *conn)
                .await?;
                for (id, deleted) in known {
                    if reports.iter().any(|(reported, ..)| reported.to_string() == id) {
                        continue;
                    }
                    let sql = if deleted {
                        "DELETE FROM daemons WHERE id = $1"
                    } else {
                        "DELETE FROM daemon_status WHERE daemon_id = $1"
                    };
                    let dropped = sqlx::query(sql).bind(&id).execute(&mut *conn).await?.rows_affected();
                    if let Ok(id) = id.parse()
                        && dropped > 0
                    {
                        new.push(id);
                    }
                }
            }
        });
        Ok(new)
    }
}
