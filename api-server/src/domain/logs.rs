//! Who may read and clear a daemon's log, and the note that somebody cleared it.

use zhylon_proto::daemons::v1::DaemonEventType;
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

    /// Notes among a daemon's events that the caller has its log cleared. Before it is: no clear goes without its note.
    ///
    /// # Errors
    /// As [`Self::authorize_log`].
    pub(crate) async fn note_log_clear(&self, ctx: &Ctx, daemon_id: &str) -> Result<(), Error> {
        let (row, grant) = self.enter_daemon(ctx, daemon_id).await?;
        let author = self.author(ctx).await?;
        let now = self.clock.wall();
        let event = author.event(DaemonEventType::LogClearRequested, now, String::new())?;
        let noted = self
            .store
            .note_event(&grant, (row.server_id, row.id), &event, now);
        match noted.await {
            Err(crate::store::Error::Gone) => Err(Error::NotFound("daemon")),
            noted => Ok(noted?),
        }
    }
}
