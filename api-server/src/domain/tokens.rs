//! API tokens: each user's own; the platform operator may make and revoke any.

use std::time::SystemTime;

use zhylon_shared::id::{TokenId, UserId};
use zhylon_shared::redact::Secret;
use zhylon_shared::spec::{FieldViolation, check_display_name};
use zhylon_shared::token::{self, BearerToken};

use super::{Ctx, Domain, Error, Page, PageRequest, parse_id};
use crate::access::{self, SelfGrant};
use crate::bus::Hint;
use crate::store::{NewToken, Position, TokenRow, millis};

/// What a new token should be.
#[derive(Debug, Clone)]
pub(crate) struct TokenDraft {
    /// A label.
    pub(crate) name: String,
    /// Whom it acts as; empty means the caller.
    pub(crate) user_id: String,
    /// When it ends: absent means never, the inner one `None` is no time at all.
    pub(crate) expire_time: Option<Option<SystemTime>>,
}

impl Domain {
    /// Creates a token. The secret is shown this once.
    ///
    /// # Errors
    /// [`Error::OperatorOnly`] for another user than the caller; broken rules.
    pub(crate) async fn create_token(
        &self,
        ctx: &Ctx,
        draft: TokenDraft,
    ) -> Result<(TokenRow, Secret), Error> {
        let user = self.token_user(ctx, &draft.user_id)?;
        let grant = own(ctx, user)?;
        self.user(user).await?;
        let now = self.clock.wall();
        let mut bad = Vec::new();
        bad.extend(check_display_name("name", &draft.name).err());
        let expire_time = match draft.expire_time {
            None => None,
            Some(Some(end)) if end > now => Some(end),
            Some(_) => {
                let text = "must be a time to come, or be left out for a token without an end";
                bad.push(FieldViolation::new("expire_time", "FUTURE", text));
                None
            }
        };
        if !bad.is_empty() {
            return Err(Error::Invalid(bad));
        }
        let bearer = BearerToken {
            id: TokenId::random()?,
            secret: token::new_secret()?,
        };
        let new = NewToken {
            id: bearer.id,
            name: draft.name,
            secret_hash: token::hash(&bearer.secret),
            create_time: now,
            expire_time,
        };
        self.store.create_token(&grant, &new).await?;
        let row = self.store.token(bearer.id).await?;
        Ok((row.ok_or(Error::NotFound("token"))?, bearer.to_text()))
    }

    /// The caller's tokens.
    ///
    /// # Errors
    /// A broken page request.
    pub(crate) async fn tokens(
        &self,
        ctx: &Ctx,
        page: &PageRequest,
    ) -> Result<Page<TokenRow>, Error> {
        let user = ctx.actor.user;
        let cut = self.cut(page, format!("tokens {user}"))?;
        let rows = self.store.tokens(user, &cut.after, cut.limit()).await?;
        Ok(cut.page(rows, |row| Position {
            time: millis(row.create_time),
            id: row.id.to_string(),
        }))
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`Error::NotFound`] for another user's, except for the operator.
    pub(crate) async fn revoke_token(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        let id: TokenId = parse_id(id)?;
        let row = self
            .store
            .token(id)
            .await?
            .ok_or(Error::NotFound("token"))?;
        // Another user's token is as good as absent.
        let grant = own(ctx, row.user_id).map_err(|_| Error::NotFound("token"))?;
        self.store
            .revoke_token(&grant, id, self.clock.wall())
            .await?;
        self.bus.hints().tell(Hint::MembershipChanged);
        Ok(())
    }

    fn token_user(&self, ctx: &Ctx, user: &str) -> Result<UserId, Error> {
        if user.is_empty() || user == ctx.actor.user.to_string() {
            return Ok(ctx.actor.user);
        }
        if !ctx.actor.operator {
            return Err(Error::OperatorOnly);
        }
        parse_id(user)
    }
}

fn own(ctx: &Ctx, user: UserId) -> Result<SelfGrant, Error> {
    access::own(ctx.rule, &ctx.actor, user).map_err(|refusal| Error::refused(refusal, "token"))
}
