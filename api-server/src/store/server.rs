//! Servers.

use std::time::SystemTime;

use zhylon_shared::id::{ServerId, TeamId};

use super::row::row;
use super::{Error, Position, Store, millis, read, transact};
use crate::access::TeamGrant;

row! {
    /// A server.
    #[derive(Debug, Clone)]
    pub(crate) struct ServerRow {
        /// Its id.
        pub(crate) id: ServerId,
        /// Its team.
        pub(crate) team_id: TeamId,
        /// Its name.
        pub(crate) name: String,
        /// When it was created.
        pub(crate) create_time: SystemTime,
        /// The epoch its counters belong to.
        pub(crate) config_epoch: String,
        /// Raised by every change to what it should run.
        pub(crate) revision: i64,
        /// The newest revision that is durable on the host.
        pub(crate) acked_revision: i64,
        /// Raised by every accepted Connect; 0 means that no agent ever connected.
        pub(crate) session_epoch: i64,
        /// Version of its agent.
        pub(crate) agent_version: String,
        /// When its agent was last heard of.
        pub(crate) last_seen_time: Option<SystemTime>,
        /// Since when no certificate of its agent is good; `None` unless somebody revoked them.
        pub(crate) revoke_time: Option<SystemTime>,
    }
}

/// A server to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewServer {
    /// Its id.
    pub(crate) id: ServerId,
    /// Its name.
    pub(crate) name: String,
    /// When.
    pub(crate) create_time: SystemTime,
    /// The epoch its counters belong to.
    pub(crate) config_epoch: String,
}

/// What became of the wish to delete a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// It is gone.
    Done,
    /// It has daemons.
    HasDaemons,
    /// It has daemons that were deleted and still stop.
    HasTombstones,
}

macro_rules! select_servers {
    ($tail:literal) => {
        concat!(
            "SELECT id, team_id, name, create_time, config_epoch, revision, acked_revision, session_epoch, \
             agent_version, last_seen_time, revoke_time FROM servers ",
            $tail
        )
    };
}
pub(super) use select_servers;

impl Store {
    /// Stores a server in the grant's team.
    ///
    /// # Errors
    /// [`Error::Taken`] when the team has one of this name.
    pub(crate) async fn create_server(
        &self,
        grant: &TeamGrant,
        server: &NewServer,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            sqlx::query(
                "INSERT INTO servers (id, team_id, name, create_time, config_epoch, revision, acked_revision, \
                 session_epoch, agent_version) VALUES ($1, $2, $3, $4, $5, 0, 0, 0, '')",
            )
            .bind(server.id.to_string())
            .bind(grant.team().to_string())
            .bind(&server.name)
            .bind(millis(server.create_time))
            .bind(&server.config_epoch)
            .execute(&mut *conn)
            .await?;
        });
        Ok(())
    }

    /// A server.
    pub(crate) async fn server(&self, id: ServerId) -> Result<Option<ServerRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(select_servers!("WHERE id = $1"))
                .bind(id.to_string())
                .fetch_optional(&mut *conn)
                .await?
        }))
    }

    /// Servers of a team, oldest first.
    pub(crate) async fn servers(
        &self,
        team: TeamId,
        after: &Position,
        limit: i64,
    ) -> Result<Vec<ServerRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(select_servers!(
                "WHERE team_id = $1 AND (create_time, id) > ($2, $3) ORDER BY create_time, id LIMIT $4"
            ))
            .bind(team.to_string())
            .bind(after.time)
            .bind(&after.id)
            .bind(limit)
            .fetch_all(&mut *conn)
            .await?
        }))
    }

    /// Deletes a server of the grant's team that has no daemons. `despite_tombstones`: also while deleted daemons were
    /// not reported gone.
    ///
    /// # Errors
    /// [`Error::Gone`] when the team has no such server.
    pub(crate) async fn delete_server(
        &self,
        grant: &TeamGrant,
        id: ServerId,
        despite_tombstones: bool,
    ) -> Result<Deletion, Error> {
        let deletion = transact!(self, conn => {
            // Touches the row first, so that no daemon is created meanwhile.
            sqlx::query("UPDATE servers SET revision = revision WHERE id = $1 AND team_id = $2 RETURNING id")
                .bind(id.to_string())
                .bind(grant.team().to_string())
                .fetch_one(&mut *conn)
                .await?;
            let (all, alive): (i64, i64) = sqlx::query_as(
                "SELECT COUNT(*), COUNT(CASE WHEN deleted_revision IS NULL THEN 1 END) FROM daemons \
                 WHERE server_id = $1",
            )
            .bind(id.to_string())
            .fetch_one(&mut *conn)
            .await?;
            if alive > 0 {
                Deletion::HasDaemons
            } else if all > 0 && !despite_tombstones {
                Deletion::HasTombstones
            } else {
                sqlx::query("DELETE FROM servers WHERE id = $1")
                    .bind(id.to_string())
                    .execute(&mut *conn)
                    .await?;
                Deletion::Done
            }
        });
        Ok(deletion)
    }
}
