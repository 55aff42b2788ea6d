//! Servers and their enrolment tokens.

use std::time::{Duration, SystemTime};

use zhylon_shared::id::{EnrollmentId, ServerId};
use zhylon_shared::redact::Secret;
use zhylon_shared::spec::check_display_name;
use zhylon_shared::token::{self, EnrollmentToken};

use super::{Ctx, Domain, Error, Page, PageRequest, Precondition};
use crate::bus::{Connection, Hint};
use crate::store::{self, Deletion, NewEnrollment, NewServer, Position, ServerRow, millis};

/// Life of an enrolment token: long enough to install an agent, short enough to forget it in a shell's history.
const ENROLLMENT_LIFE: Duration = Duration::from_secs(3600);

/// A server as the API shows it.
#[derive(Debug, Clone)]
pub(crate) struct ServerView {
    /// As stored.
    pub(crate) row: ServerRow,
    /// How its agent is connected.
    pub(crate) connection: Connection,
}

impl Domain {
    /// Creates a server.
    ///
    /// # Errors
    /// Refusals, a broken name, a name the team has already.
    pub(crate) async fn create_server(
        &self,
        ctx: &Ctx,
        team: &str,
        name: &str,
    ) -> Result<ServerView, Error> {
        let grant = self.enter_team(ctx, team).await?;
        check_display_name("name", name).map_err(|bad| Error::Invalid(vec![bad]))?;
        let id = ServerId::random()?;
        let server = NewServer {
            id,
            name: name.to_owned(),
            create_time: self.clock.wall(),
            config_epoch: ServerId::random()?.bare().to_owned(),
        };
        match self.store.create_server(&grant, &server).await {
            Ok(()) => {}
            Err(store::Error::Taken) => {
                return Err(Error::AlreadyExists {
                    what: "the team has a server of this name",
                    rule: "names of servers are unique per team",
                });
            }
            Err(error) => return Err(error.into()),
        }
        let row = self.store.server(id).await?;
        Ok(self.server_view(row.ok_or(Error::NotFound("server"))?))
    }

    /// A server.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn server(&self, ctx: &Ctx, id: &str) -> Result<ServerView, Error> {
        let (row, _) = self.enter_server(ctx, id).await?;
        Ok(self.server_view(row))
    }

    /// The servers of a team.
    ///
    /// # Errors
    /// [`Error::NotFound`], a broken page request.
    pub(crate) async fn servers(
        &self,
        ctx: &Ctx,
        team: &str,
        page: &PageRequest,
    ) -> Result<Page<ServerView>, Error> {
        let team = self.enter_team(ctx, team).await?.team();
        let cut = self.cut(page, format!("servers {team}"))?;
        let rows = self.store.servers(team, &cut.after, cut.limit()).await?;
        let views = rows.into_iter().map(|row| self.server_view(row)).collect();
        Ok(cut.page(views, |view: &ServerView| Position {
            time: millis(view.row.create_time),
            id: view.row.id.to_string(),
        }))
    }

    /// Deletes a server that has no daemons. Its agent's identity ends with it.
    ///
    /// # Errors
    /// Refusals; [`Error::Precondition`] while it has daemons, or its agent still stops deleted ones.
    pub(crate) async fn delete_server(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        let (row, grant) = self.enter_server(ctx, id).await?;
        // An agent that is away may never come back to finish.
        let away = matches!(
            self.server_view(row.clone()).connection,
            Connection::Offline | Connection::NeverConnected
        );
        match self.store.delete_server(&grant, row.id, away).await {
            Ok(Deletion::Done) => {
                self.bus.presence().forget(row.id);
                self.bus.hints().tell(Hint::ServerChanged(row.id));
                Ok(())
            }
            Ok(Deletion::HasDaemons) => Err(Error::Precondition(Precondition::ServerHasDaemons)),
            Ok(Deletion::HasTombstones) => Err(Error::Precondition(Precondition::DaemonsStopping)),
            Err(store::Error::Gone) => Err(Error::NotFound("server")),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the identity of a server's agent: its sessions end, and it gets no certificate any more.
    ///
    /// # Errors
    /// Refusals.
    pub(crate) async fn revoke_identity(&self, ctx: &Ctx, id: &str) -> Result<ServerView, Error> {
        let (row, grant) = self.enter_server(ctx, id).await?;
        let now = self.clock.wall();
        match self.store.revoke_identity(&grant, row.id, now).await {
            Ok(row) => {
                self.bus.hints().tell(Hint::ServerChanged(row.id));
                Ok(self.server_view(row))
            }
            Err(store::Error::Gone) => Err(Error::NotFound("server")),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates an enrolment token, and says when it ends. `pin`: of the chain the public listener presents now.
    ///
    /// # Errors
    /// Refusals.
    pub(crate) async fn create_enrollment(
        &self,
        ctx: &Ctx,
        server: &str,
        pin: [u8; 32],
    ) -> Result<(Secret, SystemTime), Error> {
        let (server, grant) = self.enter_server(ctx, server).await?;
        let token = EnrollmentToken {
            pin,
            id: EnrollmentId::random()?,
            secret: token::new_secret()?,
        };
        let now = self.clock.wall();
        let new = NewEnrollment {
            id: token.id,
            server_id: server.id,
            secret_hash: token::hash(&token.secret),
            create_time: now,
            expire_time: now + ENROLLMENT_LIFE,
        };
        match self.store.create_enrollment(&grant, &new).await {
            Ok(()) => Ok((token.to_text(), new.expire_time)),
            Err(store::Error::Gone) => Err(Error::NotFound("server")),
            Err(error) => Err(error.into()),
        }
    }

    fn server_view(&self, row: ServerRow) -> ServerView {
        let connection = self.connection(row.id, row.session_epoch);
        ServerView { row, connection }
    }

    /// How a server is connected. Session epoch 0: no agent ever was.
    pub(super) fn connection(&self, server: ServerId, session_epoch: i64) -> Connection {
        self.bus.presence().state(server, session_epoch > 0)
    }
}
