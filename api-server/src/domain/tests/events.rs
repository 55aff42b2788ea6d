//! What happened to daemons: who did it, told once, bounded, and readable as long as it is kept.

use super::*;
use zhylon_proto::agent::v1::{Events, HostEvent};
use zhylon_proto::daemons::v1::{
    self as api, DaemonEventSource as Source, DaemonEventType as Type,
};
use zhylon_shared::wire::timestamp;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl World {
    async fn events(&self, id: DaemonId) -> Vec<api::DaemonEvent> {
        let ctx = self.owner("DaemonService/ListDaemonEvents").await;
        let page = PageRequest {
            size: 1000,
            token: String::new(),
        };
        let id = id.to_string();
        let page = self.domain.daemon_events(&ctx, &id, &page).await;
        page.unwrap().items
    }

    async fn types(&self, id: DaemonId) -> Vec<Type> {
        let events = self.events(id).await;
        events.iter().map(api::DaemonEvent::r#type).collect()
    }

    /// A host's event of this kind, `ago` before now.
    fn happened(&self, daemon: DaemonId, kind: Type, ago: Duration) -> api::DaemonEvent {
        api::DaemonEvent {
            daemon_id: daemon.to_string(),
            time: Some(timestamp(self.domain.clock().wall() - ago)),
            r#type: kind.into(),
            source: Source::Agent.into(),
            ..Default::default()
        }
    }
}

fn told(boot: &str, events: Vec<(u64, api::DaemonEvent)>) -> Events {
    let events = events.into_iter().map(|(sequence, event)| HostEvent {
        sequence,
        event: Some(event),
    });
    Events {
        boot_id: boot.to_owned(),
        events: events.collect(),
    }
}

#[tokio::test]
async fn every_change_says_who_made_it_and_nothing_else_is_told() {
    let world = World::new().await;
    let server = world.server("a").await;
    let id = world.daemon(server).await.row.id;
    let text = id.to_string();
    let domain = &world.domain;

    let update = world.owner("DaemonService/UpdateDaemon").await;
    let change = |_: &DaemonSpec| {
        Ok(spec(SpecDraft {
            command: "true 2".to_owned(),
            processes: Some(3),
            ..SpecDraft::default()
        }))
    };
    for (validate_only, etag) in [(true, ""), (false, "stale"), (false, "")] {
        world.pass(Duration::from_millis(1));
        let _ = domain
            .update_daemon(&update, &text, etag, change, validate_only)
            .await;
    }
    // The operator, for a member.
    let (member, _) = world.member(&["server:create-daemons"]).await;
    world.pass(Duration::from_millis(1));
    let ctx = world
        .call_for(
            &world.operator.1,
            "DaemonService/RestartDaemon",
            Some(&member.to_string()),
        )
        .await
        .unwrap();
    domain
        .intend(&ctx, &text, || Ok(restart_intent(None)))
        .await
        .unwrap();
    world.pass(Duration::from_millis(1));
    let ctx = world.owner("DaemonService/StopDaemon").await;
    let stop = domain.intend(&ctx, &text, || Ok(Intent::Stop));
    let token = ctx.token.to_string();
    stop.await.unwrap();

    let events = world.events(id).await;
    let types: Vec<_> = events.iter().map(api::DaemonEvent::r#type).collect();
    assert_eq!(
        types,
        [
            Type::StopRequested,
            Type::RestartRequested,
            Type::Updated,
            Type::Created
        ]
    );
    let [stop, restart, updated, created] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(stop.by, "ada");
    assert_eq!(stop.token_id, token);
    assert_eq!(stop.user_id, world.owner.0.to_string());
    assert!(restart.by.ends_with(", through the platform operator"));
    assert_eq!(restart.user_id, member.to_string());
    assert_eq!(restart.message, "restart 1");
    assert_eq!(updated.message, "command, processes");
    assert_eq!(created.message, "to run");
    for event in &events {
        assert_eq!(event.source(), Source::Api);
        assert_eq!((event.daemon_id.as_str(), event.count), (text.as_str(), 1));
        assert_eq!(event.time, event.record_time);
        assert!(event.id.starts_with("h:"), "{event:?}");
    }
}

#[tokio::test]
async fn a_hosts_events_are_stored_once_in_the_order_of_their_time() {
    let world = World::new().await;
    let domain = &world.domain;
    let server = world.server("a").await;
    let id = world.daemon(server).await.row.id;
    let epoch = domain.claim(server, "1").await.unwrap().session_epoch;
    world.pass(DAY);
    let crash = world.happened(id, Type::Crashed, DAY / 2);
    let killed = world.happened(id, Type::KilledAfterGrace, DAY / 3);
    let first = told("boot", vec![(5, crash.clone())]);
    let again = told("boot", vec![(5, crash.clone()), (7, killed)]);
    for frame in [&first, &again, &again, &first] {
        domain.record_events(server, epoch, frame).await.unwrap();
    }
    let expected = [Type::KilledAfterGrace, Type::Crashed, Type::Created];
    assert_eq!(world.types(id).await, expected);
    // The same number of another boot is another event; a clock that is ahead is not believed for the order.
    let mut early = world.happened(id, Type::GaveUp, Duration::ZERO);
    early.time = Some(timestamp(domain.clock().wall() + 365 * DAY));
    domain
        .record_events(server, epoch, &told("boot 2", vec![(5, early)]))
        .await
        .unwrap();
    world.pass(Duration::from_secs(1));
    let ctx = world.owner("DaemonService/StopDaemon").await;
    let text = id.to_string();
    let stop = domain.intend(&ctx, &text, || Ok(Intent::Stop));
    stop.await.unwrap();
    let types = world.types(id).await;
    assert_eq!(types[..2], [Type::StopRequested, Type::GaveUp]);
    assert_eq!(types[2..], expected);
    let crashed = &world.events(id).await[3];
    assert_eq!(crashed.time, crash.time);
    assert!(crashed.record_time.as_ref().unwrap().seconds > crash.time.unwrap().seconds);
}

#[tokio::test]
async fn a_host_speaks_for_itself_only() {
    let world = World::new().await;
    let domain = &world.domain;
    let (mine, other) = (world.server("mine").await, world.server("other").await);
    let foreign = world.daemon(other).await.row.id;
    let own = world.daemon(mine).await.row.id;
    let old = domain.claim(mine, "1").await.unwrap().session_epoch;
    let epoch = domain.claim(mine, "1").await.unwrap().session_epoch;
    let forged = |daemon, kind| api::DaemonEvent {
        source: Source::Api.into(),
        user_id: world.owner.0.to_string(),
        token_id: "h:000000000000000000".to_owned(),
        by: "x".repeat(10_000),
        message: "\u{1F600}".repeat(10_000),
        id: "h:000000000000000000".to_owned(),
        ..world.happened(daemon, kind, Duration::ZERO)
    };
    let mut nameless = forged(own, Type::Crashed);
    nameless.daemon_id = "../x".to_owned();
    let frame = told(
        "boot",
        vec![
            (1, forged(foreign, Type::Crashed)),
            (2, forged(own, Type::Deleted)),
            (3, nameless),
            (u64::MAX, forged(own, Type::Crashed)),
            (4, forged(own, Type::StopRequested)),
        ],
    );
    let fenced = domain.record_events(mine, old, &frame).await;
    assert_eq!(reason(fenced), "SESSION_FENCED");
    assert_eq!(world.types(own).await, [Type::Created]);
    domain.record_events(mine, epoch, &frame).await.unwrap();
    assert_eq!(world.types(foreign).await, [Type::Created]);
    let events = world.events(own).await;
    let types: Vec<_> = events.iter().map(api::DaemonEvent::r#type).collect();
    assert_eq!(types, [Type::StopRequested, Type::Created]);
    let event = &events[0];
    assert_eq!(event.source(), Source::Agent);
    assert_eq!((event.user_id.as_str(), event.token_id.as_str()), ("", ""));
    assert_ne!(event.id, "h:000000000000000000");
    assert_eq!(
        (event.by.chars().count(), event.message.chars().count()),
        (500, 500)
    );

    let many = (0..101).map(|n| (n, forged(own, Type::Crashed))).collect();
    let refused = domain.record_events(mine, epoch, &told("b", many)).await;
    assert_eq!(reason(refused), "INVALID_FIELD");
}

#[tokio::test]
async fn pages_go_back_in_time_and_the_oldest_make_room() {
    let world = World::new().await;
    let domain = &world.domain;
    let server = world.server("a").await;
    let id = world.daemon(server).await.row.id;
    let epoch = domain.claim(server, "1").await.unwrap().session_epoch;
    world.pass(DAY);
    for batch in 0..6_u64 {
        let frame = (1..=100)
            .map(|n| {
                let mut event = world.happened(id, Type::Crashed, Duration::ZERO);
                event.count = i64::try_from(batch * 100 + n).unwrap();
                (batch * 100 + n, event)
            })
            .collect();
        domain
            .record_events(server, epoch, &told("boot", frame))
            .await
            .unwrap();
    }
    let ctx = world.owner("DaemonService/ListDaemonEvents").await;
    let (mut counts, mut token) = (Vec::new(), String::new());
    loop {
        let page = PageRequest { size: 77, token };
        let page = domain.daemon_events(&ctx, &id.to_string(), &page).await;
        let page = page.unwrap();
        counts.extend(page.items.iter().map(|event| event.count));
        token = page.next;
        if token.is_empty() {
            break;
        }
    }
    // All of one millisecond: newest first all the same. Creation, and the first hundred, made room.
    let expected: Vec<_> = (101..=600).rev().collect();
    assert_eq!(counts, expected);
    // A page token is good for its own daemon only.
    let other = world.daemon(server).await.row.id;
    let page = PageRequest {
        size: 1,
        token: String::new(),
    };
    let next = domain.daemon_events(&ctx, &id.to_string(), &page).await;
    let page = PageRequest {
        size: 1,
        token: next.unwrap().next,
    };
    let refused = domain.daemon_events(&ctx, &other.to_string(), &page).await;
    assert_eq!(reason(refused), "INVALID_FIELD");
}

#[tokio::test]
async fn who_deleted_it_can_be_read_for_a_week() {
    let world = World::new().await;
    let domain = &world.domain;
    let server = world.server("a").await;
    let (id, kept) = (
        world.daemon(server).await.row.id,
        world.daemon(server).await.row.id,
    );
    let epoch = domain.claim(server, "1").await.unwrap().session_epoch;
    world.pass(Duration::from_secs(1));
    world.delete(id).await;
    // The host's last words about it come after its deletion, and after the host said that it is gone.
    let mut gone = running(id, 3);
    gone.gone = true;
    domain
        .record_status(server, epoch, false, vec![gone])
        .await
        .unwrap();
    world.pass(Duration::from_secs(1));
    let killed = world.happened(id, Type::KilledAfterGrace, Duration::ZERO);
    domain
        .record_events(server, epoch, &told("boot", vec![(1, killed)]))
        .await
        .unwrap();
    let expected = [Type::KilledAfterGrace, Type::Deleted, Type::Created];
    assert_eq!(world.types(id).await, expected);
    assert_eq!(world.events(id).await[1].by, "ada");
    let (_, stranger) = world.other_team().await;
    let ctx = world
        .call(&stranger, "DaemonService/ListDaemonEvents")
        .await
        .unwrap();
    let page = PageRequest {
        size: 0,
        token: String::new(),
    };
    let refused = domain.daemon_events(&ctx, &id.to_string(), &page).await;
    assert_eq!(reason(refused), "NOT_FOUND");

    world.pass(7 * DAY);
    let ctx = world.owner("DaemonService/ListDaemonEvents").await;
    let over = domain.daemon_events(&ctx, &id.to_string(), &page).await;
    assert_eq!(reason(over), "NOT_FOUND");
    assert_eq!(world.types(kept).await, [Type::Created]);
    world.pass(83 * DAY);
    assert_eq!(world.types(kept).await, []);
}
