//! Who calls, and whether they may: from a token to a [`Ctx`], from a [`Ctx`] and an id to a grant.

use std::time::Duration;

use zhylon_shared::id::{TeamId, UserId};
use zhylon_shared::token::{self, BearerToken};

use super::{Credential, Ctx, Domain, Error, parse_id};
use crate::access::{self, Access, Actor, Membership, Refusal, Rule, TeamGrant};
use crate::store::{DaemonRow, ServerRow, TeamRow, TokenRow};

/// A token's last use is noted at most this often: a write for every read would be out of proportion.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// What a caller shows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shown<'a> {
    /// The metadata `authorization`.
    pub(crate) authorization: Option<&'a str>,
    /// The metadata `zhylon-on-behalf-of`.
    pub(crate) on_behalf_of: Option<&'a str>,
}

impl Domain {
    /// Who calls a method of `rule`, and whether it is for them at all.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], and the refusals that need no look at what the call is about.
    pub(crate) async fn authenticate(
        &self,
        shown: Shown<'_>,
        rule: &'static Rule,
    ) -> Result<Ctx, Error> {
        let unauthenticated = |why| Err(Error::Unauthenticated(why));
        let Some(authorization) = shown.authorization else {
            return unauthenticated(Credential::Missing);
        };
        let Some(bearer) = bearer(authorization) else {
            return unauthenticated(Credential::Malformed);
        };
        let row = self.store.token(bearer.id).await?;
        // An unknown token takes the same comparison as a known one.
        let stored = row
            .as_ref()
            .map_or([0; 32].as_slice(), |row| &row.secret_hash);
        let genuine = token::verify(&bearer.secret, stored);
        let Some(row) = row.filter(|_| genuine) else {
            return unauthenticated(Credential::Unknown);
        };
        self.check_alive(&row)?;
        self.touch(&row).await;
        let actor = self.actor(&row, shown.on_behalf_of).await?;
        access::admit(rule, &actor).map_err(|refusal| Error::refused(refusal, "method"))?;
        Ok(Ctx {
            actor,
            token: row.id,
            rule,
        })
    }

    /// Whether the token of a call that lasts is still good.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`].
    pub(super) async fn authenticate_again(&self, ctx: &Ctx) -> Result<(), Error> {
        match self.store.token(ctx.token).await? {
            Some(row) => self.check_alive(&row),
            None => Err(Error::Unauthenticated(Credential::Unknown)),
        }
    }

    fn check_alive(&self, row: &TokenRow) -> Result<(), Error> {
        let now = self.clock.wall();
        if row.revoke_time.is_some() {
            Err(Error::Unauthenticated(Credential::Revoked))
        } else if row.expire_time.is_some_and(|end| end <= now) {
            Err(Error::Unauthenticated(Credential::Expired))
        } else {
            Ok(())
        }
    }

    async fn touch(&self, row: &TokenRow) {
        let now = self.clock.wall();
        let earlier = now - TOUCH_EVERY;
        if row.last_used_time.is_none_or(|last| last <= earlier)
            && let Err(error) = self.store.touch_token(row.id, now, earlier).await
        {
            // The call is worth more than the note.
            tracing::warn!(%error, token.id = %row.id, "the last use of a token could not be noted");
        }
    }

    async fn actor(&self, row: &TokenRow, on_behalf_of: Option<&str>) -> Result<Actor, Error> {
        let Some(user) = on_behalf_of else {
            return Ok(Actor {
                user: row.user_id,
                operator: row.operator,
                acting: None,
            });
        };
        if !row.operator {
            return Err(Error::OnBehalfOfRefused);
        }
        let user: UserId = parse_id(user)?;
        let known = self.store.user(user).await?.filter(|user| !user.operator);
        known.ok_or(Error::NotFound("user"))?;
        Ok(Actor {
            user,
            operator: false,
            acting: Some(row.user_id),
        })
    }

    /// The right to do in `team` what the call is about.
    pub(super) async fn enter(
        &self,
        ctx: &Ctx,
        team: TeamId,
        kind: &'static str,
    ) -> Result<TeamGrant, Error> {
        let member = self.store.member(team, ctx.actor.user).await?;
        let membership = member.as_ref().map(Membership::from);
        access::authorize(ctx.rule, &ctx.actor, membership.as_ref())
            .map_err(|refusal| Error::refused(refusal, kind))
    }

    /// The right to do in the team with this id what the call is about.
    pub(super) async fn enter_team(&self, ctx: &Ctx, team: &str) -> Result<TeamGrant, Error> {
        self.enter(ctx, parse_id(team)?, "team").await
    }

    /// A team that the caller may read.
    pub(super) async fn readable_team(&self, ctx: &Ctx, team: &str) -> Result<TeamRow, Error> {
        let id = parse_id(team)?;
        let operator = ctx.rule.access == Access::OperatorOrMember && ctx.actor.operator;
        if !operator {
            self.enter(ctx, id, "team").await?;
        }
        let team = self.store.team(id).await?;
        team.ok_or(Error::refused(Refusal::Invisible, "team"))
    }

    /// A server, and the right to do with it what the call is about.
    pub(super) async fn enter_server(
        &self,
        ctx: &Ctx,
        server: &str,
    ) -> Result<(ServerRow, TeamGrant), Error> {
        const KIND: &str = "server";
        let server = self.store.server(parse_id(server)?).await?;
        let server = server.ok_or(Error::NotFound(KIND))?;
        let grant = self.enter(ctx, server.team_id, KIND).await?;
        Ok((server, grant))
    }

    /// A daemon, and the right to do with it what the call is about.
    pub(super) async fn enter_daemon(
        &self,
        ctx: &Ctx,
        daemon: &str,
    ) -> Result<(DaemonRow, TeamGrant), Error> {
        const KIND: &str = "daemon";
        let daemon = self.store.daemon(parse_id(daemon)?).await?;
        let daemon = daemon.ok_or(Error::NotFound(KIND))?;
        let grant = self.enter(ctx, daemon.team_id, KIND).await?;
        Ok((daemon, grant))
    }
}

/// `Bearer zhy_…`; the scheme's case does not matter.
fn bearer(authorization: &str) -> Option<BearerToken> {
    let (scheme, token) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    BearerToken::parse(token.trim_start()).ok()
}
