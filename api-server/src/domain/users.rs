//! Users: made by the platform operator.

use zhylon_shared::id::UserId;
use zhylon_shared::spec::check_display_name;

use super::{Ctx, Domain, Error};
use crate::access;
use crate::store::{NewUser, UserRow};

impl Domain {
    /// Creates a user.
    ///
    /// # Errors
    /// When the caller is not the operator, or the name breaks its rule.
    pub(crate) async fn create_user(&self, ctx: &Ctx, name: &str) -> Result<UserRow, Error> {
        let grant = access::platform(ctx.rule, &ctx.actor)
            .map_err(|refusal| Error::refused(refusal, "user"))?;
        check_display_name("name", name).map_err(|bad| Error::Invalid(vec![bad]))?;
        let user = NewUser {
            id: UserId::random()?,
            name: name.to_owned(),
            create_time: self.clock.wall(),
        };
        self.store.create_user(&grant, &user).await?;
        self.user(user.id).await
    }

    /// The calling user.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn me(&self, ctx: &Ctx) -> Result<UserRow, Error> {
        self.user(ctx.actor.user).await
    }

    pub(super) async fn user(&self, id: UserId) -> Result<UserRow, Error> {
        self.store.user(id).await?.ok_or(Error::NotFound("user"))
    }
}
