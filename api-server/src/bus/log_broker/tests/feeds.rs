//! Many viewers, one feed.

use super::super::feed::{Feed, Found};
use super::*;

/// The agent of one daemon whose log is `end` bytes long.
struct Agent {
    broker: LogBroker,
    server: ServerId,
    stream: Arc<LogStream>,
    asked: LogRequest,
    /// The feed's subscription, once there is one.
    feed: u64,
    end: u64,
}

impl Agent {
    fn new() -> Self {
        let (broker, server, stream) = attached();
        Self {
            broker,
            server,
            stream,
            asked: request(),
            feed: 0,
            end: 1000,
        }
    }

    /// A viewer that has read history and stands in the feed.
    async fn viewer(&mut self) -> LogSubscription {
        let mut viewer = self.broker.subscribe(self.server, self.asked).unwrap();
        self.bring(&mut viewer).await;
        viewer
    }

    /// Serves pages until the viewer has a place in the feed.
    async fn bring(&mut self, viewer: &mut LogSubscription) {
        loop {
            tokio::select! {
                event = next(viewer) => {
                    if matches!(event, LogEvent::CaughtUp { position } if position == self.end) {
                        break;
                    }
                }
                order = self.stream.next_order() => self.serve(order),
            }
        }
        while let Ok(order) = tokio::time::timeout(Duration::ZERO, self.stream.next_order()).await {
            self.serve(order);
        }
    }

    fn serve(&mut self, order: Option<Order>) {
        if let Some(Order::Subscribe { id, request, .. }) = order {
            if request.follow {
                assert_eq!(request.instance, None, "one feed for all");
                self.feed = id;
            } else {
                let begin = match request.start {
                    Start::Position(position) => position,
                    _ => self.end,
                };
                self.stream
                    .deliver(id, end(begin, self.end, self.end))
                    .unwrap();
            }
        }
    }

    /// So many bytes more, to the feed.
    fn write(&mut self, len: usize) -> Result<(), Breach> {
        self.end += len as u64;
        self.stream.deliver(self.feed, chunk(self.end, len))
    }

    fn credit(&self) -> u64 {
        let mut sum = 0;
        while let Some(Some(Some(order))) = now(self.stream.next_order()) {
            match order {
                Order::Credit { id, bytes } if id == self.feed => sum += bytes,
                other => panic!("{other:?}"),
            }
            if self.stream.waiting_orders() == 0 {
                break;
            }
        }
        sum
    }
}

/// What is there without waiting.
fn now<T>(future: impl Future<Output = T>) -> Option<Option<T>> {
    use futures_util::FutureExt as _;
    Some(Box::pin(future).as_mut().now_or_never())
}

const STEP: usize = CREDIT_STEP as usize;

#[tokio::test]
async fn a_hundred_viewers_are_one_subscription_and_see_the_same() {
    let mut agent = Agent::new();
    let mut viewers = vec![agent.viewer().await];
    let feed = agent.feed;
    for _ in 0..99 {
        viewers.push(agent.viewer().await);
    }
    assert_eq!(agent.feed, feed, "a second upstream");
    for _ in 0..20 {
        agent.write(100).unwrap();
        for viewer in &mut viewers {
            assert_eq!(next(viewer).await, chunk(agent.end, 100));
        }
    }
    let last = viewers.pop().unwrap();
    drop(viewers);
    assert_eq!(agent.stream.waiting_orders(), 0, "somebody still follows");
    drop(last);
    assert_eq!(
        order(&agent.stream).await,
        Some(Order::Unsubscribe { id: feed })
    );
}

#[tokio::test]
async fn what_the_fastest_takes_comes_back_as_credit_once() {
    let mut agent = Agent::new();
    let (mut fast, mut other) = (agent.viewer().await, agent.viewer().await);
    agent.write(STEP - 1).unwrap();
    next(&mut fast).await;
    assert_eq!(agent.stream.waiting_orders(), 0);
    agent.write(1).unwrap();
    next(&mut fast).await;
    assert_eq!(agent.credit(), CREDIT_STEP);
    next(&mut other).await;
    next(&mut other).await;
    assert_eq!(agent.stream.waiting_orders(), 0, "given twice");
    // All of the window, and not a byte more.
    agent.write(WINDOW as usize).unwrap();
    assert_eq!(agent.write(1), Err(Breach));
}

#[tokio::test(start_paused = true)]
async fn one_that_never_reads_is_waited_for_once_and_goes_on_where_it_was() {
    let mut agent = Agent::new();
    let (mut idle, mut reader) = (agent.viewer().await, agent.viewer().await);
    let (begun, from) = (tokio::time::Instant::now(), agent.end);
    let mut allowed = WINDOW;
    for _ in 0..1000 {
        while allowed < STEP as u64 {
            // Whoever waits for more lets the grace of the other end.
            assert!(
                tokio::time::timeout(Duration::from_millis(50), reader.next())
                    .await
                    .is_err()
            );
            if agent.stream.waiting_orders() > 0 {
                allowed += agent.credit();
            }
        }
        agent.write(STEP).unwrap();
        allowed -= STEP as u64;
        assert_eq!(next(&mut reader).await, chunk(agent.end, STEP));
        if agent.stream.waiting_orders() > 0 {
            allowed += agent.credit();
        }
    }
    let waited = begun.elapsed();
    assert!(
        (Duration::from_millis(150)..Duration::from_millis(400)).contains(&waited),
        "{waited:?}"
    );
    assert!(idle.is_outrun());
    // Its next page begins at the byte where it was, and leads it back into the feed.
    let (event, ()) = tokio::join!(next(&mut idle), async {
        let (id, request, _) = subscribed(&agent.stream).await;
        assert_eq!(
            (request.start, request.follow),
            (Start::Position(from), false)
        );
        agent.stream.deliver(id, chunk(from + 7, 7)).unwrap();
        let log_end = agent.end;
        agent
            .stream
            .deliver(id, end(from, from + 7, log_end))
            .unwrap();
    });
    assert_eq!(event, chunk(from + 7, 7));
    let feed = agent.feed;
    agent.bring(&mut idle).await;
    assert_eq!(agent.feed, feed);
    agent.write(5).unwrap();
    assert_eq!(next(&mut idle).await, chunk(agent.end, 5));
}

#[tokio::test]
async fn history_joins_the_feed_without_a_seam_wherever_it_ends() {
    let mut agent = Agent::new();
    let mut first = agent.viewer().await;
    for _ in 0..10 {
        agent.write(100).unwrap();
        next(&mut first).await;
    }
    // Each with another last byte of history: at a chunk's edge, within one, at the end, and beyond what came yet.
    for at in [1000, 1001, 1099, 1100, 1150, 1999, 2000, 2050] {
        let mut viewer = agent.broker.subscribe(agent.server, agent.asked).unwrap();
        let (event, ()) = tokio::join!(next(&mut viewer), async {
            let (id, _, _) = subscribed(&agent.stream).await;
            agent.stream.deliver(id, end(at, at, at)).unwrap();
        });
        assert_eq!(event, LogEvent::CaughtUp { position: at });
        let mut position = at;
        if at > agent.end {
            agent.write(100).unwrap();
            next(&mut first).await;
        }
        while position < agent.end {
            let LogEvent::Chunk {
                next_position,
                data,
                ..
            } = next(&mut viewer).await
            else {
                panic!("no data at {position}");
            };
            assert_eq!(next_position - data.len() as u64, position, "a seam");
            assert!(!data.is_empty());
            position = next_position;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_stands_still_begins_anew_for_who_is_further_on() {
    let mut agent = Agent::new();
    let mut idle = agent.viewer().await;
    let first = agent.feed;
    agent.write(WINDOW as usize).unwrap();
    // Nobody takes it, and the log goes on by more than may be sent.
    let left = agent.end - WINDOW;
    agent.end += 2 * RING_BYTES;
    tokio::time::advance(Duration::from_secs(2)).await;
    let mut new = agent.viewer().await;
    assert_ne!(agent.feed, first);
    agent.write(10).unwrap();
    assert_eq!(next(&mut new).await, chunk(agent.end, 10));
    // What the former subscription still had under way is nobody's.
    agent.stream.deliver(first, chunk(left + 5, 5)).unwrap();
    agent.write(10).unwrap();
    assert_eq!(next(&mut new).await, chunk(agent.end, 10));
    let (_, ()) = tokio::join!(next(&mut idle), async {
        let (id, request, _) = subscribed(&agent.stream).await;
        assert_eq!(request.start, Start::Position(left));
        agent.stream.deliver(id, chunk(left + 1, 1)).unwrap();
    });
}

/// Between the agent's frame and the feed another thread may have begun the feed anew.
#[tokio::test]
async fn what_a_given_up_subscription_still_had_under_way_reaches_no_feed() {
    let feed = Feed::new(request().daemon, 1, 0);
    feed.begin_anew(2, 1000);
    let mut place = feed.join(1, 1000, false).unwrap();
    feed.push(1, chunk(500, 10)).unwrap();
    feed.push(1, end(0, 500, 500)).unwrap();
    feed.push(1, LogEvent::Lost { position: None }).unwrap();
    feed.push(2, chunk(1010, 10)).unwrap();
    let (found, _) = feed.take(&mut place);
    assert!(
        matches!(&found, Found::Event(event) if *event == chunk(1010, 10)),
        "{found:?}"
    );
    let (found, _) = feed.take(&mut place);
    assert!(matches!(found, Found::Nothing(_)), "{found:?}");
}

#[tokio::test]
async fn viewers_of_one_instance_share_the_feed_and_know_how_far_it_is() {
    let mut agent = Agent::new();
    let mut all = agent.viewer().await;
    let feed = agent.feed;
    let only = LogRequest {
        instance: Some(1),
        ..agent.asked
    };
    let mut viewer = agent.broker.subscribe(agent.server, only).unwrap();
    agent.bring(&mut viewer).await;
    assert_eq!(agent.feed, feed);
    agent.write(100).unwrap();
    next(&mut all).await;
    let other = tokio::time::timeout(Duration::from_millis(20), viewer.next()).await;
    assert!(other.is_err(), "another instance's line");
    assert_eq!(viewer.position(), Some(agent.end));
}

#[tokio::test]
async fn the_end_of_a_feed_is_told_to_everyone_after_what_came() {
    let mut agent = Agent::new();
    let mut viewers = [agent.viewer().await, agent.viewer().await];
    agent.write(10).unwrap();
    let deleted = LogEvent::End {
        error: "DELETED".to_owned(),
        message: String::new(),
        range: Range::default(),
    };
    agent.stream.deliver(agent.feed, deleted.clone()).unwrap();
    for viewer in &mut viewers {
        assert_eq!(next(viewer).await, chunk(agent.end, 10));
        assert_eq!(next(viewer).await, deleted);
    }
}
