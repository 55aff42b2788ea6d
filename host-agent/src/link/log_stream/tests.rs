use std::io;
use std::time::Duration;

use tokio::time::timeout;
use zhylon_proto::agent::v1::{
    LogCaughtUp, LogCredit, LogData, LogUnsubscribe, log_subscribe::Start,
    stream_logs_request::Frame,
};

use super::*;
use crate::link::tests::fakes::{FakeLogs, HANG, id};

/// Nothing on this machine takes so long; a test that waits this long has failed.
const DEADLINE: Duration = Duration::from_secs(120);
const PLENTY: u64 = 1 << 30;

/// The api-server's end of a log stream.
struct Server {
    down: mpsc::Sender<Result<StreamLogsResponse, tonic::Status>>,
    up: mpsc::Receiver<StreamLogsRequest>,
    _stream: JoinSet<String>,
}

impl Server {
    fn new(logs: &FakeLogs) -> Self {
        let (down, incoming) = mpsc::channel(16);
        let (outgoing, up) = mpsc::channel(OUTGOING);
        let room = LogRoom::new(logs.clone());
        let mut stream = JoinSet::new();
        stream.spawn(async move { serve(&room, ReceiverStream::new(incoming), outgoing).await });
        Self {
            down,
            up,
            _stream: stream,
        }
    }

    async fn say(&self, frame: stream_logs_response::Frame) {
        let frame = Some(frame);
        self.down
            .send(Ok(StreamLogsResponse { frame }))
            .await
            .unwrap();
    }

    async fn subscribe(&self, subscription_id: u64, n: u8, change: impl FnOnce(&mut LogSubscribe)) {
        let mut ask = LogSubscribe {
            subscription_id,
            daemon_id: id(n).to_string(),
            start: Some(Start::Position(0)),
            follow: true,
            instance: None,
            credit_bytes: PLENTY,
            limit_bytes: 0,
        };
        change(&mut ask);
        self.say(stream_logs_response::Frame::Subscribe(ask)).await;
    }

    async fn credit(&self, subscription_id: u64, bytes: u64) {
        let credit = LogCredit {
            subscription_id,
            bytes,
        };
        self.say(stream_logs_response::Frame::Credit(credit)).await;
    }

    async fn next(&mut self) -> Frame {
        let request = timeout(DEADLINE, self.up.recv())
            .await
            .expect("a frame in time");
        request.unwrap().frame.unwrap()
    }

    async fn data(&mut self) -> LogData {
        match self.next().await {
            Frame::Data(data) => data,
            other => panic!("{other:?} instead of data"),
        }
    }

    async fn caught_up(&mut self, position: u64) {
        match self.next().await {
            Frame::CaughtUp(LogCaughtUp { position: at, .. }) => assert_eq!(at, position),
            other => panic!("{other:?} instead of caught up"),
        }
    }

    async fn end(&mut self) -> LogEnd {
        match self.next().await {
            Frame::End(end) => end,
            other => panic!("{other:?} instead of an end"),
        }
    }

    /// All that has come without being waited for.
    fn pending(&mut self) -> usize {
        std::iter::from_fn(|| self.up.try_recv().ok()).count()
    }
}

#[tokio::test]
async fn what_is_there_then_caught_up_then_what_comes() {
    let logs = FakeLogs::default();
    let log = logs.add(1);
    log.write(0, b"one\n");
    log.lose(10);
    log.write(1, b"two\n");
    let mut server = Server::new(&logs);
    server.subscribe(7, 1, |_| {}).await;
    let one = server.data().await;
    assert_eq!(
        (one.subscription_id, one.next_position, one.instance),
        (7, 4, 0)
    );
    assert_eq!(
        (one.data.as_ref(), one.partial),
        (b"one\n".as_slice(), false)
    );
    let Frame::Missing(gap) = server.next().await else {
        panic!("no gap");
    };
    assert_eq!((gap.next_position, gap.bytes), (14, 10));
    assert_eq!(server.data().await.next_position, 18);
    server.caught_up(18).await;
    log.write(0, b"three\n");
    assert_eq!(server.data().await.data.as_ref(), b"three\n");
    server.caught_up(24).await;
    log.delete();
    assert_eq!(server.end().await.error, "DELETED");
}

#[tokio::test]
async fn last_lines_and_places_and_no_follow() {
    let logs = FakeLogs::default();
    let log = logs.add(1);
    for line in ["one\n", "two\n", "three\n"] {
        log.write(0, line.as_bytes());
    }
    let mut server = Server::new(&logs);
    server
        .subscribe(1, 1, |ask| {
            ask.start = Some(Start::TailLines(2));
            ask.follow = false;
        })
        .await;
    assert_eq!(server.data().await.data.as_ref(), b"two\n");
    assert_eq!(server.data().await.data.as_ref(), b"three\n");
    server.caught_up(14).await;
    let end = server.end().await;
    assert_eq!((end.subscription_id, end.error.as_str()), (1, ""));
    // A place beyond the end is the end.
    server
        .subscribe(2, 1, |ask| ask.start = Some(Start::Position(99)))
        .await;
    server.caught_up(14).await;
    log.write(0, b"four\n");
    assert_eq!(server.data().await.next_position, 19);
}

#[tokio::test]
async fn without_credit_nothing_is_sent_and_nobody_else_waits() {
    let logs = FakeLogs::default();
    let (stalled, flowing) = (logs.add(1), logs.add(2));
    let mut server = Server::new(&logs);
    let line = [b'x'; 60];
    for _ in 0..2000 {
        stalled.write(0, &line);
        flowing.write(0, &line);
    }
    server.subscribe(1, 1, |ask| ask.credit_bytes = 100).await;
    server.subscribe(2, 2, |_| {}).await;
    let (mut of_one, mut of_two) = (0, 0);
    let mut take = |frame: Frame| {
        match frame {
            Frame::Data(data) if data.subscription_id == 1 => of_one += data.data.len(),
            Frame::Data(data) => of_two += data.data.len(),
            Frame::CaughtUp(at) if at.subscription_id == 1 => {
                assert_eq!(at.position, 120_000, "out of credit is not at the end");
            }
            _ => {}
        }
        (of_one, of_two)
    };
    while take(server.next().await).1 < 2000 * line.len() {}
    let mut got = (0, 0);
    while got != (100, 2000 * line.len()) {
        got = take(server.next().await);
        assert!(got.0 <= 100);
    }
    // More is sent exactly as far as it is allowed, while the other goes on.
    server.credit(1, 250).await;
    for _ in 0..50 {
        flowing.write(0, &line);
    }
    while take(server.next().await) != (350, 2050 * line.len()) {}
    flowing.write(0, &line);
    while take(server.next().await) != (350, 2051 * line.len()) {}
    server.credit(1, PLENTY).await;
    while take(server.next().await).0 < 2000 * line.len() {}
}

#[tokio::test]
async fn chunks_are_bounded_and_whole_again_in_order() {
    let logs = FakeLogs::default();
    let big: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    logs.add(1).write(0, &big);
    let mut server = Server::new(&logs);
    server.subscribe(1, 1, |ask| ask.follow = false).await;
    let mut got = Vec::new();
    while got.len() < big.len() {
        let data = server.data().await;
        assert!(data.data.len() <= 64 * 1024);
        got.extend_from_slice(&data.data);
        assert_eq!(data.next_position, got.len() as u64);
        assert_eq!(data.partial, got.len() < big.len());
    }
    assert_eq!(got, big);
}

#[tokio::test(start_paused = true)]
async fn only_one_instance_but_the_place_moves_on() {
    let logs = FakeLogs::default();
    let log = logs.add(1);
    log.write(0, b"mine\n");
    log.write(1, b"other\n");
    let mut server = Server::new(&logs);
    server.subscribe(1, 1, |ask| ask.instance = Some(0)).await;
    assert_eq!(server.data().await.data.as_ref(), b"mine\n");
    server.caught_up(11).await;
    let told = Instant::now();
    // Lines of the other alone: no data, but word of how far they have come, once a second and not at every line.
    for _ in 0..50 {
        log.write(1, b"other\n");
        sleep(Duration::from_millis(10)).await;
    }
    server.caught_up(311).await;
    assert_eq!(told.elapsed(), Duration::from_secs(1));
    log.write(0, b"mine\n");
    assert_eq!(server.data().await.next_position, 316);
}

#[tokio::test]
async fn what_can_not_be_served_is_ended_with_its_reason() {
    let logs = FakeLogs::default();
    logs.add(1).write(0, b"x\n");
    let broken = logs.add(2);
    broken.write(0, b"x\n");
    broken.fail(io::ErrorKind::PermissionDenied);
    let mut server = Server::new(&logs);
    server.subscribe(1, 9, |_| {}).await;
    assert_eq!(server.end().await.error, "UNKNOWN_DAEMON");
    server
        .subscribe(2, 1, |ask| ask.daemon_id = "../1".to_owned())
        .await;
    assert_eq!(server.end().await.error, "UNKNOWN_DAEMON");
    server.subscribe(3, 2, |_| {}).await;
    let end = server.end().await;
    assert_eq!(end.error, "LOG_UNREADABLE");
    assert!(end.message.contains("permission denied"), "{}", end.message);
}

#[tokio::test]
async fn there_is_a_most_and_an_ended_one_makes_room() {
    let logs = FakeLogs::default();
    logs.add(1);
    let mut server = Server::new(&logs);
    let most = SUBSCRIPTIONS_MAX as u64;
    for n in 0..most {
        server.subscribe(n, 1, |_| {}).await;
        server.caught_up(0).await;
    }
    server.subscribe(most, 1, |_| {}).await;
    let end = server.end().await;
    assert_eq!(
        (end.subscription_id, end.error.as_str()),
        (most, "TOO_MANY_SUBSCRIPTIONS")
    );
    let unsubscribe = LogUnsubscribe { subscription_id: 3 };
    server
        .say(stream_logs_response::Frame::Unsubscribe(unsubscribe))
        .await;
    // The ended task is collected in its own time: ask until there is room.
    timeout(DEADLINE, async {
        loop {
            server.subscribe(most, 1, |_| {}).await;
            match server.next().await {
                Frame::CaughtUp(at) => break assert_eq!(at.subscription_id, most),
                Frame::End(end) => assert_eq!(end.error, "TOO_MANY_SUBSCRIPTIONS"),
                other => panic!("{other:?}"),
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_ended_subscription_is_silent() {
    let logs = FakeLogs::default();
    let (first, second) = (logs.add(1), logs.add(2));
    let mut server = Server::new(&logs);
    server.subscribe(1, 1, |_| {}).await;
    server.caught_up(0).await;
    let unsubscribe = LogUnsubscribe { subscription_id: 1 };
    server
        .say(stream_logs_response::Frame::Unsubscribe(unsubscribe))
        .await;
    // The second one's answer comes after the first one's end was taken.
    server.subscribe(2, 2, |_| {}).await;
    server.caught_up(0).await;
    first.write(0, b"nobody asks\n");
    second.write(0, b"heard\n");
    assert_eq!(server.data().await.subscription_id, 2);
    server.caught_up(6).await;
    assert_eq!(server.pending(), 0);
}

#[tokio::test]
async fn a_home_that_hangs_delays_only_its_own_viewers() {
    let logs = FakeLogs::default();
    let (hanging, other) = (logs.add(1), logs.add(2));
    hanging.write(0, b"late\n");
    other.write(0, b"line\n");
    let release = hanging.hang();
    let mut server = Server::new(&logs);
    let began = Instant::now();
    server.subscribe(1, 1, |_| {}).await;
    server.subscribe(2, 2, |_| {}).await;
    assert_eq!(server.data().await.subscription_id, 2);
    server.caught_up(5).await;
    assert!(began.elapsed() < HANG / 2, "{:?}", began.elapsed());
    drop(release);
    assert_eq!(server.data().await.data.as_ref(), b"late\n");
}

#[tokio::test]
async fn a_range_ends_and_says_where_it_was() {
    let logs = FakeLogs::default();
    let log = logs.add(1);
    for n in 0..100 {
        log.write(n % 2, &[b'x'; 100]);
    }
    let mut server = Server::new(&logs);
    // Forwards: as much as it may cost, and not a torn line more.
    server
        .subscribe(1, 1, |ask| {
            ask.follow = false;
            ask.start = Some(Start::Position(200));
            ask.limit_bytes = 8 * 1024;
        })
        .await;
    let mut position = 200;
    let end = loop {
        match server.next().await {
            Frame::Data(data) => {
                assert_eq!((data.next_position, data.data.len()), (position + 100, 100));
                position = data.next_position;
            }
            Frame::End(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        (end.begin, end.position, end.log_end),
        (200, position, 10_000)
    );
    assert!((1000..8_200).contains(&(position - 200)), "{position}");
    // Backwards: what ends there, in the order of the log, and nothing behind it.
    server
        .subscribe(2, 1, |ask| {
            ask.follow = false;
            ask.start = Some(Start::Before(5000));
            ask.limit_bytes = 3 * 164 + 10;
        })
        .await;
    for next in [4800, 4900, 5000] {
        assert_eq!(server.data().await.next_position, next);
    }
    server.caught_up(5000).await;
    let end = server.end().await;
    assert_eq!((end.begin, end.position, end.log_end), (4700, 5000, 10_000));
    // By time.
    for (second, begin) in [(1, 0), (2, 10_000)] {
        server
            .subscribe(3, 1, |ask| {
                ask.follow = false;
                ask.start = Some(Start::Since(second));
                ask.limit_bytes = 1;
            })
            .await;
        let end = loop {
            if let Frame::End(end) = server.next().await {
                break end;
            }
        };
        assert_eq!((end.begin, end.log_end), (begin, 10_000));
        assert!(begin == 10_000 || end.position > begin, "no progress");
    }
}

#[tokio::test]
async fn a_log_is_cleared_or_it_is_said_why_not() {
    let logs = FakeLogs::default();
    logs.add(1).write(0, b"gone\n");
    let broken = logs.add(2);
    broken.fail(io::ErrorKind::PermissionDenied);
    let mut server = Server::new(&logs);
    let of = |n: u8| id(n).to_string();
    for (request_id, daemon_id, expected) in [
        (1, of(1), ""),
        (2, of(2), "LOG_UNREADABLE"),
        (3, of(9), "UNKNOWN_DAEMON"),
        (4, "../1".to_owned(), "UNKNOWN_DAEMON"),
    ] {
        let ask = LogClear {
            request_id,
            daemon_id,
            deadline_ms: 5000,
        };
        server.say(stream_logs_response::Frame::Clear(ask)).await;
        match server.next().await {
            Frame::Cleared(told) => {
                assert_eq!(
                    (told.request_id, told.error.as_str()),
                    (request_id, expected)
                );
            }
            other => panic!("{other:?}"),
        }
    }
    server.subscribe(1, 1, |_| {}).await;
    let Frame::Missing(gap) = server.next().await else {
        panic!("no gap");
    };
    assert_eq!(
        gap.reason(),
        zhylon_proto::daemons::v1::LogGapReason::Cleared
    );
}
