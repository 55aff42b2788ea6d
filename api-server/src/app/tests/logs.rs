//! Logs from an agent, played by the test, to viewers over the public API. The agent sends no heartbeats, so they are
//! few: on a busy machine a test may take longer than three of the usual ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use zhylon_proto::agent::v1::log_subscribe::Start;
use zhylon_proto::agent::v1::stream_logs_request::Frame as LogUp;
use zhylon_proto::agent::v1::stream_logs_response::Frame as LogDown;
use zhylon_proto::agent::v1::*;
use zhylon_proto::daemons::v1 as api;
use zhylon_proto::daemons::v1::tail_log_response::Event;

use super::house::{Agent, House, Link, SOON, hello};
use crate::app::DRAIN_DEADLINE;

/// A log that grows on the host, and the agent that serves it: numbered lines of 100 bytes.
struct Host {
    lines: Mutex<u64>,
    grown: Notify,
    /// Of each feed that is open.
    credit_left: Mutex<BTreeMap<u64, u64>>,
    /// Feeds that were ever asked for.
    feeds: AtomicUsize,
    cleared: Mutex<Vec<String>>,
}

const LINE: u64 = 100;

fn line(number: u64) -> String {
    format!("{number:>99}\n")
}

impl Host {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lines: Mutex::new(0),
            grown: Notify::new(),
            credit_left: Mutex::default(),
            feeds: AtomicUsize::new(0),
            cleared: Mutex::default(),
        })
    }

    fn write(&self, lines: u64) {
        *self.lines.lock().unwrap() += lines;
        self.grown.notify_waiters();
    }
}

/// Serves `host`'s log over a link's `StreamLogs` until the stream ends. Keeps the rule of credits to the byte.
async fn serve_logs(host: Arc<Host>, mut link: Link, session_epoch: i64) {
    let (up, frames) = mpsc::channel(16);
    let hello = StreamLogsRequest {
        frame: Some(LogUp::Hello(LogHello { session_epoch })),
    };
    up.send(hello).await.unwrap();
    let mut orders = link
        .client
        .stream_logs(ReceiverStream::new(frames))
        .await
        .unwrap()
        .into_inner();
    // Subscription: next line to send, credit.
    let mut open: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    loop {
        let grown = host.grown.notified();
        let mut sent = false;
        let end = *host.lines.lock().unwrap();
        for (id, (next, credit)) in &mut open {
            let count = (end - *next).min(*credit / LINE).min(200);
            if count == 0 {
                continue;
            }
            *next += count;
            *credit -= count * LINE;
            sent = true;
            let data = data(*id, *next - count, *next);
            if up
                .send(StreamLogsRequest { frame: Some(data) })
                .await
                .is_err()
            {
                return;
            }
        }
        *host.credit_left.lock().unwrap() = open.iter().map(|(id, (_, c))| (*id, *c)).collect();
        let order = tokio::select! {
            biased;
            order = orders.message() => order,
            () = std::future::ready(()), if sent => continue,
            () = grown => continue,
            _ = link.frame() => return,
        };
        match order.ok().flatten().and_then(|order| order.frame) {
            Some(LogDown::Subscribe(asked)) => {
                let id = asked.subscription_id;
                let end = *host.lines.lock().unwrap();
                let most = asked.limit_bytes / (LINE + 64);
                let (next, last) = match asked.start.unwrap() {
                    Start::Position(position) => (position / LINE, end),
                    Start::TailLines(lines) => (end.saturating_sub(lines.into()), end),
                    Start::Since(_) => (0, end),
                    Start::Before(position) => {
                        let last = end.min(position / LINE);
                        (last.saturating_sub(most), last)
                    }
                };
                if asked.follow {
                    host.feeds.fetch_add(1, Ordering::SeqCst);
                    open.insert(id, (next, asked.credit_bytes));
                    continue;
                }
                let last = last.min(next + most);
                for from in (next..last).step_by(200) {
                    let data = data(id, from, last.min(from + 200));
                    if up
                        .send(StreamLogsRequest { frame: Some(data) })
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
                let ended = LogUp::End(LogEnd {
                    subscription_id: id,
                    begin: next * LINE,
                    position: last * LINE,
                    log_end: end * LINE,
                    ..LogEnd::default()
                });
                if up
                    .send(StreamLogsRequest { frame: Some(ended) })
                    .await
                    .is_err()
                {
                    return;
                }
            }
            Some(LogDown::Clear(asked)) => {
                host.cleared.lock().unwrap().push(asked.daemon_id);
                let cleared = LogUp::Cleared(LogCleared {
                    request_id: asked.request_id,
                    ..LogCleared::default()
                });
                let told = StreamLogsRequest {
                    frame: Some(cleared),
                };
                if up.send(told).await.is_err() {
                    return;
                }
            }
            Some(LogDown::Credit(more)) => {
                if let Some((_, credit)) = open.get_mut(&more.subscription_id) {
                    *credit += more.bytes;
                }
            }
            Some(LogDown::Unsubscribe(ended)) => {
                open.remove(&ended.subscription_id);
            }
            None => return,
        }
    }
}

fn data(subscription_id: u64, from: u64, next: u64) -> LogUp {
    let data: String = (from..next).map(line).collect();
    LogUp::Data(LogData {
        subscription_id,
        next_position: next * LINE,
        instance: 0,
        time: 1_800_000_000,
        data: data.into(),
        partial: false,
    })
}

async fn online(agent: &Agent, host: &Arc<Host>) -> JoinHandle<()> {
    let (mut link, welcome) = agent.welcome(hello()).await;
    let update = link.config().await;
    link.accept(&update).await;
    tokio::spawn(serve_logs(Arc::clone(host), link, welcome.session_epoch))
}

async fn tail(house: &House, daemon: &str) -> Streaming<api::TailLogResponse> {
    let asked = api::TailLogRequest {
        daemon_id: daemon.to_owned(),
        start: Some(api::tail_log_request::Start::TailLines(0)),
        follow: true,
        ..api::TailLogRequest::default()
    };
    house
        .logs()
        .tail_log(house.call(asked))
        .await
        .unwrap()
        .into_inner()
}

/// Reads lines until `until` of them came, each exactly once and in order.
async fn read_all(stream: &mut Streaming<api::TailLogResponse>, from: u64, until: u64) {
    let mut next = from;
    while next < until {
        let event = tokio::time::timeout(SOON, stream.message()).await;
        let event = event.expect("nothing comes").unwrap().unwrap().event;
        let Some(Event::Chunk(chunk)) = event else {
            continue;
        };
        assert!(!chunk.cursor.is_empty());
        for got in chunk.data.chunks(LINE as usize) {
            assert_eq!(std::str::from_utf8(got).unwrap(), line(next));
            next += 1;
        }
    }
    assert_eq!(next, until);
}

/// Waits until the agent serves this many feeds.
async fn subscribed(host: &Host, count: usize) {
    let end = Instant::now() + SOON;
    while host.credit_left.lock().unwrap().len() != count {
        assert!(
            Instant::now() < end,
            "{:?}",
            host.credit_left.lock().unwrap()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the agent was asked for this many feeds.
async fn feeds(host: &Host, count: usize) {
    let end = Instant::now() + SOON;
    while host.feeds.load(Ordering::SeqCst) < count {
        assert!(Instant::now() < end, "no new feed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_viewers_one_never_reads_and_the_others_get_every_line() {
    // More than one window, and than what lies in the network besides.
    const BEFORE: u64 = 50_000;
    const LINES: u64 = 5_000;
    let house = House::with_heartbeat(60_000).await;
    let server = house.create_server("one").await;
    let daemon = house.create_daemon(server, "/bin/x").await.id;
    let host = Host::new();
    let agent = house.enroll(server).await;
    let served = online(&agent, &host).await;
    let idle = tail(&house, &daemon).await;
    subscribed(&host, 1).await;
    host.write(BEFORE);
    let used_up = || {
        host.credit_left
            .lock()
            .unwrap()
            .values()
            .all(|left| *left < LINE)
    };
    let end = Instant::now() + SOON;
    while !used_up() {
        assert!(
            Instant::now() < end,
            "{:?}",
            host.credit_left.lock().unwrap()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut readers = Vec::new();
    for _ in 0..99 {
        readers.push(tail(&house, &daemon).await);
    }
    let all = readers.into_iter().map(|mut stream| {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            read_all(&mut stream, BEFORE, BEFORE + LINES).await;
            // One for all of them, and the one that stood still is in it.
            assert_eq!(host.credit_left.lock().unwrap().len(), 1);
            stream
        })
    });
    let all = all.collect::<Vec<_>>();
    feeds(&host, 2).await;
    host.write(LINES);
    let mut read = Vec::new();
    for reader in all {
        read.push(reader.await.unwrap());
    }
    assert_eq!(host.feeds.load(Ordering::SeqCst), 2);
    drop(read);
    drop(idle);
    subscribed(&host, 0).await;
    house.stop().await;
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_goes_on_at_its_line_when_the_agent_is_back() {
    let house = House::with_heartbeat(60_000).await;
    let server = house.create_server("one").await;
    let daemon = house.create_daemon(server, "/bin/x").await.id;
    let host = Host::new();
    let agent = house.enroll(server).await;
    let mut next = 0;
    let mut served = online(&agent, &host).await;
    let mut stream = tail(&house, &daemon).await;
    subscribed(&host, 1).await;
    for round in 0..20 {
        host.write(1 + round * 37);
        let end = *host.lines.lock().unwrap();
        // Cut in the middle of it, on the host's side.
        if round % 2 == 0 {
            read_all(&mut stream, next, end).await;
            next = end;
        }
        served.abort();
        let _ = served.await;
        host.write(5);
        served = online(&agent, &host).await;
        let end = *host.lines.lock().unwrap();
        read_all(&mut stream, next, end).await;
        next = end;
    }
    drop(stream);
    house.stop().await;
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_agent_a_log_is_offline_at_once() {
    let house = House::with_heartbeat(60_000).await;
    let server = house.create_server("one").await;
    let daemon = house.create_daemon(server, "/bin/x").await.id;
    let begun = Instant::now();
    let asked = api::TailLogRequest {
        daemon_id: daemon,
        ..api::TailLogRequest::default()
    };
    let refused = house.logs().tail_log(house.call(asked)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    use tonic_types::StatusExt as _;
    let reason = refused.get_details_error_info().unwrap().reason;
    assert_eq!(reason, "SERVER_OFFLINE");
    assert!(refused.get_details_retry_info().is_some());
    // An agent that is there and has no log stream yet is waited for as long.
    assert!(begun.elapsed() < Duration::from_secs(5));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_go_both_ways_and_lead_into_the_stream() {
    let house = House::with_heartbeat(60_000).await;
    let server = house.create_server("one").await;
    let daemon = house.create_daemon(server, "/bin/x").await.id;
    let host = Host::new();
    host.write(1000);
    let served = online(&house.enroll(server).await, &host).await;
    let read = async |cursor: Option<String>, direction: api::ReadLogDirection| {
        let asked = api::ReadLogRequest {
            daemon_id: daemon.clone(),
            start: cursor.map(api::read_log_request::Start::Cursor),
            direction: direction.into(),
            max_bytes: 20_000,
            instance: None,
        };
        let page = house.logs().read_log(house.call(asked)).await;
        let page = page.unwrap().into_inner();
        let text: String = (page.pieces.iter())
            .map(|piece| match piece.piece.as_ref().unwrap() {
                api::log_piece::Piece::Chunk(chunk) => {
                    String::from_utf8(chunk.data.to_vec()).unwrap()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(text.len() <= 20_000);
        (text, page)
    };
    let whole: String = (0..1000).map(line).collect();
    let (mut forth, mut cursor) = (String::new(), None);
    loop {
        let (text, page) = read(cursor, api::ReadLogDirection::Forwards).await;
        forth += &text;
        cursor = Some(page.end_cursor);
        if !page.more {
            break;
        }
    }
    assert!(forth == whole, "{} bytes", forth.len());
    let at_end = cursor.clone();
    let (mut back, mut pages, mut cursor) = (String::new(), 0, None);
    loop {
        let (text, page) = read(cursor, api::ReadLogDirection::Backwards).await;
        back = text + &back;
        (cursor, pages) = (Some(page.begin_cursor), pages + 1);
        if !page.more {
            break;
        }
    }
    assert!(back == whole && pages >= 5, "{} bytes", back.len());
    let asked = api::TailLogRequest {
        daemon_id: daemon.clone(),
        start: at_end.map(api::tail_log_request::Start::Cursor),
        follow: true,
        ..api::TailLogRequest::default()
    };
    let stream = house.logs().tail_log(house.call(asked)).await;
    let mut stream = stream.unwrap().into_inner();
    host.write(5);
    read_all(&mut stream, 1000, 1005).await;
    drop(stream);
    house.stop().await;
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clear_stands_among_the_events_with_who_asked() {
    let house = House::with_heartbeat(60_000).await;
    let server = house.create_server("one").await;
    let daemon = house.create_daemon(server, "/bin/x").await.id;
    let host = Host::new();
    let clear = async || {
        let asked = api::ClearLogRequest {
            daemon_id: daemon.clone(),
        };
        house.logs().clear_log(house.call(asked)).await
    };
    let events = async || {
        let asked = api::ListDaemonEventsRequest {
            daemon_id: daemon.clone(),
            ..Default::default()
        };
        let listed = house.daemons().list_daemon_events(house.call(asked)).await;
        listed.unwrap().into_inner().events
    };
    use tonic_types::StatusExt as _;
    let offline = clear().await.unwrap_err();
    let reason = offline.get_details_error_info().unwrap().reason;
    assert_eq!(reason, "SERVER_OFFLINE");
    assert_eq!(
        events().await.len(),
        1,
        "what was not asked of a host is no event"
    );
    let served = online(&house.enroll(server).await, &host).await;
    clear().await.unwrap();
    assert_eq!(*host.cleared.lock().unwrap(), std::slice::from_ref(&daemon));
    let events = events().await;
    let newest = &events[0];
    assert_eq!(newest.r#type(), api::DaemonEventType::LogClearRequested);
    assert_eq!(newest.source(), api::DaemonEventSource::Api);
    assert!(!newest.user_id.is_empty() && !newest.token_id.is_empty() && !newest.by.is_empty());
    assert_eq!(events.len(), 2);
    house.stop().await;
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_tells_viewers_to_call_again() {
    let house = House::with_heartbeat(60_000).await;
    let server = house.create_server("one").await;
    let daemon = house.create_daemon(server, "/bin/x").await.id;
    let host = Host::new();
    let agent = house.enroll(server).await;
    let served = online(&agent, &host).await;
    let mut stream = tail(&house, &daemon).await;
    subscribed(&host, 1).await;
    host.write(3);
    read_all(&mut stream, 0, 3).await;
    house.wish_stop();
    let told = loop {
        match tokio::time::timeout(SOON, stream.message())
            .await
            .expect("nothing comes")
        {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it just ended"),
            Err(status) => break status,
        }
    };
    assert_eq!(told.code(), tonic::Code::Unavailable, "{told:?}");
    assert!(told.message().contains("call again"), "{told:?}");
    drop(stream);
    assert!(house.stop().await < DRAIN_DEADLINE);
    served.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_stream_belongs_to_its_session() {
    let house = House::with_heartbeat(60_000).await;
    let server = house.create_server("one").await;
    let agent = house.enroll(server).await;
    let (mut link, welcome) = agent.welcome(hello()).await;
    let stale = StreamLogsRequest {
        frame: Some(LogUp::Hello(LogHello {
            session_epoch: welcome.session_epoch - 1,
        })),
    };
    let frames = tokio_stream::iter([stale]);
    let mut answer = link.client.stream_logs(frames).await.unwrap().into_inner();
    let refused = answer.message().await.unwrap_err();
    assert!(refused.message().contains("newer session"), "{refused:?}");
    house.stop().await;
}
