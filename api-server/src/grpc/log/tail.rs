//! One viewer: subscribes, hands on, and subscribes again where it was when the agent's stream broke.

use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zhylon_proto::daemons::v1::log_piece::Piece;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_proto::daemons::v1::{LogKeepAlive, TailLogResponse};
use zhylon_shared::cursor;
use zhylon_shared::id::ServerId;

use super::{FIRST_WAIT, PAUSE, UNKNOWN_WAIT, shown};
use crate::bus::log_broker::{
    LogBroker, LogEvent, LogRequest, LogSubscription, NoSubscription, Start,
};
use crate::bus::{Connection, Hint};
use crate::domain::{Ctx, Domain, Error};

/// A sign of life on a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Longest wait for an agent that went while somebody was watching: as long as its server reads RECONNECTING, and its
/// first tries after that.
const RETURN_WAIT: Duration = Duration::from_secs(70);
/// How often a viewer's rights are looked at even when no hint comes.
/// A revoked token or an ended membership ends a stream within five seconds.
const RIGHTS_INTERVAL: Duration = Duration::from_secs(4);
/// Longest pause of a viewer that has fallen out of the feed. After a longer one it is told so, with its cursor: a window
/// that somebody left open long ago is no reason to read gigabytes of history.
const STALLED: Duration = Duration::from_secs(60);

/// A viewer's stream.
pub(super) struct Tail {
    domain: Domain,
    broker: LogBroker,
    draining: CancellationToken,
    ctx: Ctx,
    server: ServerId,
    /// What to ask for next; its start moves on with what was received.
    request: LogRequest,
    subscription: Option<LogSubscription>,
    attached: watch::Receiver<u64>,
    hints: broadcast::Receiver<Hint>,
    /// When waiting for the agent ends.
    return_by: Instant,
    /// When waiting for the host to know the daemon ends; begins with the first time it did not.
    known_by: Option<Instant>,
    not_before: Instant,
    keep_alive: Instant,
    rights: Instant,
    /// When the client last took something.
    taken: Instant,
}

impl Tail {
    pub(super) fn new(
        domain: Domain,
        broker: LogBroker,
        draining: CancellationToken,
        ctx: Ctx,
        server: ServerId,
        request: LogRequest,
    ) -> Self {
        let now = Instant::now();
        Self {
            attached: broker.attached(),
            hints: domain.bus().hints().listen(),
            domain,
            broker,
            draining,
            ctx,
            server,
            request,
            subscription: None,
            return_by: now + FIRST_WAIT,
            known_by: None,
            not_before: now,
            keep_alive: now + KEEP_ALIVE,
            rights: now + RIGHTS_INTERVAL,
            taken: now,
        }
    }

    /// The first subscription.
    ///
    /// # Errors
    /// When the agent is not connected.
    pub(super) async fn begin(&mut self) -> Result<(), Error> {
        loop {
            // Before the look, so that a stream attached in between is not missed.
            self.attached.mark_unchanged();
            self.subscribe()?;
            if self.subscription.is_some() {
                return Ok(());
            }
            if self.connection() != Connection::Connected {
                return Err(Error::ServerOffline);
            }
            let changed = self.attached.changed();
            let _ = tokio::time::timeout(PAUSE, changed).await;
        }
    }

    /// The next event; `None` when everything asked for was sent. Not called while the client takes nothing.
    pub(super) async fn next(&mut self) -> Result<Option<TailLogResponse>, Error> {
        let stalled = self.taken.elapsed() >= STALLED;
        if stalled
            && self
                .subscription
                .as_ref()
                .is_some_and(LogSubscription::is_outrun)
        {
            let cursor = self.place().map(|place| self.cursor(place));
            let cursor = cursor.unwrap_or_default();
            return Err(Error::ViewerTooSlow { cursor });
        }
        loop {
            if self.subscription.is_none() && self.not_before <= Instant::now() {
                self.attached.mark_unchanged();
                self.subscribe()?;
            }
            let woken = tokio::select! {
                event = next_of(&mut self.subscription) => Woken::Event(event),
                () = self.draining.cancelled() => Woken::Draining,
                hint = self.hints.recv() => Woken::Hint(hint),
                // An agent that comes back is asked at once; one that is there and does not know yet, after a rest.
                _ = self.attached.changed(), if self.subscription.is_none() => {
                    self.not_before = Instant::now();
                    continue;
                }
                () = tokio::time::sleep(PAUSE), if self.subscription.is_none() => continue,
                () = tokio::time::sleep_until(self.rights) => Woken::Rights,
                () = tokio::time::sleep_until(self.keep_alive) => Woken::Quiet,
            };
            match woken {
                Woken::Event(event) => match self.take(event)? {
                    Taken::Send(event) => return Ok(Some(self.send(event))),
                    Taken::Nothing => {}
                    Taken::End => return Ok(None),
                },
                Woken::Quiet => {
                    let cursor = self.place().map(|place| self.cursor(place));
                    let cursor = cursor.unwrap_or_default();
                    return Ok(Some(self.send(Event::KeepAlive(LogKeepAlive { cursor }))));
                }
                Woken::Draining => return Err(Error::Draining),
                Woken::Rights
                | Woken::Hint(
                    Ok(Hint::MembershipChanged) | Err(broadcast::error::RecvError::Lagged(_)),
                ) => self.check_rights().await?,
                Woken::Hint(_) => {}
            }
        }
    }

    fn take(&mut self, event: LogEvent) -> Result<Taken, Error> {
        Ok(match event {
            LogEvent::Chunk { next_position, .. } | LogEvent::Gap { next_position, .. } => {
                self.request.start = Start::Position(next_position);
                match shown::piece(&self.request.daemon, event).and_then(|piece| piece.piece) {
                    Some(Piece::Chunk(chunk)) => Taken::Send(Event::Chunk(chunk)),
                    Some(Piece::Gap(gap)) => Taken::Send(Event::Gap(gap)),
                    None => Taken::Nothing,
                }
            }
            LogEvent::CaughtUp { position } => {
                self.request.start = Start::Position(position);
                Taken::Nothing
            }
            LogEvent::Lost { position } => {
                if let Some(position) = position {
                    self.request.start = Start::Position(position);
                }
                self.subscription = None;
                self.return_by = Instant::now() + RETURN_WAIT;
                Taken::Nothing
            }
            LogEvent::End { error, message, .. } => match error.as_str() {
                "" => Taken::End,
                // Its configuration is still on its way.
                "UNKNOWN_DAEMON" if self.may_become_known() => {
                    self.subscription = None;
                    self.not_before = Instant::now() + PAUSE;
                    Taken::Nothing
                }
                error => return Err(shown::refusal(error, message)),
            },
        })
    }

    fn may_become_known(&mut self) -> bool {
        let now = Instant::now();
        now < *self.known_by.get_or_insert(now + UNKNOWN_WAIT)
    }

    /// Subscribes if the agent has a log stream; if not, and waiting makes no sense any more, that is an error.
    fn subscribe(&mut self) -> Result<(), Error> {
        match self.broker.subscribe(self.server, self.request) {
            Ok(subscription) => self.subscription = Some(subscription),
            Err(NoSubscription::TooMany) => {
                return Err(Error::TooManyViewers("this server's logs have enough"));
            }
            Err(NoSubscription::Offline) => {
                if Instant::now() >= self.return_by || self.connection() == Connection::Offline {
                    return Err(Error::ServerOffline);
                }
            }
        }
        Ok(())
    }

    /// Where the viewer is, as far as that is known.
    fn place(&self) -> Option<u64> {
        let subscribed = self
            .subscription
            .as_ref()
            .and_then(LogSubscription::position);
        subscribed.or(match self.request.start {
            Start::Position(position) => Some(position),
            _ => None,
        })
    }

    fn connection(&self) -> Connection {
        self.domain.bus().presence().state(self.server, true)
    }

    async fn check_rights(&mut self) -> Result<(), Error> {
        let daemon = self.request.daemon.to_string();
        match self.domain.authorize_log(&self.ctx, &daemon).await {
            // Asked again soon enough.
            Ok(_) | Err(Error::Busy) => {}
            Err(refused) => return Err(refused),
        }
        self.rights = Instant::now() + RIGHTS_INTERVAL;
        Ok(())
    }

    fn send(&mut self, event: Event) -> TailLogResponse {
        self.keep_alive = Instant::now() + KEEP_ALIVE;
        self.taken = Instant::now();
        TailLogResponse { event: Some(event) }
    }

    fn cursor(&self, position: u64) -> String {
        cursor::encode(&self.request.daemon, position)
    }
}

enum Woken {
    Event(LogEvent),
    Draining,
    Hint(Result<Hint, broadcast::error::RecvError>),
    Rights,
    Quiet,
}

enum Taken {
    Send(Event),
    Nothing,
    End,
}

async fn next_of(subscription: &mut Option<LogSubscription>) -> LogEvent {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
