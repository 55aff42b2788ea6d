//! Logs from an agent, played by the test, to viewers over the public API. The agent sends no heartbeats, so they are
//! few: on a busy machine a test may take longer than three of the usual ones.

use std::collections::BTreeMap;
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

/// A log that grows on the host, and the agent that serves it: numbered lines of 100 bytes.
struct Host {
    lines: Mutex<u64>,
    grown: Notify,
    credit_left: Mutex<BTreeMap<u64, u64>>,
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
            let data: String = (*next..*next + count).map(line).collect();
            *next += count;
            *credit -= data.len() as u64;
            sent = true;
            let data = LogUp::Data(LogData {
                subscription_id: *id,
                next_position: *next * LINE,
                instance: 0,
                time: 1_800_000_000,
                data: data.into(),
                partial: false,
            });
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
                let end = *host.lines.lock().unwrap();
                let next = match asked.start.unwrap() {
                    Start::Position(position) => position / LINE,
                    Start::TailLines(lines) => end.saturating_sub(lines.into()),
                };
                open.insert(asked.subscription_id, (next, asked.credit_bytes));
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

/// Waits until the agent has this many subscriptions.
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
    subscribed(&host, 100).await;
    host.write(LINES);
    let all = readers.into_iter().map(|mut stream| {
        tokio::spawn(async move { read_all(&mut stream, BEFORE, BEFORE + LINES).await })
    });
    for reader in all.collect::<Vec<_>>() {
        reader.await.unwrap();
    }
    let left = host.credit_left.lock().unwrap()[&1];
    assert!(left < LINE, "{left}");
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
    assert!(begun.elapsed() < Duration::from_secs(1));
    house.stop().await;
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
    assert!(house.stop().await < Duration::from_secs(5));
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
