//! Daemons: what a team wants of them. What becomes of it is the host's to tell (`status`).

mod spec;

use zhylon_proto::daemons::v1::{DaemonEventType, DaemonStatus};
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::DesiredState;

use super::events::changed_fields;
use super::{Ctx, Domain, Error, Intent, Page, PageRequest};
use crate::bus::Hint;
use crate::store::{self, DaemonChange, DaemonRow, NewDaemon, NewEvent, Position, Scope, millis};

/// Daemons per server. More have other work for their server than this system; when full, creating is refused.
pub(crate) const DAEMONS_MAX: i64 = 200;
/// A daemon as the API shows it: everything but the values of its environment.
#[derive(Debug, Clone)]
pub(crate) struct DaemonView {
    /// As stored.
    pub(crate) row: DaemonRow,
    /// Its spec, without the environment.
    pub(crate) spec: DaemonSpec,
    /// Names of its environment variables.
    pub(crate) environment_names: Vec<String>,
    /// What was last seen of it.
    pub(crate) status: DaemonStatus,
}

/// What a new daemon should be.
#[derive(Debug, Clone)]
pub(crate) struct DaemonDraft {
    /// Its spec.
    pub(crate) spec: DaemonSpec,
    /// Whether it should run.
    pub(crate) desired: DesiredState,
}

impl DaemonView {
    /// Changes with every write.
    #[must_use]
    pub(crate) fn etag(&self) -> String {
        etag(&self.row)
    }
}

impl Domain {
    /// Creates a daemon. `draft` is asked once the caller is known to be allowed.
    ///
    /// # Errors
    /// Refusals, what `draft` refuses, a taken name, [`Error::QuotaExceeded`].
    pub(crate) async fn create_daemon(
        &self,
        ctx: &Ctx,
        server: &str,
        draft: impl FnOnce() -> Result<DaemonDraft, Error> + Send,
        validate_only: bool,
    ) -> Result<DaemonView, Error> {
        let (server, grant) = self.enter_server(ctx, server).await?;
        let draft = draft()?;
        let id = DaemonId::random()?;
        let stored = self.store_spec(id, &draft.spec)?;
        let now = self.clock.wall();
        let desired = if draft.desired == DesiredState::Running {
            "to run"
        } else {
            "stopped"
        };
        let author = self.author(ctx).await?;
        let new = NewDaemon {
            id,
            server_id: server.id,
            change: DaemonChange {
                name: stored.name,
                spec: stored.spec,
                environment: stored.environment,
                environment_names: stored.environment_names,
                desired_running: draft.desired == DesiredState::Running,
                intent_generation: 1,
                restart: None,
                event: author.event(DaemonEventType::Created, now, desired.to_owned())?,
            },
            now,
            quota: DAEMONS_MAX,
            validate_only,
        };
        let row = match self.store.create_daemon(&grant, &new).await {
            Ok(row) => row,
            Err(store::Error::Full(limit)) => {
                return Err(Error::QuotaExceeded {
                    subject: format!("server {}", server.id),
                    limit,
                });
            }
            Err(error) => return Err(named(error, "server")),
        };
        if !validate_only {
            self.announce(&row);
        }
        self.daemon_view(row)
    }

    /// A daemon.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub(crate) async fn daemon(&self, ctx: &Ctx, id: &str) -> Result<DaemonView, Error> {
        let (row, _) = self.enter_daemon(ctx, id).await?;
        self.daemon_view(row)
    }

    /// Daemons of a server or of a team; exactly one of them is named.
    ///
    /// # Errors
    /// [`Error::NotFound`], a broken page request.
    pub(crate) async fn daemons(
        &self,
        ctx: &Ctx,
        server: &str,
        team: &str,
        page: &PageRequest,
    ) -> Result<Page<DaemonView>, Error> {
        let scope = self.enter_scope(ctx, server, team).await?;
        let cut = self.cut(page, format!("daemons {scope:?}"))?;
        let rows = self.store.daemons(scope, &cut.after, cut.limit()).await?;
        let page = cut.page(rows, |row| Position {
            time: millis(row.create_time),
            id: row.id.to_string(),
        });
        let views = page.items.into_iter().map(|row| self.daemon_view(row));
        Ok(Page {
            items: views.collect::<Result<_, _>>()?,
            next: page.next,
        })
    }

    /// Changes a daemon's spec. `change` is asked once the caller is known to be allowed; it sees the spec as it is,
    /// environment included.
    ///
    /// # Errors
    /// Refusals, [`Error::EtagMismatch`], what `change` refuses, a taken name.
    pub(crate) async fn update_daemon(
        &self,
        ctx: &Ctx,
        id: &str,
        expected_etag: &str,
        change: impl FnOnce(&DaemonSpec) -> Result<DaemonSpec, Error> + Send,
        validate_only: bool,
    ) -> Result<DaemonView, Error> {
        let author = self.author(ctx).await?;
        let now = self.clock.wall();
        let decide = |old: &DaemonRow| {
            check_etag(old, expected_etag)?;
            let current = self.load_spec(old)?;
            let next = change(&current)?;
            let stored = self.store_spec(old.id, &next)?;
            let same_environment = current.environment() == next.environment();
            let fields = changed_fields(&current, &next);
            let event = author.event(DaemonEventType::Updated, now, fields)?;
            Ok(DaemonChange {
                name: stored.name,
                spec: stored.spec,
                // Sealing again would give other bytes for the same values.
                environment: if same_environment {
                    old.environment.clone()
                } else {
                    stored.environment
                },
                environment_names: stored.environment_names,
                ..unchanged(old, event)
            })
        };
        self.write(ctx, id, validate_only, decide).await
    }

    /// Starts, stops or restarts a daemon. Ends a local hold. `intent` is asked once the caller is known to be allowed.
    ///
    /// # Errors
    /// Refusals, what `intent` refuses.
    pub(crate) async fn intend(
        &self,
        ctx: &Ctx,
        id: &str,
        intent: impl FnOnce() -> Result<Intent, Error> + Send,
    ) -> Result<DaemonView, Error> {
        let author = self.author(ctx).await?;
        let now = self.clock.wall();
        let decide = |old: &DaemonRow| {
            let intent = intent()?;
            let (kind, message) = intent.told(old);
            let event = author.event(kind, now, message)?;
            let restart = intent.restart(now)?;
            Ok(DaemonChange {
                desired_running: !matches!(intent, Intent::Stop),
                intent_generation: old.intent_generation + 1,
                restart,
                ..unchanged(old, event)
            })
        };
        self.write(ctx, id, false, decide).await
    }

    /// Deletes a daemon. Its host stops it with its grace.
    ///
    /// # Errors
    /// Refusals, [`Error::EtagMismatch`].
    pub(crate) async fn delete_daemon(
        &self,
        ctx: &Ctx,
        id: &str,
        expected_etag: &str,
    ) -> Result<(), Error> {
        let (row, grant) = self.enter_daemon(ctx, id).await?;
        let author = self.author(ctx).await?;
        let now = self.clock.wall();
        let check = |old: &DaemonRow| {
            let event = check_etag(old, expected_etag)
                .and_then(|()| author.event(DaemonEventType::Deleted, now, String::new()));
            event.map_err(WriteError::Refused)
        };
        match self
            .store
            .delete_daemon(&grant, (row.server_id, row.id), now, check)
            .await
        {
            Ok(()) => {
                self.announce(&row);
                Ok(())
            }
            Err(error) => Err(error.into_domain()),
        }
    }

    async fn write(
        &self,
        ctx: &Ctx,
        id: &str,
        validate_only: bool,
        decide: impl FnOnce(&DaemonRow) -> Result<DaemonChange, Error> + Send,
    ) -> Result<DaemonView, Error> {
        let (row, grant) = self.enter_daemon(ctx, id).await?;
        let decide = |old: &DaemonRow| decide(old).map_err(WriteError::Refused);
        let row = self
            .store
            .change_daemon(
                &grant,
                (row.server_id, row.id),
                self.clock.wall(),
                validate_only,
                decide,
            )
            .await
            .map_err(WriteError::into_domain)?;
        if !validate_only {
            self.announce(&row);
        }
        self.daemon_view(row)
    }

    /// Exactly one of a server and a team.
    pub(super) async fn enter_scope(
        &self,
        ctx: &Ctx,
        server: &str,
        team: &str,
    ) -> Result<Scope, Error> {
        match (server, team) {
            ("", "") => {
                let text = "give `server_id` or `team_id`";
                Err(Error::field("server_id", "REQUIRED", text))
            }
            (server, "") => Ok(Scope::Server(self.enter_server(ctx, server).await?.0.id)),
            ("", team) => Ok(Scope::Team(self.enter_team(ctx, team).await?.team())),
            _ => {
                let text = "give either `server_id` or `team_id`, not both";
                Err(Error::field("team_id", "ONE_OF", text))
            }
        }
    }

    pub(super) fn daemon_view(&self, row: DaemonRow) -> Result<DaemonView, Error> {
        let broken = |error: serde_json::Error| {
            Error::Internal(format!("daemon {} can not be read: {error}", row.id))
        };
        let spec = serde_json::from_str(&row.spec).map_err(broken)?;
        let environment_names = serde_json::from_str(&row.environment_names).map_err(broken)?;
        let connection = self.connection(row.server_id, row.session_epoch);
        Ok(DaemonView {
            status: super::status::status(&row, connection),
            spec,
            environment_names,
            row,
        })
    }

    fn announce(&self, row: &DaemonRow) {
        self.bus.hints().tell(Hint::ServerChanged(row.server_id));
        self.bus.hints().tell(Hint::DaemonChanged {
            server: row.server_id,
            daemon: row.id,
        });
    }
}

/// What a transaction on a daemon may fail with.
enum WriteError {
    Refused(Error),
    Store(store::Error),
}

impl From<store::Error> for WriteError {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

impl WriteError {
    fn into_domain(self) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Store(error) => named(error, "daemon"),
        }
    }
}

/// `gone`: what it means that a row was not there.
fn named(error: store::Error, gone: &'static str) -> Error {
    match error {
        store::Error::Taken => Error::AlreadyExists {
            what: "the server has a daemon of this name",
            rule: "names of daemons are unique per server",
        },
        store::Error::Gone => Error::NotFound(gone),
        error => error.into(),
    }
}

fn unchanged(old: &DaemonRow, event: NewEvent) -> DaemonChange {
    DaemonChange {
        name: old.name.clone(),
        spec: old.spec.clone(),
        environment: old.environment.clone(),
        environment_names: old.environment_names.clone(),
        desired_running: old.desired_running,
        intent_generation: old.intent_generation,
        restart: None,
        event,
    }
}

// The time tells a version from the same number in a restored database.
fn etag(row: &DaemonRow) -> String {
    format!("{}-{:x}", row.version, millis(row.update_time))
}

fn check_etag(row: &DaemonRow, expected: &str) -> Result<(), Error> {
    if expected.is_empty() || expected == etag(row) {
        Ok(())
    } else {
        Err(Error::EtagMismatch)
    }
}
