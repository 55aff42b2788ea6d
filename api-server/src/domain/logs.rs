//! Who may read a daemon's log.

use zhylon_shared::id::{DaemonId, ServerId};

use super::{Ctx, Domain, Error};

impl Domain {
    /// The daemon whose log the caller may read, and its server. Asked again while a stream lasts, it also finds that
    /// the token has ended meanwhile.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::NotFound`], [`Error::PermissionDenied`].
    pub(crate) async fn authorize_log(
        &self,
        ctx: &Ctx,
        daemon_id: &str,
    ) -> Result<(ServerId, DaemonId), Error> {
        self.authenticate_again(ctx).await?;
        let (row, _) = self.enter_daemon(ctx, daemon_id).await?;
        Ok((row.server_id, row.id))
    }
}
