//! Teams and their members.

use zhylon_shared::id::{TeamId, UserId};
use zhylon_shared::spec::{FieldViolation, check_display_name};

use super::{Ctx, Domain, Error, Page, PageRequest, Precondition, parse_id};
use crate::access::{self, PermissionSet, TeamGrant};
use crate::bus::Hint;
use crate::store::{self, MemberRow, NewTeam, Position, TeamRow, millis};

impl Domain {
    /// Creates a team.
    ///
    /// # Errors
    /// When the caller is not the operator, the name breaks its rule, or there is no such owner.
    pub(crate) async fn create_team(
        &self,
        ctx: &Ctx,
        name: &str,
        owner: &str,
    ) -> Result<TeamRow, Error> {
        let grant = access::platform(ctx.rule, &ctx.actor)
            .map_err(|refusal| Error::refused(refusal, "team"))?;
        check_display_name("name", name).map_err(|bad| Error::Invalid(vec![bad]))?;
        let team = NewTeam {
            id: TeamId::random()?,
            name: name.to_owned(),
            owner_user_id: self.person(owner).await?,
            create_time: self.clock.wall(),
        };
        self.store.create_team(&grant, &team).await?;
        let row = self.store.team(team.id).await?;
        row.ok_or(Error::NotFound("team"))
    }

    /// A team.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn team(&self, ctx: &Ctx, id: &str) -> Result<TeamRow, Error> {
        self.readable_team(ctx, id).await
    }

    /// The caller's teams; for the operator all.
    ///
    /// # Errors
    /// A broken page request.
    pub(crate) async fn teams(
        &self,
        ctx: &Ctx,
        page: &PageRequest,
    ) -> Result<Page<TeamRow>, Error> {
        let user = ctx.actor.user;
        let cut = self.cut(page, format!("teams {user}"))?;
        let member = (!ctx.actor.operator).then_some(user);
        let rows = self.store.teams(member, &cut.after, cut.limit()).await?;
        Ok(cut.page(rows, |row| Position {
            time: millis(row.create_time),
            id: row.id.to_string(),
        }))
    }

    /// The members of a team.
    ///
    /// # Errors
    /// [`Error::NotFound`], a broken page request.
    pub(crate) async fn members(
        &self,
        ctx: &Ctx,
        team: &str,
        page: &PageRequest,
    ) -> Result<Page<MemberRow>, Error> {
        let team = self.readable_team(ctx, team).await?.id;
        let cut = self.cut(page, format!("members {team}"))?;
        let rows = self.store.members(team, &cut.after, cut.limit()).await?;
        Ok(cut.page(rows, |row| Position {
            time: millis(row.create_time),
            id: row.user_id.to_string(),
        }))
    }

    /// Adds a member.
    ///
    /// # Errors
    /// Refusals; [`Error::AlreadyExists`] for a member.
    pub(crate) async fn add_member(
        &self,
        ctx: &Ctx,
        team: &str,
        user: &str,
        permissions: &[String],
    ) -> Result<MemberRow, Error> {
        let grant = self.enter_team(ctx, team).await?;
        let permissions = read_permissions(permissions)?;
        let user = self.person(user).await?;
        let now = self.clock.wall();
        match self.store.add_member(&grant, user, permissions, now).await {
            Ok(()) => self.changed_member(&grant, user).await,
            Err(store::Error::Taken) => Err(Error::AlreadyExists {
                what: "the user is a member of this team",
                rule: "change its permissions instead",
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces a member's permissions.
    ///
    /// # Errors
    /// Refusals; [`Error::NotFound`] for who is no member.
    pub(crate) async fn update_member(
        &self,
        ctx: &Ctx,
        team: &str,
        user: &str,
        permissions: &[String],
    ) -> Result<MemberRow, Error> {
        let grant = self.enter_team(ctx, team).await?;
        let permissions = read_permissions(permissions)?;
        let user = self.removable(&grant, user).await?;
        match self.store.update_member(&grant, user, permissions).await {
            Ok(()) => self.changed_member(&grant, user).await,
            Err(store::Error::Gone) => Err(Error::NotFound("member")),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a member.
    ///
    /// # Errors
    /// Refusals; [`Error::NotFound`] for who is no member.
    pub(crate) async fn remove_member(
        &self,
        ctx: &Ctx,
        team: &str,
        user: &str,
    ) -> Result<(), Error> {
        let grant = self.enter_team(ctx, team).await?;
        let user = self.removable(&grant, user).await?;
        match self.store.remove_member(&grant, user).await {
            Ok(()) => {
                self.bus.hints().tell(Hint::MembershipChanged);
                Ok(())
            }
            Err(store::Error::Gone) => Err(Error::NotFound("member")),
            Err(error) => Err(error.into()),
        }
    }

    /// A user who can be in a team.
    async fn person(&self, user: &str) -> Result<UserId, Error> {
        let user = self.user(parse_id(user)?).await?;
        if user.operator {
            return Err(Error::Precondition(Precondition::OperatorIsNoMember));
        }
        Ok(user.id)
    }

    /// A member who is not the owner.
    async fn removable(&self, grant: &TeamGrant, user: &str) -> Result<UserId, Error> {
        let user = user.parse().map_err(|_| Error::NotFound("member"))?;
        let member = self.store.member(grant.team(), user).await?;
        match member {
            None => Err(Error::NotFound("member")),
            Some(member) if member.owner => Err(Error::Precondition(Precondition::MemberIsOwner)),
            Some(_) => Ok(user),
        }
    }

    async fn changed_member(&self, grant: &TeamGrant, user: UserId) -> Result<MemberRow, Error> {
        self.bus.hints().tell(Hint::MembershipChanged);
        let row = self.store.member(grant.team(), user).await?;
        row.ok_or(Error::NotFound("member"))
    }
}

fn read_permissions(names: &[String]) -> Result<PermissionSet, Error> {
    let mut bad = Vec::new();
    let mut known = Vec::new();
    for (n, name) in names.iter().enumerate() {
        match name.parse() {
            Ok(permission) => known.push(permission),
            Err(access::UnknownPermission) => {
                let all: Vec<_> = access::Permission::ALL.iter().map(|p| p.name()).collect();
                let text = format!("not a permission: {}", all.join(", "));
                bad.push(FieldViolation::new(
                    &format!("permissions[{n}]"),
                    "PERMISSION",
                    text,
                ));
            }
        }
    }
    if bad.is_empty() {
        Ok(known.into_iter().collect())
    } else {
        Err(Error::Invalid(bad))
    }
}
