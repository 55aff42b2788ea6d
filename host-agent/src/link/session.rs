//! One control session: hello, welcome, configurations down, states up, signs of life. The unit of failure: whatever
//! goes wrong ends it as a whole, and a new one begins from the ledger.
//!
//! Knows no network: it is given a stream and a sender. Five parts run side by side, so that a slow disk never delays
//! a heartbeat: receiving, applying, reporting, telling, beating.

mod apply;
mod tell;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use zhylon_proto::agent::v1::{
    ConfigUpdate, ConnectRequest, ConnectResponse, Heartbeat, Hello, Reject, RejectReason, Status,
    Welcome, connect_request, connect_response,
};
use zhylon_shared::wire;

use super::door::Host;
use super::outbox::Outbox;
use super::report::describe;
use crate::journal::DesiredLedger;

/// The first frame must come within this time: with TLS 1.3 a refused certificate shows only after the handshake.
const FIRST_FRAME: Duration = Duration::from_secs(5);
/// Nothing heard for so long: the link is dead, whatever TCP thinks.
const WATCHDOG: Duration = Duration::from_secs(45);
/// Bounds of the heartbeat interval a server may ask for: it must neither flood us nor outlast the other side's
/// watchdog.
const HEARTBEAT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));
/// At most five statuses a second after the first; more changes are merged into the next one.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// Configurations that were received and not yet made durable. When full, reading waits for the disk.
const UPDATES: usize = 4;
/// The receiving half has so long to say why the sending one was closed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Frames on their way to the transport: a few, so that states are merged here and not queued there. When full, the
/// sender waits.
pub(super) const OUTGOING: usize = 4;

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The worker ends.
    Cancelled,
    /// The api-server asks to connect again.
    Drain { after: Duration },
    /// The api-server refuses this session.
    Rejected {
        reason: RejectReason,
        message: String,
        retry_after: Duration,
    },
    /// Anything else, in words.
    Lost(String),
}

impl End {
    /// Only the certificate is over.
    pub(super) fn is_expired(&self) -> bool {
        let expired = RejectReason::Expired;
        matches!(self, Self::Rejected { reason, .. } if *reason == expired)
    }
}

/// An ended session.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    /// From `Welcome` to the end; zero without one.
    pub(super) lasted: Duration,
}

/// What says which process speaks.
#[derive(Debug, Clone)]
pub(super) struct Speaker {
    /// New for every worker process.
    pub(super) agent_instance_id: String,
    /// The host's boot id.
    pub(super) boot_id: String,
}

/// Speaks until the session ends. `welcomed` is called with the welcome; what it returns runs beside the session and is
/// dropped with it.
pub(super) async fn talk<H: Host, L: Future<Output = std::convert::Infallible>>(
    host: &H,
    speaker: &Speaker,
    incoming: impl Stream<Item = Result<ConnectResponse, tonic::Status>>,
    outgoing: mpsc::Sender<ConnectRequest>,
    welcomed: impl FnOnce(Welcome) -> L,
    cancel: &CancellationToken,
) -> Ended {
    let mut incoming = std::pin::pin!(incoming);
    let ledger = host.desired();
    let hello = hello(speaker, &ledger);
    let opened = tokio::select! {
        () = cancel.cancelled() => Err(End::Cancelled),
        opened = open(&outgoing, hello, incoming.as_mut()) => opened,
    };
    let welcome = match opened {
        Ok(welcome) => welcome,
        Err(end) => {
            let lasted = Duration::ZERO;
            return Ended { end, lasted };
        }
    };
    let began = Instant::now();
    let applied = Arc::new(AtomicI64::new(ledger.revision));
    let (updates_in, updates) = mpsc::channel(UPDATES);
    let (acks_in, acks) = watch::channel(0);
    let (event_acks_in, event_acks) = watch::channel(0);
    let acks_in = Acks {
        status: acks_in,
        events: event_acks_in,
    };
    // A task of its own, awaited below: between "durable" and "handed to the engine" it must never be dropped, or the
    // next hello would claim a configuration the engine never saw.
    let stop = CancellationToken::new();
    let applier = apply::Applier {
        host: host.clone(),
        ledger,
        applied: applied.clone(),
        outgoing: outgoing.clone(),
        stop: stop.clone(),
    };
    let mut applying = tokio::spawn(applier.run(updates));
    let mut applier_done = false;
    let end = tokio::select! {
        () = cancel.cancelled() => End::Cancelled,
        end = receive(incoming, updates_in, acks_in) => end,
        end = beat(&outgoing, welcome.heartbeat_interval_ms, &applied) => end,
        end = report(host, &outgoing, acks) => end,
        end = tell::tell(host, &speaker.boot_id, &outgoing, event_acks) => end,
        end = &mut applying => {
            applier_done = true;
            end.unwrap_or_else(|error| End::Lost(format!("applying a configuration failed: {error}")))
        }
        never = welcomed(welcome) => match never {},
    };
    stop.cancel();
    if !applier_done && let Err(error) = applying.await {
        tracing::error!(%error, "applying a configuration failed");
    }
    let lasted = began.elapsed();
    Ended { end, lasted }
}

fn hello(speaker: &Speaker, ledger: &DesiredLedger) -> Hello {
    Hello {
        protocol_min: wire::PROTOCOL_VERSION,
        protocol_max: wire::PROTOCOL_VERSION,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_instance_id: speaker.agent_instance_id.clone(),
        boot_id: speaker.boot_id.clone(),
        config_epoch: ledger.config_epoch.clone(),
        applied_revision: ledger.revision,
        applied_hash: ledger.hash.clone(),
        wall_time: Some(wire::timestamp(SystemTime::now())),
    }
}

type Incoming<'a, I> = std::pin::Pin<&'a mut I>;

async fn open<I: Stream<Item = Result<ConnectResponse, tonic::Status>>>(
    outgoing: &mpsc::Sender<ConnectRequest>,
    hello: Hello,
    mut incoming: Incoming<'_, I>,
) -> Result<Welcome, End> {
    if !send(outgoing, connect_request::Frame::Hello(hello)).await {
        return Err(End::Lost("the connection was closed".into()));
    }
    match next(&mut incoming, FIRST_FRAME).await? {
        connect_response::Frame::Welcome(welcome) if welcome.protocol == wire::PROTOCOL_VERSION => {
            Ok(welcome)
        }
        connect_response::Frame::Welcome(welcome) => Err(End::Rejected {
            reason: RejectReason::ProtocolUnsupported,
            message: format!(
                "the api-server chose protocol {}, this agent speaks {}: upgrade one of them",
                welcome.protocol,
                wire::PROTOCOL_VERSION
            ),
            retry_after: Duration::ZERO,
        }),
        connect_response::Frame::Reject(reject) => Err(rejected(reject)),
        _ => Err(End::Lost(
            "the api-server's first frame is neither welcome nor reject".into(),
        )),
    }
}

/// The next frame that this agent knows. Frames of a newer protocol are passed over.
async fn next<I: Stream<Item = Result<ConnectResponse, tonic::Status>>>(
    incoming: &mut Incoming<'_, I>,
    within: Duration,
) -> Result<connect_response::Frame, End> {
    loop {
        let response = timeout(within, incoming.next()).await.map_err(|_| {
            let text = format!(
                "nothing heard from the api-server for {} s",
                within.as_secs()
            );
            End::Lost(text)
        })?;
        match response {
            None => return Err(End::Lost("the api-server ended the session".into())),
            Some(Err(status)) => return Err(End::Lost(describe(&status))),
            Some(Ok(ConnectResponse { frame: Some(frame) })) => return Ok(frame),
            Some(Ok(ConnectResponse { frame: None })) => {}
        }
    }
}

/// The newest acknowledged sequence numbers.
struct Acks {
    status: watch::Sender<u64>,
    events: watch::Sender<u64>,
}

async fn receive<I: Stream<Item = Result<ConnectResponse, tonic::Status>>>(
    mut incoming: Incoming<'_, I>,
    updates: mpsc::Sender<ConfigUpdate>,
    acks: Acks,
) -> End {
    loop {
        match next(&mut incoming, WATCHDOG).await {
            Err(end) => return end,
            Ok(connect_response::Frame::ConfigUpdate(update)) => {
                if updates.send(update).await.is_err() {
                    // The applier ended and says why itself.
                    return std::future::pending().await;
                }
            }
            Ok(connect_response::Frame::StatusAck(ack)) => {
                acks.status.send_replace(ack.sequence);
            }
            Ok(connect_response::Frame::EventsAck(ack)) => {
                acks.events.send_replace(ack.sequence);
            }
            Ok(connect_response::Frame::Heartbeat(_)) => {}
            Ok(connect_response::Frame::Drain(drain)) => {
                return End::Drain {
                    after: Duration::from_millis(drain.reconnect_after_ms.into()),
                };
            }
            Ok(connect_response::Frame::Reject(reject)) => return rejected(reject),
            Ok(connect_response::Frame::Welcome(_)) => {
                return End::Lost("the api-server sent a second welcome".into());
            }
        }
    }
}

fn rejected(reject: Reject) -> End {
    End::Rejected {
        reason: reject.reason(),
        retry_after: Duration::from_millis(reject.retry_after_ms.into()),
        message: reject.message,
    }
}

async fn beat(outgoing: &mpsc::Sender<ConnectRequest>, wish: u32, applied: &AtomicI64) -> End {
    let interval = Duration::from_millis(wish.into()).clamp(HEARTBEAT.0, HEARTBEAT.1);
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let applied_revision = applied.load(Ordering::Relaxed);
        let heartbeat = Heartbeat { applied_revision };
        if !send(outgoing, connect_request::Frame::Heartbeat(heartbeat)).await {
            return closed().await;
        }
    }
}

async fn report<H: Host>(
    host: &H,
    outgoing: &mpsc::Sender<ConnectRequest>,
    mut acks: watch::Receiver<u64>,
) -> End {
    let status = |status: Status| send(outgoing, connect_request::Frame::Status(status));
    let mut versions = host.version();
    let mut outbox = Outbox::default();
    versions.mark_unchanged();
    if !status(outbox.full(&host.board(), |time| host.wall(time))).await {
        return closed().await;
    }
    let mut allowed = Instant::now() + STATUS_INTERVAL;
    let mut dirty = false;
    loop {
        tokio::select! {
            Ok(()) = acks.changed() => {
                let sequence = *acks.borrow_and_update();
                for id in outbox.acknowledged(sequence) {
                    // It may have come back meanwhile, by a snapshot of another epoch.
                    if host.board().get(&id).is_some_and(|entry| entry.gone) {
                        host.forget(id).await;
                    }
                }
            }
            Ok(()) = versions.changed() => dirty = true,
            () = sleep_until(allowed), if dirty => {
                dirty = false;
                let Some(changes) = outbox.changes(&host.board(), |time| host.wall(time)) else {
                    continue;
                };
                if !status(changes).await {
                    return closed().await;
                }
                allowed = Instant::now() + STATUS_INTERVAL;
            }
            else => return End::Cancelled,
        }
    }
}

/// Whether the transport took it.
async fn send(outgoing: &mpsc::Sender<ConnectRequest>, frame: connect_request::Frame) -> bool {
    let request = ConnectRequest { frame: Some(frame) };
    outgoing.send(request).await.is_ok()
}

/// The transport takes nothing any more; the receiving half knows better why, so it gets a moment to say so.
async fn closed() -> End {
    sleep(LAST_WORDS).await;
    End::Lost("the api-server closed the session's sending half".into())
}

#[cfg(test)]
mod tests;
