use std::convert::Infallible;
use std::future::pending;

use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use zhylon_proto::agent::v1::{ConfigAck, Drain, ServerHeartbeat, StatusAck};

use super::*;
use crate::link::tests::fakes::{FakeHost, Step, config, delta, id, snapshot};

/// The api-server's end of a session.
struct Server {
    down: mpsc::Sender<Result<ConnectResponse, tonic::Status>>,
    up: mpsc::Receiver<ConnectRequest>,
    session: JoinHandle<Ended>,
    cancel: CancellationToken,
}

impl Server {
    fn new(host: &FakeHost) -> Self {
        let (down, incoming) = mpsc::channel(16);
        let (outgoing, up) = mpsc::channel(OUTGOING);
        let (host, cancel) = (host.clone(), CancellationToken::new());
        let stop = cancel.clone();
        let session = tokio::spawn(async move {
            let speaker = Speaker {
                agent_instance_id: "instance".to_owned(),
                boot_id: "boot".to_owned(),
            };
            let incoming = ReceiverStream::new(incoming);
            let logs = |_| pending::<Infallible>();
            talk(&host, &speaker, incoming, outgoing, logs, &stop).await
        });
        Self {
            down,
            up,
            session,
            cancel,
        }
    }

    async fn welcome(&mut self) -> Hello {
        let connect_request::Frame::Hello(hello) = self.frame().await else {
            panic!("the first frame is not hello");
        };
        let welcome = Welcome {
            protocol: 1,
            session_epoch: 1,
            heartbeat_interval_ms: 10_000,
            ..Welcome::default()
        };
        self.say(connect_response::Frame::Welcome(welcome)).await;
        hello
    }

    /// A session up to its first, full status.
    async fn welcomed(host: &FakeHost) -> (Self, Hello, Status) {
        let mut server = Self::new(host);
        let hello = server.welcome().await;
        let connect_request::Frame::Status(full) = server.frame().await else {
            panic!("the second frame is not the full status");
        };
        (server, hello, full)
    }

    async fn say(&self, frame: connect_response::Frame) {
        let frame = Some(frame);
        self.down.send(Ok(ConnectResponse { frame })).await.unwrap();
    }

    async fn frame(&mut self) -> connect_request::Frame {
        self.up.recv().await.unwrap().frame.unwrap()
    }

    async fn configure(&mut self, update: ConfigUpdate) -> ConfigAck {
        self.say(connect_response::Frame::ConfigUpdate(update))
            .await;
        loop {
            if let connect_request::Frame::ConfigAck(ack) = self.frame().await {
                return ack;
            }
        }
    }

    /// The next status; heartbeats are passed over.
    async fn status(&mut self) -> Status {
        loop {
            if let connect_request::Frame::Status(status) = self.frame().await {
                return status;
            }
        }
    }

    async fn end(mut self) -> Ended {
        // Keeps taking what the session says until it ends.
        tokio::spawn(async move { while self.up.recv().await.is_some() {} });
        self.session.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_acknowledged_or_acted_on_before_it_is_durable() {
    let host = FakeHost::with_stuck_disk();
    let (mut server, hello, _) = Server::welcomed(&host).await;
    assert_eq!(
        (hello.config_epoch.as_str(), hello.applied_revision),
        ("", 0)
    );
    let update = snapshot(2, &[config(1, "sleep 1", 1), config(2, "sleep 2", 2)]);
    server
        .say(connect_response::Frame::ConfigUpdate(update.clone()))
        .await;
    // Heartbeats go on while the disk hangs, and still tell the old revision.
    for _ in 0..3 {
        match server.frame().await {
            connect_request::Frame::Heartbeat(beat) => assert_eq!(beat.applied_revision, 0),
            other => panic!("{other:?} before the ledger was written"),
        }
        server
            .say(connect_response::Frame::Heartbeat(
                ServerHeartbeat::default(),
            ))
            .await;
    }
    assert_eq!(host.steps(), []);
    host.let_disk_write();
    let connect_request::Frame::ConfigAck(ack) = server.frame().await else {
        panic!("no acknowledgement");
    };
    assert_eq!((ack.revision, ack.refused.as_str()), (2, ""));
    let both = vec![id(1), id(2)];
    assert_eq!(host.steps(), [Step::Stored(2), Step::Desired(both)]);
    assert_eq!(host.ledger().hash, update.hash);
    let connect_request::Frame::Heartbeat(beat) = server.frame().await else {
        panic!("no heartbeat");
    };
    assert_eq!(beat.applied_revision, 2);
}

#[tokio::test(start_paused = true)]
async fn deltas_chain_and_refusals_leave_the_old_set() {
    let host = FakeHost::new();
    let (mut server, ..) = Server::welcomed(&host).await;
    let (one, two) = (config(1, "sleep 1", 1), config(2, "sleep 2", 2));
    let ack = server
        .configure(snapshot(1, std::slice::from_ref(&one)))
        .await;
    assert_eq!((ack.revision, ack.refused.as_str()), (1, ""));
    let both = [one.clone(), two.clone()];
    let add_two = delta(1, 2, std::slice::from_ref(&two), &[], &both);
    let ack = server.configure(add_two.clone()).await;
    assert_eq!((ack.revision, ack.refused.as_str()), (2, ""));
    // The same again: nothing to write, but it is durable.
    let ack = server.configure(add_two).await;
    assert_eq!((ack.revision, ack.refused.as_str()), (2, ""));
    let steps = host.steps();
    assert_eq!(
        steps[2..],
        [Step::Stored(2), Step::Desired(vec![id(1), id(2)])]
    );

    let mut broken = config(1, "sleep 1", 3);
    broken.spec.as_mut().unwrap().user = "Not A User".to_owned();
    for (expected, update) in [
        (
            "REVISION_GAP",
            delta(5, 6, &[], &[1], std::slice::from_ref(&two)),
        ),
        ("REVISION_CONFLICT", snapshot(2, std::slice::from_ref(&two))),
        (
            "REVISION_REGRESSION",
            snapshot(1, std::slice::from_ref(&one)),
        ),
        ("INVALID", snapshot(3, &[broken])),
    ] {
        let epoch = update.config_epoch.clone();
        let ack = server.configure(update).await;
        assert_eq!(ack.refused, expected);
        assert_eq!((ack.revision, ack.config_epoch), (2, epoch));
        assert!(!ack.message.is_empty());
    }
    assert_eq!(host.steps(), steps);
    assert_eq!(host.ledger().revision, 2);
    // The next session tells what is durable.
    server.cancel.cancel();
    assert_eq!(server.end().await.end, End::Cancelled);
    let (_, hello, _) = Server::welcomed(&host).await;
    assert_eq!(
        (hello.config_epoch.as_str(), hello.applied_revision),
        ("epoch", 2)
    );
    assert_eq!(hello.applied_hash, host.ledger().hash);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_while_the_disk_writes_still_hands_the_set_to_the_engine() {
    let host = FakeHost::with_stuck_disk();
    let (server, ..) = Server::welcomed(&host).await;
    let update = snapshot(1, &[config(1, "sleep 1", 1)]);
    server
        .say(connect_response::Frame::ConfigUpdate(update))
        .await;
    // Time passes only while all wait: the write has begun.
    sleep(Duration::from_secs(1)).await;
    server
        .say(connect_response::Frame::Drain(Drain {
            reconnect_after_ms: 5,
        }))
        .await;
    sleep(Duration::from_secs(1)).await;
    assert!(!server.session.is_finished());
    host.let_disk_write();
    let after = Duration::from_millis(5);
    assert_eq!(server.end().await.end, End::Drain { after });
    assert_eq!(host.steps(), [Step::Stored(1), Step::Desired(vec![id(1)])]);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_can_not_be_written_ends_the_session_with_the_reason() {
    let host = FakeHost::new();
    host.break_disk("No space left on device");
    let (server, ..) = Server::welcomed(&host).await;
    let update = snapshot(1, &[config(1, "sleep 1", 1)]);
    server
        .say(connect_response::Frame::ConfigUpdate(update))
        .await;
    let End::Lost(why) = server.end().await.end else {
        panic!("not lost");
    };
    assert!(why.contains("No space left on device"), "{why}");
    assert_eq!(host.steps(), []);
}

#[tokio::test(start_paused = true)]
async fn states_are_merged_to_five_a_second_after_the_first() {
    let host = FakeHost::new();
    host.show(id(1), 1, false);
    host.show(id(2), 1, false);
    let (mut server, _, full) = Server::welcomed(&host).await;
    assert_eq!((full.full, full.sequence, full.daemons.len()), (true, 1, 2));
    sleep(Duration::from_secs(1)).await;

    let began = Instant::now();
    host.show(id(1), 2, false);
    let first = server.status().await;
    assert_eq!((first.full, first.sequence), (false, 2));
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "the first change waits for nothing"
    );
    // A thousand changes within the next second, one a millisecond.
    let changes = tokio::spawn({
        let host = host.clone();
        async move {
            for revision in 3..1003 {
                host.show(id(1), revision, false);
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut seen = Vec::new();
    while seen.last() != Some(&1002) {
        let status = server.status().await;
        assert_eq!(status.daemons.len(), 1, "only what changed");
        seen.push(status.daemons[0].observed_revision);
    }
    changes.await.unwrap();
    assert!((5..=6).contains(&seen.len()), "{seen:?}");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_gone_daemon_is_forgotten_once_the_server_knows() {
    let host = FakeHost::new();
    host.show(id(1), 1, false);
    let (mut server, ..) = Server::welcomed(&host).await;
    host.show(id(1), 1, true);
    let status = server.status().await;
    assert!(status.daemons[0].gone);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(host.steps(), []);
    // Not acknowledged: the next session says it again, in its full status.
    server.cancel.cancel();
    server.end().await;
    let (server, _, full) = Server::welcomed(&host).await;
    assert!(full.daemons[0].gone);
    let ack = StatusAck {
        sequence: full.sequence,
    };
    server.say(connect_response::Frame::StatusAck(ack)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(host.steps(), [Step::Forgot(id(1))]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_left_and_a_speaking_one_is_not() {
    let host = FakeHost::new();
    let (mut server, ..) = Server::welcomed(&host).await;
    let began = Instant::now();
    for _ in 0..20 {
        sleep(Duration::from_secs(40)).await;
        while server.up.try_recv().is_ok() {}
        server
            .say(connect_response::Frame::Heartbeat(
                ServerHeartbeat::default(),
            ))
            .await;
    }
    let lived = began.elapsed();
    let ended = server.end().await;
    assert_eq!(began.elapsed() - lived, WATCHDOG);
    assert_eq!(ended.lasted, began.elapsed());
    assert!(matches!(ended.end, End::Lost(why) if why.contains("45 s")));
}

#[tokio::test(start_paused = true)]
async fn the_first_frame_must_come_soon_and_must_be_an_answer() {
    let host = FakeHost::new();
    let began = Instant::now();
    let ended = Server::new(&host).end().await;
    assert_eq!(
        (began.elapsed(), ended.lasted),
        (FIRST_FRAME, Duration::ZERO)
    );
    assert!(matches!(ended.end, End::Lost(_)));

    let server = Server::new(&host);
    server
        .say(connect_response::Frame::Heartbeat(
            ServerHeartbeat::default(),
        ))
        .await;
    assert!(matches!(server.end().await.end, End::Lost(_)));

    let server = Server::new(&host);
    let newer = Welcome {
        protocol: 2,
        ..Welcome::default()
    };
    server.say(connect_response::Frame::Welcome(newer)).await;
    let End::Rejected { reason, .. } = server.end().await.end else {
        panic!("not refused");
    };
    assert_eq!(reason, RejectReason::ProtocolUnsupported);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_typed_at_any_time() {
    let host = FakeHost::new();
    let reject = || {
        connect_response::Frame::Reject(Reject {
            reason: RejectReason::Superseded.into(),
            message: "a newer one came".to_owned(),
            retry_after_ms: 1500,
        })
    };
    let expected = End::Rejected {
        reason: RejectReason::Superseded,
        message: "a newer one came".to_owned(),
        retry_after: Duration::from_millis(1500),
    };
    let first = Server::new(&host);
    first.say(reject()).await;
    assert_eq!(first.end().await.end, expected);
    let (later, ..) = Server::welcomed(&host).await;
    later.say(reject()).await;
    assert_eq!(later.end().await.end, expected);
}

impl Server {
    /// The next events; other frames are passed over.
    async fn events(&mut self) -> (String, Vec<u64>) {
        loop {
            if let connect_request::Frame::Events(events) = self.frame().await {
                let sequences = events.events.iter().map(|event| event.sequence);
                return (events.boot_id.clone(), sequences.collect());
            }
        }
    }

    async fn have_events(&self, sequence: u64) {
        let ack = zhylon_proto::agent::v1::EventsAck { sequence };
        self.say(connect_response::Frame::EventsAck(ack)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_told_in_order_until_they_are_acknowledged() {
    let host = FakeHost::new();
    let recorded = host.record_events(150);
    let mut server = Server::new(&host);
    server.welcome().await;
    let (boot, first) = server.events().await;
    assert_eq!(
        (boot.as_str(), first.as_slice()),
        ("boot", &recorded[..100])
    );
    // Nothing more until that is acknowledged, and heartbeats go on meanwhile.
    for _ in 0..3 {
        loop {
            match server.frame().await {
                connect_request::Frame::Heartbeat(_) => break,
                connect_request::Frame::Events(events) => panic!("{events:?} too early"),
                _ => {}
            }
        }
        server
            .say(connect_response::Frame::Heartbeat(
                ServerHeartbeat::default(),
            ))
            .await;
    }
    // The session breaks off before the answer: the next one begins with the same.
    server.cancel.cancel();
    server.end().await;
    let mut server = Server::new(&host);
    server.welcome().await;
    assert_eq!(server.events().await.1, first);
    server.have_events(first[99]).await;
    let (_, second) = server.events().await;
    assert_eq!(second, recorded[100..]);
    server.have_events(second[49]).await;
    // What comes is told as it comes.
    let newest = host.record_events(1);
    assert_eq!(server.events().await.1, newest);
    server.have_events(newest[0]).await;
    let last = host.record_events(1);
    assert_eq!(server.events().await.1, last);
    server.cancel.cancel();
    server.end().await;
    assert_eq!(host.unacknowledged_events(), last);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_a_new_epoch_leaves_the_engine_every_daemon_there_was() {
    let host = FakeHost::new();
    let (mut server, ..) = Server::welcomed(&host).await;
    let both = [config(1, "sleep 1", 1), config(2, "sleep 2", 2)];
    server.configure(snapshot(2, &both)).await;
    let mut update = snapshot(1, &both[..1]);
    update.config_epoch = "restored".to_owned();
    let ack = server.configure(update.clone()).await;
    assert_eq!((ack.revision, ack.refused.as_str()), (1, ""));
    let steps = host.steps();
    assert_eq!(
        steps[2..],
        [Step::Stored(1), Step::Desired(vec![id(1), id(2)])]
    );
    server.end().await;
    // The next session tells of the new epoch, with the hash of the set alone.
    let (_server, hello, _) = Server::welcomed(&host).await;
    assert_eq!(
        (hello.config_epoch, hello.applied_hash),
        (update.config_epoch, update.hash)
    );
}
