//! A viewer's stream over a broker whose agent is played here, without a network.

use std::sync::Arc;

use super::*;
use crate::bus::log_broker::{LogStream, Order, Range};
use crate::domain::tests::World;

struct Stage {
    world: World,
    server: ServerId,
    broker: LogBroker,
    agent: Arc<LogStream>,
    draining: CancellationToken,
    request: LogRequest,
}

impl Stage {
    async fn new() -> Self {
        let world = World::new().await;
        let server = world.server("one").await;
        let daemon = world.daemon(server).await.row.id;
        let broker = LogBroker::new();
        world.domain.bus().presence().connected(server, 1);
        Self {
            agent: broker.attach(server, 1).unwrap(),
            request: LogRequest {
                daemon,
                start: Start::TailLines(10),
                follow: true,
                instance: None,
            },
            draining: CancellationToken::new(),
            world,
            server,
            broker,
        }
    }

    async fn tail(&self, ctx: Ctx) -> Tail {
        let mut tail = Tail::new(
            self.world.domain.clone(),
            self.broker.clone(),
            self.draining.clone(),
            ctx,
            self.server,
            self.request,
        );
        tail.begin().await.unwrap();
        tail
    }

    async fn owner(&self) -> Ctx {
        self.world.owner("LogService/TailLog").await
    }

    /// The agent's next subscription.
    async fn subscribed(&self) -> (u64, Start) {
        match soon(self.agent.next_order()).await {
            Some(Order::Subscribe { id, request, .. }) => (id, request.start),
            other => panic!("{other:?} instead of a subscription"),
        }
    }

    fn send(&self, id: u64, next_position: u64, data: &'static [u8]) {
        let chunk = LogEvent::Chunk {
            next_position,
            instance: 0,
            time: 1,
            data: data.into(),
            partial: false,
        };
        self.agent.deliver(id, chunk).unwrap();
    }

    fn end(&self, id: u64, error: &str) {
        let end = LogEvent::End {
            error: error.to_owned(),
            message: "in words".to_owned(),
            range: Range::default(),
        };
        self.agent.deliver(id, end).unwrap();
    }
}

async fn soon<T>(wait: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(120), wait).await;
    done.expect("nothing comes")
}

fn data(event: Result<Option<TailLogResponse>, Error>) -> Vec<u8> {
    match event.unwrap().unwrap().event.unwrap() {
        Event::Chunk(chunk) => chunk.data.to_vec(),
        other => panic!("{other:?} instead of data"),
    }
}

#[tokio::test]
async fn a_daemon_the_host_does_not_know_yet_is_asked_for_again() {
    let mut stage = Stage::new().await;
    stage.request.follow = false;
    let mut tail = stage.tail(stage.owner().await).await;
    let (mut id, _) = stage.subscribed().await;
    for _ in 0..2 {
        stage.end(id, "UNKNOWN_DAEMON");
        let start;
        (id, start) = tokio::select! {
            again = stage.subscribed() => again,
            heard = tail.next() => panic!("the viewer heard of it: {heard:?}"),
        };
        assert_eq!(start, Start::TailLines(10));
    }
    stage.send(id, 6, b"hello\n");
    assert_eq!(data(soon(tail.next()).await), b"hello\n");
    stage.end(id, "");
    assert!(soon(tail.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn what_the_agent_says_of_the_end_has_its_own_error() {
    let stage = Stage::new().await;
    type Expected = fn(&Error) -> bool;
    let cases: [(&str, Expected); 4] = [
        ("DELETED", |e| matches!(e, Error::NotFound(_))),
        ("TOO_MANY_SUBSCRIPTIONS", |e| {
            matches!(e, Error::TooManyViewers(_))
        }),
        (
            "LOG_UNREADABLE",
            |e| matches!(e, Error::LogUnreadable(why) if why == "in words"),
        ),
        ("WHAT_COMES_LATER", |e| matches!(e, Error::LogUnreadable(_))),
    ];
    for (end, expected) in cases {
        let mut tail = stage.tail(stage.owner().await).await;
        let (id, _) = stage.subscribed().await;
        stage.end(id, end);
        let error = soon(tail.next()).await.unwrap_err();
        assert!(expected(&error), "{end}: {error:?}");
    }
}

#[tokio::test]
async fn who_loses_the_permission_loses_the_stream() {
    let stage = Stage::new().await;
    let (user, token) = stage.world.member(&["server:create-daemons"]).await;
    let ctx = stage
        .world
        .call(&token, "LogService/TailLog")
        .await
        .unwrap();
    let mut tail = stage.tail(ctx).await;
    let (id, _) = stage.subscribed().await;
    stage.send(id, 2, b"1\n");
    assert_eq!(data(soon(tail.next()).await), b"1\n");
    let ctx = stage.world.owner("TeamService/RemoveMember").await;
    let (team, user) = (stage.world.team.to_string(), user.to_string());
    let removed = stage.world.domain.remove_member(&ctx, &team, &user);
    removed.await.unwrap();
    let error = soon(tail.next()).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    drop(tail);
    let told = soon(stage.agent.next_order()).await;
    assert_eq!(told, Some(Order::Unsubscribe { id }));
}

#[tokio::test]
async fn a_quiet_stream_gives_signs_of_life_with_its_place() {
    let stage = Stage::new().await;
    let mut tail = stage.tail(stage.owner().await).await;
    let (id, _) = stage.subscribed().await;
    stage.send(id, 2, b"1\n");
    assert_eq!(data(soon(tail.next()).await), b"1\n");
    // A paused clock does not wait for a database.
    tail.rights = Instant::now() + 4 * KEEP_ALIVE;
    tokio::time::pause();
    let begun = Instant::now();
    let event = tail.next().await.unwrap().unwrap().event.unwrap();
    let cursor = cursor::encode(&stage.request.daemon, 2);
    assert_eq!(event, Event::KeepAlive(LogKeepAlive { cursor }));
    assert!((KEEP_ALIVE..KEEP_ALIVE * 2).contains(&begun.elapsed()));
}

#[tokio::test]
async fn an_agent_that_stays_away_is_offline_in_the_end_and_not_before() {
    let stage = Stage::new().await;
    let mut tail = stage.tail(stage.owner().await).await;
    stage.subscribed().await;
    stage.world.domain.bus().presence().lost(stage.server, 1);
    stage.broker.detach(&stage.agent);
    let next = tokio::time::timeout(Duration::from_secs(1), tail.next()).await;
    assert!(next.is_err(), "given up at once");
    stage.world.pass(Duration::from_secs(61));
    let error = soon(tail.next()).await.unwrap_err();
    assert!(matches!(error, Error::ServerOffline), "{error:?}");
}
