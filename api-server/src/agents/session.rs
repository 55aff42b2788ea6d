//! One session: hello, claim, welcome; then configuration down, status up, heartbeats both ways, until one side goes.
//!
//! A session never waits for its agent without a deadline, and every one that does not simply break off ends with a
//! `Drain` or a `Reject` that says why.

mod end;
mod opening;

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval};
use zhylon_proto::agent::v1::connect_request::Frame as Up;
use zhylon_proto::agent::v1::connect_response::Frame as Down;
use zhylon_proto::agent::v1::{
    ConfigAck, ConnectRequest, ConnectResponse, Drain, Events, EventsAck, Reject, RejectReason,
    ServerHeartbeat, Status, StatusAck,
};
use zhylon_shared::wire::timestamp;

pub(super) use end::RETRY_HOPELESS;

use end::End;
use opening::open;

use super::feed::{Answer, Feed};
use super::{Agents, Seat, lock};
use crate::ca::{AgentIdentity, hex};
use crate::domain::{Domain, Error, Standing};

/// Heartbeats that may be missed before a link counts as dead: 45 s at the usual 15.
const MISSED_HEARTBEATS: u32 = 3;
/// Longest wait for the answer to a configuration: it takes one fsync on the host.
const ACK_DEADLINE: Duration = Duration::from_secs(60);
/// Longest wait until a last word is sent.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(1);
/// How often at most a mere heartbeat is written down: `last_seen_time` is for people.
const SEEN_INTERVAL: Duration = Duration::from_secs(60);
/// Tries of a write while the database is busy, and the rest between two.
const BUSY_TRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_millis(500);
/// Agents are spread over so many milliseconds when they are asked to connect again.
const DRAIN_SPREAD_MS: u32 = 2000;

/// Serves one `Connect` stream of the agent that showed this certificate, until it ends. `address` is for our log.
pub(crate) async fn serve<S, E>(
    agents: Agents,
    identity: Arc<AgentIdentity>,
    address: SocketAddr,
    mut frames: S,
    down: mpsc::Sender<ConnectResponse>,
) where
    S: Stream<Item = Result<ConnectRequest, E>> + Unpin,
    E: Display,
{
    let server = identity.server;
    let end = match open(&agents, &identity, &mut frames, &down).await {
        Ok(mut session) => {
            tracing::info!(
                server.id = %server,
                session_epoch = session.seat.session_epoch,
                peer = %address,
                certificate.serial = hex(&identity.serial),
                "agent connected"
            );
            let mut end = session.run(&mut frames).await;
            if matches!(end, End::Fenced) {
                // By a newer session, or by a revocation: the reason decides what the agent does next.
                end = (session.still_good().await).map_or_else(|end| end, |()| End::superseded());
            }
            session.seat.revoked = matches!(end, End::Rejected(RejectReason::Revoked, ..));
            end
        }
        Err(End::Fenced) => End::superseded(),
        Err(end) => end,
    };
    let farewell = match end {
        End::Gone(why) => {
            tracing::info!(server.id = %server, why, "agent gone");
            return;
        }
        // Was told apart above.
        End::Fenced => return,
        End::Drained => Down::Drain(Drain {
            reconnect_after_ms: random_below(DRAIN_SPREAD_MS),
        }),
        End::Rejected(reason, message, retry_after) => {
            tracing::info!(server.id = %server, peer = %address, ?reason, message, "agent rejected");
            Down::Reject(Reject {
                reason: reason.into(),
                message,
                retry_after_ms: millis(retry_after),
            })
        }
    };
    let farewell = ConnectResponse {
        frame: Some(farewell),
    };
    // Who does not read its last word has not lost anything but the reason.
    let _ = tokio::time::timeout(FAREWELL_DEADLINE, down.send(farewell)).await;
}

struct Session<'a> {
    agents: &'a Agents,
    domain: &'a Domain,
    seat: Seat,
    feed: Feed,
    /// Something may have changed while an update was on its way.
    look_again: bool,
    down: &'a mpsc::Sender<ConnectResponse>,
    silence: Duration,
    last_heard: Instant,
    ack_due: Option<Instant>,
    last_seen: Instant,
    tick: Interval,
}

impl Session<'_> {
    async fn run<S, E>(&mut self, frames: &mut S) -> End
    where
        S: Stream<Item = Result<ConnectRequest, E>> + Unpin,
        E: Display,
    {
        loop {
            let poke = Arc::clone(&self.seat.poke);
            let done = tokio::select! {
                biased;
                () = superseded(&mut self.seat.superseded) => Err(End::superseded()),
                () = self.agents.0.draining.cancelled() => Err(End::Drained),
                () = self.down.closed() => Err(End::Gone("it closed the stream".to_owned())),
                () = tokio::time::sleep_until(self.last_heard + self.silence) => {
                    Err(End::Gone("no sign of life".to_owned()))
                }
                () = until(self.ack_due) => Err(End::reject(
                    RejectReason::ProtocolError,
                    "a configuration was not answered within 60 seconds",
                )),
                _ = self.tick.tick() => self.heartbeat().await,
                () = poke.notified() => self.poked().await,
                frame = frames.next() => match frame {
                    Some(Ok(frame)) => self.hear(frame).await,
                    Some(Err(error)) => Err(End::Gone(error.to_string())),
                    None => Err(End::Gone("it ended the stream".to_owned())),
                },
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn hear(&mut self, frame: ConnectRequest) -> Result<(), End> {
        self.last_heard = Instant::now();
        match frame.frame {
            Some(Up::ConfigAck(ack)) => self.answered(&ack).await,
            Some(Up::Status(status)) => self.status(status).await,
            Some(Up::Heartbeat(_)) => self.seen().await,
            Some(Up::Events(events)) => self.events(&events).await,
            Some(Up::Hello(_)) => Err(End::reject(
                RejectReason::ProtocolError,
                "`hello` must be the first frame only",
            )),
            // A kind of frame newer than this program: nothing we asked for.
            None => Ok(()),
        }
    }

    /// Something about the server changed. That it is gone is said at once, even while the agent writes down what came before.
    async fn poked(&mut self) -> Result<(), End> {
        if self.feed.is_waiting() {
            self.look_again = true;
            return self.still_good().await;
        }
        self.look().await
    }

    async fn still_good(&self) -> Result<(), End> {
        match while_busy(|| self.domain.standing(self.seat.server)).await? {
            Standing::Good(()) | Standing::Superseded => Ok(()),
            Standing::Revoked => Err(End::revoked()),
        }
    }

    /// Reads what the server should run and sends what the agent does not have.
    async fn look(&mut self) -> Result<(), End> {
        if self.feed.is_waiting() {
            self.look_again = true;
            return Ok(());
        }
        self.look_again = false;
        let set = while_busy(|| self.domain.desired(self.seat.server)).await?;
        if set.revoked {
            return Err(End::revoked());
        }
        self.seat.revision.store(set.revision, Ordering::Relaxed);
        if let Some(update) = self.feed.offer(set) {
            self.ack_due = Some(Instant::now() + ACK_DEADLINE);
            self.send(Down::ConfigUpdate(update)).await?;
        }
        Ok(())
    }

    async fn answered(&mut self, ack: &ConfigAck) -> Result<(), End> {
        match self.feed.answer(ack) {
            Answer::Stray => return Ok(()),
            Answer::Durable(revision) => self.acknowledge(revision).await?,
            Answer::OfferAgain => self.look_again = true,
            Answer::Refused => tracing::error!(
                server.id = %self.seat.server,
                reason = ack.refused,
                message = ack.message,
                "the host refused its configuration; it goes on with revision {}",
                ack.revision
            ),
        }
        self.ack_due = None;
        if self.look_again {
            self.look().await?;
        }
        Ok(())
    }

    async fn acknowledge(&mut self, revision: i64) -> Result<(), End> {
        let (server, epoch) = (self.seat.server, self.seat.session_epoch);
        while_busy(|| self.domain.acknowledge(server, epoch, revision)).await?;
        Ok(())
    }

    async fn status(&mut self, status: Status) -> Result<(), End> {
        let (server, epoch) = (self.seat.server, self.seat.session_epoch);
        let store = || {
            self.domain
                .record_status(server, epoch, status.full, status.daemons.clone())
        };
        while_busy(store).await?;
        self.last_seen = Instant::now();
        let sequence = status.sequence;
        self.send(Down::StatusAck(StatusAck { sequence })).await
    }

    async fn events(&mut self, events: &Events) -> Result<(), End> {
        let (server, epoch) = (self.seat.server, self.seat.session_epoch);
        while_busy(|| self.domain.record_events(server, epoch, events)).await?;
        self.last_seen = Instant::now();
        let Some(last) = events.events.last() else {
            return Ok(());
        };
        let sequence = last.sequence;
        self.send(Down::EventsAck(EventsAck { sequence })).await
    }

    async fn seen(&mut self) -> Result<(), End> {
        if self.last_seen.elapsed() >= SEEN_INTERVAL {
            self.last_seen = Instant::now();
            let (server, epoch) = (self.seat.server, self.seat.session_epoch);
            while_busy(|| self.domain.seen(server, epoch)).await?;
        }
        Ok(())
    }

    async fn heartbeat(&mut self) -> Result<(), End> {
        let read_time = *lock(&self.agents.0.last_read);
        self.send(Down::Heartbeat(ServerHeartbeat {
            target_revision: self.seat.revision.load(Ordering::Relaxed),
            read_time: Some(timestamp(read_time)),
        }))
        .await
    }

    async fn send(&mut self, frame: Down) -> Result<(), End> {
        let frame = ConnectResponse { frame: Some(frame) };
        match tokio::time::timeout(self.silence, self.down.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone("it closed the stream".to_owned())),
            Err(_) => Err(End::Gone("it does not read".to_owned())),
        }
    }
}

/// Ready once a newer session has the server's place.
async fn superseded(told: &mut watch::Receiver<bool>) {
    if told.wait_for(|superseded| *superseded).await.is_err() {
        // Our entry is gone without a successor: only we remove it, so this does not happen while we run.
        std::future::pending().await
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Tries again, a bounded number of times, while the database is busy.
pub(super) async fn while_busy<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 1..BUSY_TRIES {
        match attempt().await {
            Err(Error::Busy) => tokio::time::sleep(BUSY_PAUSE).await,
            done => return done,
        }
    }
    attempt().await
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Spreads agents; without randomness they come all at once, which the listener survives.
fn random_below(bound: u32) -> u32 {
    getrandom::u32().unwrap_or_default() % bound
}
