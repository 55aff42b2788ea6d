//! Sessions without a network, where another replica writes and no hint comes.

use std::convert::Infallible;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use zhylon_proto::agent::v1::connect_request::Frame as Up;
use zhylon_proto::agent::v1::connect_response::Frame as Down;
use zhylon_proto::agent::v1::{ConfigAck, ConnectRequest, ConnectResponse, Hello, RejectReason};

use super::*;
use crate::ca::AgentIdentity;
use crate::domain::tests::World;

struct Session {
    up: mpsc::Sender<Result<ConnectRequest, Infallible>>,
    down: mpsc::Receiver<ConnectResponse>,
}

impl Session {
    async fn open(agents: &Agents, server: ServerId) -> Self {
        let now = agents.0.domain.clock().wall();
        let identity = AgentIdentity {
            server,
            not_before: now,
            not_after: now,
            serial: vec![1],
            key_hash: [0; 32],
        };
        let (up, frames) = mpsc::channel(16);
        let (down_sender, down) = mpsc::channel(4);
        let session = serve(
            agents.clone(),
            Arc::new(identity),
            "127.0.0.1:1".parse().unwrap(),
            ReceiverStream::new(frames),
            down_sender,
        );
        tokio::spawn(session);
        let mut session = Self { up, down };
        let hello = Hello {
            protocol_min: 1,
            protocol_max: 1,
            ..Hello::default()
        };
        session.send(Up::Hello(hello)).await;
        assert!(matches!(session.next().await, Down::Welcome(_)));
        session
    }

    async fn send(&self, frame: Up) {
        let frame = ConnectRequest { frame: Some(frame) };
        self.up.send(Ok(frame)).await.unwrap();
    }

    async fn next(&mut self) -> Down {
        let next = tokio::time::timeout(Duration::from_secs(120), self.down.recv()).await;
        next.expect("nothing comes").unwrap().frame.unwrap()
    }

    /// The next configuration, accepted.
    async fn config(&mut self) -> i64 {
        match self.next().await {
            Down::ConfigUpdate(update) => {
                self.send(Up::ConfigAck(ConfigAck {
                    config_epoch: update.config_epoch,
                    revision: update.target_revision,
                    ..ConfigAck::default()
                }))
                .await;
                update.target_revision
            }
            other => panic!("{other:?} instead of a configuration"),
        }
    }
}

#[tokio::test]
async fn a_lost_hint_costs_one_sweep() {
    let world = World::new().await;
    let server = world.server("one").await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let heartbeat = Duration::from_secs(60);
    // Its bus is not the one on which the writes are told.
    let agents = Agents::new(world.elsewhere(), LogBroker::new(), heartbeat, tasks);
    agents.start(&stop);
    let mut session = Session::open(&agents, server).await;
    let first = session.config().await;

    world.daemon(server).await;
    assert!(session.config().await > first);

    let other = world.server("other").await;
    let mut revoked = Session::open(&agents, other).await;
    revoked.config().await;
    let ctx = world.owner("ServerService/DeleteServer").await;
    let deleted = world.domain.delete_server(&ctx, &other.to_string()).await;
    deleted.unwrap();
    match revoked.next().await {
        Down::Reject(reject) => assert_eq!(reject.reason(), RejectReason::Revoked),
        other => panic!("{other:?} instead of a rejection"),
    }
    stop.cancel();
}

#[tokio::test]
async fn what_changes_while_an_update_is_on_its_way_comes_after_it() {
    let world = World::new().await;
    let server = world.server("one").await;
    let heartbeat = Duration::from_secs(60);
    let agents = Agents::new(
        world.domain.clone(),
        LogBroker::new(),
        heartbeat,
        TaskTracker::new(),
    );
    // No sweep here: it would heal what is tested.
    let hints = world.domain.bus().hints().listen();
    tokio::spawn(agents.clone().follow_hints(hints));
    let mut session = Session::open(&agents, server).await;
    let Down::ConfigUpdate(first) = session.next().await else {
        panic!("no configuration");
    };
    for _ in 0..5 {
        world.daemon(server).await;
    }
    session
        .send(Up::ConfigAck(ConfigAck {
            config_epoch: first.config_epoch,
            revision: first.target_revision,
            ..ConfigAck::default()
        }))
        .await;
    let mut reached = 0;
    while reached < first.target_revision + 5 {
        reached = session.config().await;
    }
}

#[tokio::test]
async fn a_deleted_server_is_revoked_by_the_hint_alone() {
    let world = World::new().await;
    let server = world.server("one").await;
    let heartbeat = Duration::from_secs(60);
    let agents = Agents::new(
        world.domain.clone(),
        LogBroker::new(),
        heartbeat,
        TaskTracker::new(),
    );
    // No sweep here: it would do the same, seconds later.
    let hints = world.domain.bus().hints().listen();
    tokio::spawn(agents.clone().follow_hints(hints));
    let mut session = Session::open(&agents, server).await;
    session.config().await;
    let ctx = world.owner("ServerService/DeleteServer").await;
    let deleted = world.domain.delete_server(&ctx, &server.to_string()).await;
    deleted.unwrap();
    match session.next().await {
        Down::Reject(reject) => assert_eq!(reject.reason(), RejectReason::Revoked),
        other => panic!("{other:?} instead of a rejection"),
    }
}
