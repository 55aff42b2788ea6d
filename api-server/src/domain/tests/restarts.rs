//! Intents, restarts and how they expire.

use super::*;
use zhylon_proto::daemons::v1::RestartOutcome;

struct Case {
    world: World,
    server: ServerId,
    id: DaemonId,
    epoch: i64,
}

impl Case {
    async fn new() -> Self {
        let world = World::new().await;
        let server = world.server("a").await;
        let id = world.daemon(server).await.row.id;
        let epoch = world.domain.claim(server, "1").await.unwrap().session_epoch;
        let case = Self {
            world,
            server,
            id,
            epoch,
        };
        case.acknowledge(1).await;
        case
    }

    async fn acknowledge(&self, revision: i64) {
        let domain = &self.world.domain;
        let write = domain.acknowledge(self.server, self.epoch, revision);
        write.await.unwrap();
    }

    async fn intend(&self, method: &str, intent: Intent) -> DaemonView {
        let ctx = self.world.owner(&format!("DaemonService/{method}")).await;
        let id = self.id.to_string();
        let write = self.world.domain.intend(&ctx, &id, || Ok(intent));
        write.await.unwrap()
    }

    async fn restart(&self) -> DaemonView {
        self.intend("RestartDaemon", restart_intent(None)).await
    }

    /// What the host is told: server revision, restart generation, running.
    async fn told(&self) -> (i64, i64, bool) {
        let set = self.world.domain.desired(self.server).await.unwrap();
        let daemon = &set.daemons[0];
        (set.revision, daemon.restart_generation, daemon.running)
    }

    async fn outcome(&self) -> (i64, RestartOutcome) {
        let status = self.world.get(self.id).await.unwrap().status;
        (status.settled_restart_generation, status.restart_outcome())
    }
}

#[tokio::test]
async fn intents_raise_their_counters() {
    let case = Case::new().await;
    let row = case.intend("StopDaemon", Intent::Stop).await.row;
    assert_eq!((row.intent_generation, row.restart_generation), (2, 0));
    assert!(!row.desired_running);
    // The same again is an intent too: it ends a local hold.
    let row = case.intend("StopDaemon", Intent::Stop).await.row;
    assert_eq!((row.intent_generation, row.changed_revision), (3, 3));
    let row = case.restart().await.row;
    assert!(row.desired_running, "a restart wants it to run");
    assert_eq!((row.intent_generation, row.restart_generation), (4, 1));
    let row = case.intend("StartDaemon", Intent::Start).await.row;
    assert_eq!((row.intent_generation, row.restart_generation), (5, 1));
    assert_eq!(case.told().await, (5, 1, true));
}

#[tokio::test]
async fn a_restart_in_the_ledger_never_expires() {
    let case = Case::new().await;
    case.restart().await;
    assert_eq!(case.told().await, (2, 1, true));
    case.acknowledge(2).await;
    case.world.pass(Duration::from_secs(24 * 3600));
    assert_eq!(case.told().await, (2, 1, true));
    assert_eq!(case.outcome().await, (0, RestartOutcome::Unspecified));
}

#[tokio::test]
async fn a_restart_the_host_does_not_have_expires_when_it_is_handed_over() {
    let case = Case::new().await;
    case.restart().await;
    case.world.pass(Duration::from_secs(15 * 60));
    assert_eq!(case.told().await, (2, 1, true), "not a moment too early");
    case.world.pass(Duration::from_millis(1));
    assert_eq!(case.outcome().await, (0, RestartOutcome::Unspecified));
    // Whoever was told generation 1 at revision 2 hears of the change under a new revision.
    assert_eq!(case.told().await, (3, 0, true));
    assert_eq!(case.outcome().await, (1, RestartOutcome::Expired));
    assert_eq!(case.told().await, (3, 0, true), "and once only");
    // The next one is a new generation.
    case.restart().await;
    assert_eq!(case.told().await, (4, 2, true));
}

#[tokio::test]
async fn restarts_that_waited_together_expire_together() {
    let case = Case::new().await;
    case.restart().await;
    case.acknowledge(2).await;
    case.restart().await;
    case.world.pass(Duration::from_secs(60));
    case.restart().await;
    case.world.pass(Duration::from_secs(15 * 60));
    assert_eq!(case.told().await, (4, 3, true));
    case.world.pass(Duration::from_millis(1));
    assert_eq!(case.told().await, (5, 1, true), "back to what the host has");
    assert_eq!(case.outcome().await, (3, RestartOutcome::Expired));
}

#[tokio::test]
async fn the_hosts_word_counts_more_than_our_guess() {
    let case = Case::new().await;
    case.restart().await;
    case.world.pass(Duration::from_secs(16 * 60));
    case.told().await;
    // It had the restart after all: the acknowledgement was lost.
    let mut report = running(case.id, 2);
    report.settled_restart_generation = 1;
    report.restart_outcome = RestartOutcome::Succeeded.into();
    let domain = &case.world.domain;
    domain
        .record_status(case.server, case.epoch, true, vec![report])
        .await
        .unwrap();
    assert_eq!(case.outcome().await, (1, RestartOutcome::Succeeded));
}

#[tokio::test]
async fn not_after_must_be_to_come() {
    let case = Case::new().await;
    let ctx = case.world.owner("DaemonService/RestartDaemon").await;
    let now = case.world.domain.clock().wall();
    let domain = &case.world.domain;
    let id = case.id.to_string();
    let refused = domain.intend(&ctx, &id, || Ok(restart_intent(Some(now))));
    assert_eq!(reason(refused.await), "INVALID_FIELD");
    assert_eq!(case.told().await, (1, 0, true));
    let soon = now + Duration::from_secs(5);
    let accepted = domain.intend(&ctx, &id, || Ok(restart_intent(Some(soon))));
    accepted.await.unwrap();
    case.world.pass(Duration::from_secs(6));
    assert_eq!(case.told().await, (3, 0, true));
}

#[tokio::test]
async fn the_host_is_told_how() {
    let case = Case::new().await;
    let strategy = async || {
        let set = case.world.domain.desired(case.server).await.unwrap();
        set.daemons[0].restart_strategy
    };
    let restart = |strategy| {
        let intent = Intent::Restart {
            not_after: None,
            strategy,
        };
        case.intend("RestartDaemon", intent)
    };
    assert_eq!(strategy().await, 0);
    let view = restart(RestartStrategy::Rolling).await;
    assert!(view.row.restart_rolling);
    assert_eq!(strategy().await, 2);
    // Whatever else is written, the newest restart stays what it is.
    case.intend("StartDaemon", Intent::Start).await;
    assert_eq!(strategy().await, 2);
    restart(RestartStrategy::AllAtOnce).await;
    assert_eq!(
        strategy().await,
        0,
        "not said: an older agent knows all of it"
    );
}
