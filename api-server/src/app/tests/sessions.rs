//! Sessions of agents, over real TLS.

use std::time::{Duration, Instant, SystemTime};

use zhylon_proto::agent::v1::connect_request::Frame as Up;
use zhylon_proto::agent::v1::connect_response::Frame as Down;
use zhylon_proto::agent::v1::*;
use zhylon_proto::daemons::v1 as api;
use zhylon_shared::wire::set_hash;

use super::house::{Agent, House, Link, enroll_request, hello};
use crate::bus::Connection;
use crate::ca::AGENT_LIFE;
use crate::domain::Error;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn rejected(agent: &Agent, hello: Hello) -> (RejectReason, String) {
    agent.connect(hello).await.rejected().await
}

fn status(sequence: u64) -> Up {
    Up::Status(Status {
        sequence,
        full: true,
        daemons: Vec::new(),
    })
}

async fn acked(link: &mut Link, sequence: u64) {
    link.send(status(sequence)).await;
    match link.frame().await {
        Some(Down::StatusAck(ack)) => assert_eq!(ack.sequence, sequence),
        other => panic!("{other:?} instead of an acknowledgement"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_then_deltas_then_nothing_for_who_has_it() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let first = house.create_daemon(server, "/bin/first").await;
    let agent = house.enroll(server).await;
    let (mut link, welcome) = agent.welcome(hello()).await;
    assert_eq!(welcome.protocol, 1);
    let snapshot = link.config().await;
    assert!(snapshot.snapshot);
    assert_eq!(snapshot.target_revision, welcome.target_revision);
    assert_eq!(snapshot.hash, set_hash(&snapshot.daemons));
    assert_eq!(snapshot.daemons[0].id, first.id);
    link.accept(&snapshot).await;

    let begun = Instant::now();
    let second = house.create_daemon(server, "/bin/second").await;
    let delta = link.config().await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "it came by the sweep only"
    );
    assert!(!delta.snapshot);
    assert_eq!(delta.base_revision, snapshot.target_revision);
    assert_eq!(delta.daemons.len(), 1);
    assert_eq!(delta.daemons[0].id, second.id);
    link.accept(&delta).await;
    acked(&mut link, 1).await;
    drop(link);

    let mut known = hello();
    known.config_epoch = delta.config_epoch.clone();
    known.applied_revision = delta.target_revision;
    known.applied_hash = delta.hash.clone();
    let (mut link, welcome) = agent.welcome(known).await;
    assert_eq!(welcome.target_revision, delta.target_revision);
    // Nothing before the answer to this.
    acked(&mut link, 1).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dates_are_judged_by_our_clock_and_told_in_words() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let now = SystemTime::now();
    let old = house.agent_of(server, now - AGENT_LIFE - DAY);
    let (reason, message) = rejected(&old, hello()).await;
    assert_eq!(reason, RejectReason::Expired, "{message}");
    assert!(message.contains("ended 20"), "{message}");
    let early = house.agent_of(server, now + DAY);
    let (reason, message) = rejected(&early, hello()).await;
    assert_eq!(reason, RejectReason::ClockSkew, "{message}");
    house.agent_of(server, now).welcome(hello()).await;
    let state = house.domain.bus().presence().state(server, true);
    assert_eq!(state, Connection::Connected);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_acknowledged_when_stored() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let daemon = house.create_daemon(server, "/bin/first").await;
    let agent = house.enroll(server).await;
    // The second time as after an acknowledgement that was lost.
    for _ in 0..2 {
        let (mut link, _) = agent.welcome(hello()).await;
        let update = link.config().await;
        link.accept(&update).await;
        let events = (7..9).map(|sequence| HostEvent {
            sequence,
            event: Some(api::DaemonEvent {
                daemon_id: daemon.id.clone(),
                r#type: api::DaemonEventType::Crashed.into(),
                ..Default::default()
            }),
        });
        link.send(Up::Events(Events {
            boot_id: "boot".to_owned(),
            events: events.collect(),
        }))
        .await;
        match link.frame().await {
            Some(Down::EventsAck(ack)) => assert_eq!(ack.sequence, 8),
            other => panic!("{other:?} instead of an acknowledgement"),
        }
    }
    let stored = house.events(&daemon.id).await;
    let types: Vec<_> = stored.iter().map(api::DaemonEvent::r#type).collect();
    use api::DaemonEventType::{Crashed, Created};
    assert_eq!(types, [Crashed, Crashed, Created]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_session_ends_the_older_at_once() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let agent = house.enroll(server).await;
    let (mut first, one) = agent.welcome(hello()).await;
    let update = first.config().await;
    first.accept(&update).await;
    let (mut second, two) = agent.welcome(hello()).await;
    assert!(two.session_epoch > one.session_epoch);
    let begun = Instant::now();
    assert_eq!(first.rejected().await.0, RejectReason::Superseded);
    assert!(begun.elapsed() < Duration::from_secs(1));
    let update = second.config().await;
    second.accept(&update).await;
    acked(&mut second, 1).await;
    let state = house.domain.bus().presence().state(server, true);
    assert_eq!(state, Connection::Connected);
    house.stop().await;
}

/// As when another replica took the server and its hint was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_write_ends_the_session() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let (mut link, _) = house.enroll(server).await.welcome(hello()).await;
    let update = link.config().await;
    link.accept(&update).await;
    acked(&mut link, 1).await;
    house.domain.claim(server, "elsewhere").await.unwrap();
    link.send(status(2)).await;
    assert_eq!(link.rejected().await.0, RejectReason::Superseded);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_server_is_revoked_and_not_let_in_again() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let agent = house.enroll(server).await;
    let (mut link, _) = agent.welcome(hello()).await;
    let update = link.config().await;
    link.accept(&update).await;
    let mut servers = house.servers();
    let deleted = servers.delete_server(house.call(api::DeleteServerRequest {
        server_id: server.to_string(),
    }));
    deleted.await.unwrap();
    assert_eq!(link.rejected().await.0, RejectReason::Revoked);
    assert_eq!(rejected(&agent, hello()).await.0, RejectReason::Revoked);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_the_protocol_is_told_so() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let agent = house.enroll(server).await;
    let mut link = agent.dial().await;
    link.send(status(1)).await;
    assert_eq!(link.rejected().await.0, RejectReason::ProtocolError);

    let mut mute = agent.dial().await;
    let begun = Instant::now();
    assert_eq!(mute.rejected().await.0, RejectReason::ProtocolError);
    assert!(begun.elapsed() >= Duration::from_secs(4), "not at once");

    let mut future = hello();
    (future.protocol_min, future.protocol_max) = (2, 9);
    let (reason, _) = rejected(&agent, future).await;
    assert_eq!(reason, RejectReason::ProtocolUnsupported);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_agent_is_lost_and_a_talking_one_is_not() {
    // Whoever is silent for three of these is lost: on a busy machine that must be long enough to speak in.
    let house = House::with_heartbeat(2000).await;
    let server = house.create_server("one").await;
    let (mut link, welcome) = house.enroll(server).await.welcome(hello()).await;
    assert_eq!(welcome.heartbeat_interval_ms, 2000);
    let update = link.config().await;
    link.accept(&update).await;
    let presence = house.domain.bus().presence();
    for _ in 0..5 {
        match link.any_frame().await {
            Some(Down::Heartbeat(beat)) => assert!(beat.read_time.is_some()),
            other => panic!("{other:?} instead of a heartbeat"),
        }
        link.send(Up::Heartbeat(Heartbeat::default())).await;
        assert_eq!(presence.state(server, true), Connection::Connected);
    }
    while link.any_frame().await.is_some() {}
    assert_eq!(presence.state(server, true), Connection::Reconnecting);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolment_token_is_pinned_and_used_once() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let token = house.enrollment_token(server).await;
    let public = std::fs::read(house.dir.path().join("data/public-ca.pem")).unwrap();
    let public = zhylon_shared::tls::certificates(&public).unwrap();
    assert_eq!(token.pin, zhylon_shared::tls::spki_pin(&public[0]).unwrap());

    let request = || {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
    };
    let (mine, other) = (request(), request());
    let enroll = |der: &[u8]| {
        let request = enroll_request(&token, der);
        let mut servers = house.servers();
        async move { servers.enroll(request).await }
    };
    let junk = enroll(b"junk").await.unwrap_err();
    assert_eq!(junk.code(), tonic::Code::InvalidArgument, "{junk:?}");
    enroll(mine.der()).await.unwrap();
    // Its first answer may have been lost.
    enroll(mine.der()).await.unwrap();
    let used = enroll(other.der()).await.unwrap_err();
    assert!(used.message().contains("used already"), "{used:?}");
    house.stop().await;
}

/// What the fence is for: the store itself refuses the older session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_refuses_the_older_session() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let (one, two) = (
        house.domain.claim(server, "a").await.unwrap().session_epoch,
        house.domain.claim(server, "b").await.unwrap().session_epoch,
    );
    let write = |epoch| house.domain.record_status(server, epoch, true, Vec::new());
    assert!(matches!(write(one).await, Err(Error::Fenced)));
    write(two).await.unwrap();
    house.stop().await;
}
