//! Who may read a daemon's log.

use zhylon_shared::id::{DaemonId, ServerId};

use super::{Ctx, Domain, Error};

impl Domain {
    /// The daemon whose log the caller may read, and its server.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`].
    pub(crate) async fn authorize_log(
        &self,
        ctx: &Ctx,
        daemon_id: &str,
    ) -> Result<(ServerId, DaemonId), Error> {
        let _ = (ctx, daemon_id);
        todo!("owner: api")
    }
}
