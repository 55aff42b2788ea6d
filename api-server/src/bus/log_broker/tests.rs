use std::time::Duration;

use super::stream::Breach;
use super::*;

fn request() -> LogRequest {
    LogRequest {
        daemon: DaemonId::random().unwrap(),
        start: Start::TailLines(10),
        follow: true,
        instance: None,
    }
}

fn chunk(next_position: u64, len: usize) -> LogEvent {
    LogEvent::Chunk {
        next_position,
        instance: 0,
        time: 0,
        data: vec![b'x'; len].into(),
        partial: false,
    }
}

/// The next order; a test that waits for one in vain fails.
async fn order(stream: &LogStream) -> Option<Order> {
    let order = tokio::time::timeout(Duration::from_secs(10), stream.next_order()).await;
    order.expect("no order comes")
}

fn attached() -> (LogBroker, ServerId, Arc<LogStream>) {
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
async fn what_is_read_comes_back_as_credit() {
    let (broker, server, stream) = attached();
    let asked = request();
    let mut subscription = broker.subscribe(server, asked).unwrap();
    let Some(Order::Subscribe {
        id,
        request,
        credit,
    }) = order(&stream).await
    else {
        panic!("no subscribe");
    };
    assert_eq!((request, credit), (asked, WINDOW));
    let step = usize::try_from(CREDIT_STEP).unwrap();
    stream.deliver(id, chunk(1, step - 1)).unwrap();
    stream.deliver(id, chunk(2, 1)).unwrap();
    subscription.next().await;
    assert_eq!(stream.waiting_orders(), 0);
    subscription.next().await;
    assert_eq!(
        order(&stream).await,
        Some(Order::Credit {
            id,
            bytes: CREDIT_STEP
        })
    );
    drop(subscription);
    assert_eq!(order(&stream).await, Some(Order::Unsubscribe { id }));
}

#[tokio::test]
async fn a_viewer_that_never_reads_costs_one_window_and_nobody_else_anything() {
    let (broker, server, stream) = attached();
    let _idle = broker.subscribe(server, request()).unwrap();
    let mut reader = broker.subscribe(server, request()).unwrap();
    let window = usize::try_from(WINDOW).unwrap();
    stream.deliver(1, chunk(WINDOW, window)).unwrap();
    for n in 1..=100 {
        stream.deliver(2, chunk(n * WINDOW, window)).unwrap();
        assert_eq!(reader.next().await, chunk(n * WINDOW, window));
    }
    assert_eq!(stream.deliver(1, chunk(WINDOW + 1, 1)), Err(Breach));
}

#[tokio::test]
async fn a_lost_stream_tells_the_place_to_go_on_from_after_all_that_came() {
    let (broker, server, stream) = attached();
    let mut seen = broker.subscribe(server, request()).unwrap();
    let mut unseen = broker.subscribe(server, request()).unwrap();
    stream.deliver(1, chunk(7, 7)).unwrap();
    stream
        .deliver(
            1,
            LogEvent::Gap {
                next_position: 9,
                bytes: 2,
                reason: 1,
            },
        )
        .unwrap();
    broker.detach(&stream);
    assert_eq!(seen.next().await, chunk(7, 7));
    assert!(matches!(seen.next().await, LogEvent::Gap { .. }));
    let lost = LogEvent::Lost { position: Some(9) };
    assert_eq!(seen.next().await, lost);
    assert_eq!(unseen.next().await, LogEvent::Lost { position: None });
}

#[tokio::test]
async fn too_many_tiny_events_lose_the_subscription_not_the_stream() {
    let (broker, server, stream) = attached();
    let mut slow = broker.subscribe(server, request()).unwrap();
    assert!(matches!(
        order(&stream).await,
        Some(Order::Subscribe { .. })
    ));
    for n in 0..=QUEUE_MAX as u64 {
        stream.deliver(1, chunk(n + 1, 1)).unwrap();
    }
    assert_eq!(order(&stream).await, Some(Order::Unsubscribe { id: 1 }));
    for n in 0..QUEUE_MAX as u64 {
        assert_eq!(slow.next().await, chunk(n + 1, 1));
    }
    let position = Some(QUEUE_MAX as u64);
    assert_eq!(slow.next().await, LogEvent::Lost { position });
}

#[tokio::test]
async fn signs_of_being_caught_up_do_not_pile_up() {
    let (broker, server, stream) = attached();
    let mut subscription = broker.subscribe(server, request()).unwrap();
    for position in 0..3 * QUEUE_MAX as u64 {
        stream.deliver(1, LogEvent::CaughtUp { position }).unwrap();
    }
    let position = 3 * QUEUE_MAX as u64 - 1;
    assert_eq!(subscription.next().await, LogEvent::CaughtUp { position });
}

#[tokio::test]
async fn places_are_bounded_even_when_the_agent_hears_nothing() {
    let (broker, server, stream) = attached();
    let all: Vec<_> = (0..SUBSCRIPTIONS_MAX)
        .map(|_| broker.subscribe(server, request()).unwrap())
        .collect();
    let full = |broker: &LogBroker| broker.subscribe(server, request()).unwrap_err();
    assert_eq!(full(&broker), NoSubscription::TooMany);
    for _ in 0..SUBSCRIPTIONS_MAX {
        order(&stream).await;
    }
    drop(all);
    // The agent knows of all of them and was not told that they ended.
    assert_eq!(full(&broker), NoSubscription::TooMany);
    order(&stream).await;
    drop(broker.subscribe(server, request()).unwrap());
}

#[tokio::test]
async fn a_newer_session_takes_the_place_of_an_older_one_and_not_the_other_way() {
    let (broker, server, first) = attached();
    let mut subscription = broker.subscribe(server, request()).unwrap();
    let second = broker.attach(server, 2).unwrap();
    assert_eq!(subscription.next().await, LogEvent::Lost { position: None });
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
