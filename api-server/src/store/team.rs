//! Teams and their members.

use std::time::SystemTime;

use zhylon_shared::id::{TeamId, UserId};

use super::row::row;
use super::{Error, Position, Store, millis, read, transact};
use crate::access::{Membership, PermissionSet, PlatformGrant, TeamGrant};

row! {
    /// A team.
    #[derive(Debug, Clone)]
    pub(crate) struct TeamRow {
        /// Its id.
        pub(crate) id: TeamId,
        /// Its name.
        pub(crate) name: String,
        /// Who owns it.
        pub(crate) owner_user_id: UserId,
        /// When it was created.
        pub(crate) create_time: SystemTime,
    }
}

row! {
    /// A member of a team.
    #[derive(Debug, Clone)]
    pub(crate) struct MemberRow {
        /// The team.
        pub(crate) team_id: TeamId,
        /// The user.
        pub(crate) user_id: UserId,
        /// The user's name.
        pub(crate) user_name: String,
        /// What was granted.
        pub(crate) permissions: PermissionSet,
        /// Whether the user owns the team.
        pub(crate) owner: bool,
        /// When it was added.
        pub(crate) create_time: SystemTime,
    }
}

/// A team to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewTeam {
    /// Its id.
    pub(crate) id: TeamId,
    /// Its name.
    pub(crate) name: String,
    /// Who owns it.
    pub(crate) owner_user_id: UserId,
    /// When.
    pub(crate) create_time: SystemTime,
}

impl From<&MemberRow> for Membership {
    fn from(row: &MemberRow) -> Self {
        Self {
            team: row.team_id,
            user: row.user_id,
            owner: row.owner,
            permissions: row.permissions,
        }
    }
}

macro_rules! select_members {
    ($tail:literal) => {
        concat!(
            "SELECT m.team_id, m.user_id, u.name AS user_name, m.permissions, \
             (t.owner_user_id = m.user_id) AS owner, m.create_time \
             FROM members m JOIN teams t ON t.id = m.team_id JOIN users u ON u.id = m.user_id ",
            $tail
        )
    };
}

impl Store {
    /// Stores a team and its owner as a member.
    pub(crate) async fn create_team(&self, _: &PlatformGrant, team: &NewTeam) -> Result<(), Error> {
        transact!(self, conn => {
            sqlx::query("INSERT INTO teams (id, name, owner_user_id, create_time) VALUES ($1, $2, $3, $4)")
                .bind(team.id.to_string())
                .bind(&team.name)
                .bind(team.owner_user_id.to_string())
                .bind(millis(team.create_time))
                .execute(&mut *conn)
                .await?;
            sqlx::query("INSERT INTO members (team_id, user_id, permissions, create_time) VALUES ($1, $2, '', $3)")
                .bind(team.id.to_string())
                .bind(team.owner_user_id.to_string())
                .bind(millis(team.create_time))
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// A team.
    pub(crate) async fn team(&self, id: TeamId) -> Result<Option<TeamRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as("SELECT id, name, owner_user_id, create_time FROM teams WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&mut *conn)
                .await?
        }))
    }

    /// Teams, oldest first: those of a member, or all.
    pub(crate) async fn teams(
        &self,
        member: Option<UserId>,
        after: &Position,
        limit: i64,
    ) -> Result<Vec<TeamRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(
                "SELECT t.id, t.name, t.owner_user_id, t.create_time FROM teams t \
                 WHERE ($1 = '' OR EXISTS (SELECT 1 FROM members m WHERE m.team_id = t.id AND m.user_id = $1)) \
                 AND (t.create_time, t.id) > ($2, $3) ORDER BY t.create_time, t.id LIMIT $4",
            )
            .bind(member.map(|user| user.to_string()).unwrap_or_default())
            .bind(after.time)
            .bind(&after.id)
            .bind(limit)
            .fetch_all(&mut *conn)
            .await?
        }))
    }

    /// A member.
    pub(crate) async fn member(
        &self,
        team: TeamId,
        user: UserId,
    ) -> Result<Option<MemberRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(select_members!("WHERE m.team_id = $1 AND m.user_id = $2"))
                .bind(team.to_string())
                .bind(user.to_string())
                .fetch_optional(&mut *conn)
                .await?
        }))
    }

    /// Members, longest ones first.
    pub(crate) async fn members(
        &self,
        team: TeamId,
        after: &Position,
        limit: i64,
    ) -> Result<Vec<MemberRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(select_members!(
                "WHERE m.team_id = $1 AND (m.create_time, m.user_id) > ($2, $3) \
                 ORDER BY m.create_time, m.user_id LIMIT $4"
            ))
            .bind(team.to_string())
            .bind(after.time)
            .bind(&after.id)
            .bind(limit)
            .fetch_all(&mut *conn)
            .await?
        }))
    }

    /// Adds a member to the grant's team.
    ///
    /// # Errors
    /// [`Error::Taken`] when the user is one.
    pub(crate) async fn add_member(
        &self,
        grant: &TeamGrant,
        user: UserId,
        permissions: PermissionSet,
        now: SystemTime,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            sqlx::query("INSERT INTO members (team_id, user_id, permissions, create_time) VALUES ($1, $2, $3, $4)")
                .bind(grant.team().to_string())
                .bind(user.to_string())
                .bind(permissions.to_string())
                .bind(millis(now))
                .execute(&mut *conn)
                .await?;
        });
        Ok(())
    }

    /// Replaces a member's permissions.
    ///
    /// # Errors
    /// [`Error::Gone`] when there is no such member.
    pub(crate) async fn update_member(
        &self,
        grant: &TeamGrant,
        user: UserId,
        permissions: PermissionSet,
    ) -> Result<(), Error> {
        let changed = transact!(self, conn => {
            sqlx::query("UPDATE members SET permissions = $3 WHERE team_id = $1 AND user_id = $2")
                .bind(grant.team().to_string())
                .bind(user.to_string())
                .bind(permissions.to_string())
                .execute(&mut *conn)
                .await?
                .rows_affected()
        });
        if changed == 0 {
            Err(Error::Gone)
        } else {
            Ok(())
        }
    }

    /// Removes a member who is not the owner.
    ///
    /// # Errors
    /// [`Error::Gone`] when there is no such member.
    pub(crate) async fn remove_member(&self, grant: &TeamGrant, user: UserId) -> Result<(), Error> {
        let changed = transact!(self, conn => {
            sqlx::query(
                "DELETE FROM members WHERE team_id = $1 AND user_id = $2 \
                 AND NOT EXISTS (SELECT 1 FROM teams WHERE id = $1 AND owner_user_id = $2)",
            )
            .bind(grant.team().to_string())
            .bind(user.to_string())
            .execute(&mut *conn)
            .await?
            .rows_affected()
        });
        if changed == 0 {
            Err(Error::Gone)
        } else {
            Ok(())
        }
    }
}
