//! A world with an operator, an owner and a team, on a real store, at a time the test moves; and what the rules promise.

mod agents;
mod events;
mod pages;
mod restarts;
mod secrets;
mod teams;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use zhylon_proto::agent::v1::DaemonReport;
use zhylon_proto::daemons::v1::{InstanceState, InstanceStatus};
use zhylon_shared::id::{DaemonId, ServerId, TeamId, UserId};
use zhylon_shared::redact::Secret;
use zhylon_shared::spec::{DaemonSpec, SpecDraft};
use zhylon_shared::state::{DesiredState, RestartStrategy};

use super::*;
use crate::access;
use crate::bus::Bus;
use crate::clock::Now;

fn restart_intent(not_after: Option<SystemTime>) -> Intent {
    Intent::Restart {
        not_after,
        strategy: RestartStrategy::AllAtOnce,
    }
}

pub(crate) const KEY: [u8; 32] = [42; 32];

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) domain: Domain,
    pub(crate) operator: (UserId, Secret),
    pub(crate) owner: (UserId, Secret),
    pub(crate) team: TeamId,
    millis: Arc<AtomicU64>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let millis = Arc::new(AtomicU64::new(1_800_000_000_000));
        let clock = clock(&millis);
        let store = Store::open_sqlite(&dir.path().join("db")).await.unwrap();
        let names = BootstrapNames {
            operator: "panel".to_owned(),
            owner: "ada".to_owned(),
            team: "first".to_owned(),
        };
        let made = bootstrap(&store, &clock, names).await.unwrap();
        let bus = Bus::new(clock.clone());
        let domain = Domain::new(store, bus, EnvironmentKey::new(KEY), clock);
        Self {
            dir,
            domain,
            operator: made.operator,
            owner: made.owner,
            team: made.team,
            millis,
        }
    }

    pub(crate) fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Another replica, as it were: the same store and time, other hints and presence.
    pub(crate) fn elsewhere(&self) -> Domain {
        let clock = clock(&self.millis);
        let bus = Bus::new(clock.clone());
        Domain::new(
            self.domain.store.clone(),
            bus,
            EnvironmentKey::new(KEY),
            clock,
        )
    }

    /// A call of `Service/Method` with this token.
    pub(crate) async fn call(&self, token: &Secret, method: &str) -> Result<Ctx, Error> {
        self.call_for(token, method, None).await
    }

    pub(crate) async fn call_for(
        &self,
        token: &Secret,
        method: &str,
        on_behalf_of: Option<&str>,
    ) -> Result<Ctx, Error> {
        let rule = access::rule(&format!("zhylon.daemons.v1.{method}")).unwrap();
        let authorization = format!("Bearer {}", token.expose());
        let shown = Shown {
            authorization: Some(&authorization),
            on_behalf_of,
        };
        self.domain.authenticate(shown, rule).await
    }

    pub(crate) async fn owner(&self, method: &str) -> Ctx {
        self.call(&self.owner.1, method).await.unwrap()
    }

    pub(crate) async fn server(&self, name: &str) -> ServerId {
        let ctx = self.owner("ServerService/CreateServer").await;
        let team = self.team.to_string();
        let server = self.domain.create_server(&ctx, &team, name).await;
        server.unwrap().row.id
    }

    pub(crate) async fn daemon(&self, server: ServerId) -> DaemonView {
        self.create(server, SpecDraft::default()).await.unwrap()
    }

    pub(crate) async fn create(
        &self,
        server: ServerId,
        draft: SpecDraft,
    ) -> Result<DaemonView, Error> {
        let ctx = self.owner("DaemonService/CreateDaemon").await;
        let make = || {
            Ok(DaemonDraft {
                spec: spec(draft),
                desired: DesiredState::Running,
            })
        };
        let server = server.to_string();
        self.domain.create_daemon(&ctx, &server, make, false).await
    }

    pub(crate) async fn get(&self, id: DaemonId) -> Result<DaemonView, Error> {
        let ctx = self.owner("DaemonService/GetDaemon").await;
        self.domain.daemon(&ctx, &id.to_string()).await
    }

    pub(crate) async fn delete(&self, id: DaemonId) {
        let ctx = self.owner("DaemonService/DeleteDaemon").await;
        let done = self.domain.delete_daemon(&ctx, &id.to_string(), "").await;
        done.unwrap();
    }

    /// A new user, member of the team with these permissions; gives its token.
    pub(crate) async fn member(&self, permissions: &[&str]) -> (UserId, Secret) {
        let person = self.person().await;
        let ctx = self.owner("TeamService/AddMember").await;
        let permissions: Vec<_> = permissions.iter().map(|&p| p.to_owned()).collect();
        self.domain
            .add_member(
                &ctx,
                &self.team.to_string(),
                &person.0.to_string(),
                &permissions,
            )
            .await
            .unwrap();
        person
    }

    /// A new user without a team; gives its token.
    pub(crate) async fn person(&self) -> (UserId, Secret) {
        let ctx = self.call(&self.operator.1, "UserService/CreateUser").await;
        let user = self.domain.create_user(&ctx.unwrap(), "grace").await;
        let user = user.unwrap().id;
        (user, self.token(user).await)
    }

    pub(crate) async fn token(&self, user: UserId) -> Secret {
        let ctx = self
            .call(&self.operator.1, "TokenService/CreateToken")
            .await;
        let draft = TokenDraft {
            name: "test".to_owned(),
            user_id: user.to_string(),
            expire_time: None,
        };
        let made = self.domain.create_token(&ctx.unwrap(), draft).await;
        made.unwrap().1
    }

    /// Another team with its own owner; gives that one's token.
    pub(crate) async fn other_team(&self) -> (TeamId, Secret) {
        let (user, token) = self.person().await;
        let ctx = self.call(&self.operator.1, "TeamService/CreateTeam").await;
        let team = self
            .domain
            .create_team(&ctx.unwrap(), "other", &user.to_string())
            .await;
        (team.unwrap().id, token)
    }
}

fn clock(millis: &Arc<AtomicU64>) -> Clock {
    let read = Arc::clone(millis);
    Clock::manual(move || {
        let since = Duration::from_millis(read.load(Ordering::SeqCst));
        Now {
            wall: SystemTime::UNIX_EPOCH + since,
            monotonic: since,
        }
    })
}

pub(crate) fn spec(draft: SpecDraft) -> DaemonSpec {
    let command = if draft.command.is_empty() {
        "/bin/sleep 600".to_owned()
    } else {
        draft.command.clone()
    };
    DaemonSpec::check(SpecDraft { command, ..draft }).unwrap()
}

/// A report that all is well at `revision`, with one RUNNING instance.
pub(crate) fn running(id: DaemonId, revision: i64) -> DaemonReport {
    DaemonReport {
        id: id.to_string(),
        observed_revision: revision,
        converged: true,
        instances: vec![InstanceStatus {
            pid: 77,
            state: InstanceState::Running.into(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    result.unwrap_err().reason().text()
}
