use std::time::Duration;

use super::feed::RING_BYTES;
use super::stream::Breach;
use super::*;

mod feeds;

pub(super) fn request() -> LogRequest {
    LogRequest {
        daemon: DaemonId::random().unwrap(),
        start: Start::TailLines(10),
        follow: true,
        instance: None,
    }
}

pub(super) fn chunk(next_position: u64, len: usize) -> LogEvent {
    LogEvent::Chunk {
        next_position,
        instance: 0,
        time: 0,
        data: vec![b'x'; len].into(),
        partial: false,
    }
}

pub(super) fn end(begin: u64, position: u64, log_end: u64) -> LogEvent {
    LogEvent::End {
        error: String::new(),
        message: String::new(),
        range: Range {
            begin,
            position,
            log_end,
        },
    }
}

/// The next order; a test that waits for one in vain fails.
pub(super) async fn order(stream: &LogStream) -> Option<Order> {
    let order = tokio::time::timeout(Duration::from_secs(120), stream.next_order()).await;
    order.expect("no order comes")
}

/// The id and the request of the next order, which must be a subscription.
pub(super) async fn subscribed(stream: &LogStream) -> (u64, LogRequest, u64) {
    match order(stream).await {
        Some(Order::Subscribe {
            id, request, limit, ..
        }) => (id, request, limit),
        other => panic!("{other:?} instead of a subscription"),
    }
}

pub(super) async fn next(subscription: &mut LogSubscription) -> LogEvent {
    let event = tokio::time::timeout(Duration::from_secs(120), subscription.next()).await;
    event.expect("nothing comes")
}

pub(super) fn attached() -> (LogBroker, ServerId, Arc<LogStream>) {
    let (broker, server) = (LogBroker::new(), ServerId::random().unwrap());
    let stream = broker.attach(server, 1).unwrap();
    (broker, server, stream)
}

#[tokio::test]
async fn without_a_stream_there_is_no_subscription() {
    let (broker, server, stream) = attached();
    let other = ServerId::random().unwrap();
    assert_eq!(
        broker.subscribe(other, request()).unwrap_err(),
        NoSubscription::Offline
    );
    broker.detach(&stream);
    assert_eq!(
        broker.subscribe(server, request()).unwrap_err(),
        NoSubscription::Offline
    );
    assert_eq!(order(&stream).await, None);
}

#[tokio::test]
async fn what_is_not_followed_is_read_page_by_page_up_to_where_it_ended() {
    let (broker, server, stream) = attached();
    let asked = LogRequest {
        follow: false,
        ..request()
    };
    let mut viewer = broker.subscribe(server, asked).unwrap();
    let (event, ()) = tokio::join!(next(&mut viewer), async {
        let (id, request, limit) = subscribed(&stream).await;
        assert_eq!((request, limit), (asked, PAGE));
        stream.deliver(id, chunk(100, 60)).unwrap();
        stream.deliver(id, end(40, 100, 150)).unwrap();
    });
    assert_eq!(event, chunk(100, 60));
    // The log has grown by now; that was not asked for.
    let (event, ()) = tokio::join!(next(&mut viewer), async {
        let (id, request, _) = subscribed(&stream).await;
        assert_eq!(request.start, Start::Position(100));
        stream.deliver(id, chunk(160, 60)).unwrap();
        stream.deliver(id, end(100, 160, 900)).unwrap();
    });
    assert_eq!(event, chunk(160, 60));
    assert_eq!(next(&mut viewer).await, end(100, 160, 900));
    assert!(matches!(next(&mut viewer).await, LogEvent::Lost { .. }));
    assert_eq!(stream.waiting_orders(), 0);
}

#[tokio::test]
async fn a_page_may_cost_what_was_allowed_and_no_more() {
    let (broker, server, stream) = attached();
    let mut viewer = broker.subscribe(server, request()).unwrap();
    let (event, ()) = tokio::join!(next(&mut viewer), async {
        let (id, _, _) = subscribed(&stream).await;
        let page = usize::try_from(PAGE).unwrap();
        stream.deliver(id, chunk(PAGE, page)).unwrap();
        assert_eq!(stream.deliver(id, chunk(PAGE + 1, 1)), Err(Breach));
    });
    assert!(matches!(event, LogEvent::Chunk { .. }));
}

#[tokio::test]
async fn a_viewer_that_takes_nothing_of_its_page_holds_no_place_at_the_agent() {
    let (broker, server, stream) = attached();
    let mut idle = Vec::new();
    for n in 0..2 * RANGES_MAX as u64 {
        let mut viewer = broker.subscribe(server, request()).unwrap();
        let (event, ()) = tokio::join!(next(&mut viewer), async {
            let (id, _, _) = subscribed(&stream).await;
            stream.deliver(id, chunk(n + 1, 1)).unwrap();
            stream.deliver(id, chunk(n + 2, 1)).unwrap();
            stream.deliver(id, end(n, n + 2, n + 2)).unwrap();
        });
        assert_eq!(event, chunk(n + 1, 1));
        idle.push(viewer);
    }
}

#[tokio::test]
async fn a_lost_stream_tells_the_place_to_go_on_from_after_all_that_came() {
    let (broker, server, stream) = attached();
    let mut seen = broker.subscribe(server, request()).unwrap();
    let mut unseen = broker.subscribe(server, request()).unwrap();
    let gap = LogEvent::Gap {
        next_position: 9,
        bytes: 2,
        reason: 1,
    };
    let (event, ()) = tokio::join!(next(&mut seen), async {
        let (id, _, _) = subscribed(&stream).await;
        stream.deliver(id, chunk(7, 7)).unwrap();
        stream.deliver(id, gap.clone()).unwrap();
    });
    assert_eq!(event, chunk(7, 7));
    broker.detach(&stream);
    assert_eq!(next(&mut seen).await, gap);
    let lost = LogEvent::Lost { position: Some(9) };
    assert_eq!(next(&mut seen).await, lost);
    assert_eq!(next(&mut unseen).await, LogEvent::Lost { position: None });
}

#[tokio::test]
async fn places_are_bounded() {
    let (broker, server, _stream) = attached();
    let all: Vec<_> = (0..VIEWERS_MAX)
        .map(|_| broker.subscribe(server, request()).unwrap())
        .collect();
    let full = broker.subscribe(server, request()).unwrap_err();
    assert_eq!(full, NoSubscription::TooMany);
    drop(all);
    drop(broker.subscribe(server, request()).unwrap());
}

#[tokio::test]
async fn a_clear_is_answered_once_and_by_the_one_it_was_asked_of() {
    let (_broker, _server, stream) = attached();
    let daemon = DaemonId::random().unwrap();
    for (error, expected) in [
        ("", Ok(())),
        ("TOO_MANY_REQUESTS", Err(ClearFailed::TooMany)),
        (
            "LOG_UNREADABLE",
            Err(ClearFailed::Refused {
                error: "LOG_UNREADABLE".to_owned(),
                message: "in words".to_owned(),
            }),
        ),
    ] {
        let (outcome, ()) = tokio::join!(stream.clear(daemon), async {
            let Some(Order::Clear { id, daemon: told }) = order(&stream).await else {
                panic!("nobody was asked");
            };
            assert_eq!(told, daemon);
            stream.cleared(id + 1, String::new(), String::new());
            stream.cleared(id, error.to_owned(), "in words".to_owned());
            stream.cleared(id, "twice".to_owned(), String::new());
        });
        assert_eq!(outcome, expected);
    }
    let (outcome, ()) = tokio::join!(stream.clear(daemon), async {
        order(&stream).await;
        stream.close();
    });
    assert_eq!(outcome, Err(ClearFailed::Unknown));
}

#[tokio::test]
async fn a_newer_session_takes_the_place_of_an_older_one_and_not_the_other_way() {
    let (broker, server, first) = attached();
    let mut subscription = broker.subscribe(server, request()).unwrap();
    let second = broker.attach(server, 2).unwrap();
    assert_eq!(
        next(&mut subscription).await,
        LogEvent::Lost { position: None }
    );
    first.closed().await;
    assert!(broker.attach(server, 1).is_none());
    broker.detach(&first);
    broker.subscribe(server, request()).unwrap();
    broker.end_session(server, 1);
    broker.subscribe(server, request()).unwrap();
    broker.end_session(server, 2);
    second.closed().await;
    assert!(broker.subscribe(server, request()).is_err());
}
