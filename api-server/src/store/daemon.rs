//! Daemons. Every write here raises the server's revision in the same transaction, and does so first: that locks the
//! server's row, so writes to one server are in one order on every database.

mod write;

use std::time::SystemTime;

use zhylon_shared::id::{DaemonId, ServerId, TeamId};

use super::row::row;
use super::{Error, Position, Store, read};

pub(crate) use write::{DaemonChange, NewDaemon, NewRestart};

row! {
    /// A daemon with its newest report, and what of its server belongs to both.
    #[derive(Debug, Clone)]
    pub(crate) struct DaemonRow {
        /// Its id.
        pub(crate) id: DaemonId,
        /// Its server.
        pub(crate) server_id: ServerId,
        /// The server's team.
        pub(crate) team_id: TeamId,
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
        /// Raised by every Restart.
        pub(crate) restart_generation: i64,
        /// What the host is told.
        pub(crate) host_restart_generation: i64,
        /// What the host is told once `restart_generation` has expired.
        pub(crate) fallback_restart_generation: i64,
        /// The revision of the newest restart.
        pub(crate) restart_revision: i64,
        /// Whether that goes from instance to instance.
        pub(crate) restart_rolling: bool,
        /// When that expires.
        pub(crate) restart_not_after: Option<SystemTime>,
        /// The server's revision in which it last changed.
        pub(crate) changed_revision: i64,
        /// Raised by every write.
        pub(crate) version: i64,
        /// When it was created.
        pub(crate) create_time: SystemTime,
        /// When its spec or intent last changed.
        pub(crate) update_time: SystemTime,
        /// The server's newest session; 0 means that no agent ever connected.
        pub(crate) session_epoch: i64,
        /// The newest revision that is durable on the host.
        pub(crate) acked_revision: i64,
        /// `zhylon.agent.v1.DaemonReport`.
        pub(crate) report: Option<Vec<u8>>,
        /// When that came.
        pub(crate) reported_time: Option<SystemTime>,
        /// Raised by every report that says something new; 0 means none.
        pub(crate) status_version: i64,
    }
}

row! {
    /// What tells whether a daemon or its status changed.
    #[derive(Debug, Clone)]
    pub(crate) struct DaemonVersion {
        /// The daemon.
        pub(crate) id: DaemonId,
        /// Its server.
        pub(crate) server_id: ServerId,
        /// The server's revision in which it last changed.
        pub(crate) changed_revision: i64,
        /// Raised by every report that says something new.
        pub(crate) status_version: i64,
        /// The server's newest session; 0 means that no agent ever connected.
        pub(crate) session_epoch: i64,
    }
}

/// Which daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Of one server.
    Server(ServerId),
    /// Of all servers of a team.
    Team(TeamId),
}

macro_rules! select_daemons {
    ($tail:literal) => {
        concat!(
            "SELECT d.id, d.server_id, s.team_id, d.name, d.spec, d.environment, d.environment_names, d.desired_running, \
             d.intent_generation, d.restart_generation, d.host_restart_generation, \
             d.fallback_restart_generation, d.restart_revision, d.restart_rolling, d.restart_not_after, \
             d.changed_revision, \
             d.version, d.create_time, d.update_time, s.session_epoch, s.acked_revision, r.report, \
             r.reported_time, COALESCE(r.version, 0) AS status_version \
             FROM daemons d JOIN servers s ON s.id = d.server_id \
             LEFT JOIN daemon_status r ON r.daemon_id = d.id \
             WHERE d.deleted_revision IS NULL AND ",
            $tail
        )
    };
}
pub(super) use select_daemons;

macro_rules! select_versions {
    ($tail:literal) => {
        concat!(
            "SELECT d.id, d.server_id, d.changed_revision, COALESCE(r.version, 0) AS status_version, \
             s.session_epoch FROM daemons d JOIN servers s ON s.id = d.server_id \
             LEFT JOIN daemon_status r ON r.daemon_id = d.id WHERE d.deleted_revision IS NULL AND ",
            $tail
        )
    };
}

impl Store {
    /// A daemon that is not deleted.
    pub(crate) async fn daemon(&self, id: DaemonId) -> Result<Option<DaemonRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(select_daemons!("d.id = $1"))
                .bind(id.to_string())
                .fetch_optional(&mut *conn)
                .await?
        }))
    }

    /// Daemons, oldest first.
    pub(crate) async fn daemons(
        &self,
        scope: Scope,
        after: &Position,
        limit: i64,
    ) -> Result<Vec<DaemonRow>, Error> {
        let (sql, of) = match scope {
            Scope::Server(server) => (
                select_daemons!(
                    "d.server_id = $1 AND (d.create_time, d.id) > ($2, $3) \
                     ORDER BY d.create_time, d.id LIMIT $4"
                ),
                server.to_string(),
            ),
            Scope::Team(team) => (
                select_daemons!(
                    "s.team_id = $1 AND (d.create_time, d.id) > ($2, $3) \
                     ORDER BY d.create_time, d.id LIMIT $4"
                ),
                team.to_string(),
            ),
        };
        Ok(read!(self, conn => {
            sqlx::query_as(sql)
                .bind(of)
                .bind(after.time)
                .bind(&after.id)
                .bind(limit)
                .fetch_all(&mut *conn)
                .await?
        }))
    }

    /// The versions of all daemons in `scope`: cheap to read, and enough to see what changed.
    pub(crate) async fn daemon_versions(&self, scope: Scope) -> Result<Vec<DaemonVersion>, Error> {
        let (sql, of) = match scope {
            Scope::Server(server) => (
                select_versions!("d.server_id = $1 ORDER BY d.create_time, d.id"),
                server.to_string(),
            ),
            Scope::Team(team) => (
                select_versions!("s.team_id = $1 ORDER BY d.create_time, d.id"),
                team.to_string(),
            ),
        };
        Ok(read!(self, conn => {
            sqlx::query_as(sql).bind(of).fetch_all(&mut *conn).await?
        }))
    }
}
