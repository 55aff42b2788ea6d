//! Sessions, fences, statuses, tombstones, enrolment.

use super::*;
use crate::bus::Connection;
use zhylon_proto::daemons::v1 as api;
use zhylon_shared::token::EnrollmentToken;

#[tokio::test]
async fn an_older_session_writes_nothing() {
    let world = World::new().await;
    let domain = &world.domain;
    let server = world.server("a").await;
    let daemon = world.daemon(server).await;
    let old = domain.claim(server, "1.0").await.unwrap();
    let new = domain.claim(server, "1.1").await.unwrap();
    assert!(new.session_epoch > old.session_epoch);
    assert_eq!(new.revision, 1);
    let id = daemon.row.id;
    for epoch in [old.session_epoch, new.session_epoch + 1] {
        let report = vec![running(id, 1)];
        assert_eq!(
            reason(domain.record_status(server, epoch, true, report).await),
            "SESSION_FENCED"
        );
        assert_eq!(
            reason(domain.acknowledge(server, epoch, 1).await),
            "SESSION_FENCED"
        );
        assert_eq!(reason(domain.seen(server, epoch).await), "SESSION_FENCED");
    }
    let untouched = world.get(id).await.unwrap();
    assert!(untouched.status.reported_at.is_none());
    assert_eq!(untouched.row.acked_revision, 0);

    let epoch = new.session_epoch;
    domain.acknowledge(server, epoch, 1).await.unwrap();
    // A revision that never was is not believed.
    domain.acknowledge(server, epoch, 99).await.unwrap();
    let report = vec![running(id, 1)];
    domain
        .record_status(server, epoch, true, report)
        .await
        .unwrap();
    let seen = world.get(id).await.unwrap();
    assert_eq!(seen.row.acked_revision, 1);
    assert_eq!(seen.status.state(), api::InstanceState::Running);
    assert!(!seen.status.reconciling);
    // Wanted anew, and not yet done.
    let ctx = world.owner("DaemonService/StopDaemon").await;
    let stopped = domain
        .intend(&ctx, &id.to_string(), || Ok(Intent::Stop))
        .await;
    assert!(stopped.unwrap().status.reconciling);
    let mut report = running(id, 2);
    for converged in [false, true] {
        report.converged = converged;
        let reports = vec![report.clone()];
        let write = domain.record_status(server, epoch, true, reports);
        write.await.unwrap();
        let status = world.get(id).await.unwrap().status;
        assert_eq!(status.reconciling, !converged);
    }
}

#[tokio::test]
async fn a_server_reports_its_own_daemons_only() {
    let world = World::new().await;
    let (one, two) = (world.server("one").await, world.server("two").await);
    let daemon = world.daemon(one).await.row.id;
    let claim = world.domain.claim(two, "1").await.unwrap();
    let mut report = running(daemon, 1);
    for gone in [false, true] {
        report.gone = gone;
        let reports = vec![report.clone()];
        world
            .domain
            .record_status(two, claim.session_epoch, false, reports)
            .await
            .unwrap();
    }
    let view = world.get(daemon).await.unwrap();
    assert!(view.status.reported_at.is_none());
}

#[tokio::test]
async fn away_reads_unknown_only_while_offline() {
    let world = World::new().await;
    let domain = &world.domain;
    let server = world.server("a").await;
    let daemon = world.daemon(server).await;
    let status = &daemon.status;
    assert_eq!(
        status.connection_state(),
        api::ConnectionState::NeverConnected
    );
    assert!(status.reconciling);
    let claim = domain.claim(server, "1").await.unwrap();
    let epoch = claim.session_epoch;
    domain.bus().presence().connected(server, epoch);
    let id = daemon.row.id;
    let report = vec![running(id, 1)];
    domain
        .record_status(server, epoch, true, report)
        .await
        .unwrap();
    domain.bus().presence().lost(server, epoch);
    world.pass(Duration::from_secs(59));
    let status = world.get(id).await.unwrap().status;
    assert_eq!(status.state(), api::InstanceState::Running);
    assert_eq!(
        status.connection_state(),
        api::ConnectionState::Reconnecting
    );
    world.pass(Duration::from_secs(1));
    let status = world.get(id).await.unwrap().status;
    assert_eq!(status.state(), api::InstanceState::Unknown);
    assert_eq!(status.instances[0].state(), api::InstanceState::Unknown);
    assert_eq!(status.last_known_state(), api::InstanceState::Running);
    assert_eq!(status.connection_state(), api::ConnectionState::Offline);
    assert!(status.reported_at.is_some());
}

#[tokio::test]
async fn a_deleted_daemon_stays_until_the_host_says_it_is_gone() {
    let world = World::new().await;
    let domain = &world.domain;
    let server = world.server("a").await;
    let one = world.daemon(server).await.row.id;
    let two = world.daemon(server).await.row.id;
    let epoch = domain.claim(server, "1").await.unwrap().session_epoch;
    domain.bus().presence().connected(server, epoch);
    domain.acknowledge(server, epoch, 2).await.unwrap();
    world.delete(one).await;
    world.delete(two).await;
    assert_eq!(reason(world.get(one).await), "NOT_FOUND");
    let desired = domain.desired(server).await.unwrap();
    assert_eq!((desired.revision, desired.daemons.len()), (4, 0));

    let ctx = world.owner("ServerService/DeleteServer").await;
    let id = server.to_string();
    assert_eq!(
        reason(domain.delete_server(&ctx, &id).await),
        "DAEMONS_STOPPING"
    );
    let mut gone = running(one, 4);
    gone.gone = true;
    domain
        .record_status(server, epoch, false, vec![gone])
        .await
        .unwrap();
    // The other is not reported at all, but its deletion was not acknowledged: it may be still to be stopped.
    domain
        .record_status(server, epoch, true, vec![])
        .await
        .unwrap();
    assert_eq!(
        reason(domain.delete_server(&ctx, &id).await),
        "DAEMONS_STOPPING"
    );
    domain.acknowledge(server, epoch, 4).await.unwrap();
    domain
        .record_status(server, epoch, true, vec![])
        .await
        .unwrap();
    domain.delete_server(&ctx, &id).await.unwrap();
    assert_eq!(reason(domain.claim(server, "1").await), "NOT_FOUND");
    assert_eq!(
        domain.bus().presence().state(server, false),
        Connection::NeverConnected
    );
}

#[tokio::test]
async fn the_sweep_finds_what_changed_and_what_is_gone() {
    let world = World::new().await;
    let (same, newer, gone) = (
        world.server("same").await,
        world.server("newer").await,
        world.server("gone").await,
    );
    world.daemon(newer).await;
    let ctx = world.owner("ServerService/DeleteServer").await;
    let id = gone.to_string();
    world.domain.delete_server(&ctx, &id).await.unwrap();
    let behind = world
        .domain
        .revisions_behind(&[(same, 0), (newer, 0), (gone, 0)])
        .await
        .unwrap();
    assert_eq!(behind, [(newer, Some(1)), (gone, None)]);
}

#[tokio::test]
async fn an_enrolment_token_is_for_one_key() {
    let world = World::new().await;
    let domain = &world.domain;
    let server = world.server("a").await;
    let token = async || {
        let ctx = world.owner("ServerService/CreateEnrollmentToken").await;
        let made = domain
            .create_enrollment(&ctx, &server.to_string(), [1; 32])
            .await;
        EnrollmentToken::parse(made.unwrap().0.expose()).unwrap()
    };
    let first = token().await;
    let redeem = |token: &EnrollmentToken, key: u8| {
        let (id, secret) = (token.id, token.secret.clone());
        async move { domain.redeem_enrollment(id, &secret, [key; 32]).await }
    };
    let stolen = EnrollmentToken {
        secret: token().await.secret,
        ..first.clone()
    };
    assert_eq!(reason(redeem(&stolen, 1).await), "ENROLLMENT_TOKEN_UNKNOWN");
    assert_eq!(redeem(&first, 1).await.unwrap(), server);
    assert_eq!(redeem(&first, 1).await.unwrap(), server);
    assert_eq!(reason(redeem(&first, 2).await), "ENROLLMENT_TOKEN_USED");
    let second = token().await;
    let (a, b) = tokio::join!(redeem(&second, 1), redeem(&second, 2));
    assert!(a.is_ok() != b.is_ok(), "exactly one of two keys wins");
    let third = token().await;
    world.pass(Duration::from_secs(3600));
    assert_eq!(reason(redeem(&third, 1).await), "ENROLLMENT_TOKEN_EXPIRED");
    assert_eq!(reason(redeem(&first, 1).await), "ENROLLMENT_TOKEN_EXPIRED");
}

#[tokio::test]
async fn a_report_can_not_fill_the_database() {
    let world = World::new().await;
    let server = world.server("a").await;
    let id = world.daemon(server).await.row.id;
    let claim = world.domain.claim(server, &"9".repeat(999)).await.unwrap();
    let mut report = running(id, 1);
    report.message = "x".repeat(64 * 1024);
    let refused = world
        .domain
        .record_status(server, claim.session_epoch, true, vec![report])
        .await;
    assert_eq!(reason(refused), "INVALID_FIELD");
    let ctx = world.owner("ServerService/GetServer").await;
    let view = world.domain.server(&ctx, &server.to_string()).await;
    assert_eq!(view.unwrap().row.agent_version.len(), 64);
}
