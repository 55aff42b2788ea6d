//! One viewer: subscribes, hands on, and subscribes again where it was when the agent's stream broke.

use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_proto::daemons::v1::{LogChunk, LogGap, LogKeepAlive, TailLogResponse};
use zhylon_shared::cursor;
use zhylon_shared::id::ServerId;
use zhylon_shared::wire::timestamp;

use crate::bus::log_broker::{
    LogBroker, LogEvent, LogRequest, LogSubscription, NoSubscription, Start,
};
use crate::bus::{Connection, Hint};
use crate::domain::{Ctx, Domain, Error};

/// A sign of life on a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Longest wait at the call for the log stream of an agent that has just connected.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for an agent that went while somebody was watching: as long as its server reads RECONNECTING, and its
/// first tries after that.
const RETURN_WAIT: Duration = Duration::from_secs(70);
/// Longest wait until a host knows a daemon that was created a moment ago.
const UNKNOWN_WAIT: Duration = Duration::from_secs(15);
/// Rest between two questions about something that is not there yet.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a viewer's rights are looked at even when no hint comes.
const RIGHTS_INTERVAL: Duration = Duration::from_secs(30);

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

    /// The next event; `None` when everything asked for was sent.
    pub(super) async fn next(&mut self) -> Result<Option<TailLogResponse>, Error> {
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
                    let cursor = match self.request.start {
                        Start::Position(position) => self.cursor(position),
                        Start::TailLines(_) => String::new(),
                    };
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
            LogEvent::Chunk {
                next_position,
                instance,
                time,
                data,
                partial,
            } => {
                self.request.start = Start::Position(next_position);
                let time = UNIX_EPOCH + Duration::from_secs(time.max(0).cast_unsigned());
                Taken::Send(Event::Chunk(LogChunk {
                    cursor: self.cursor(next_position),
                    instance: instance.cast_signed(),
                    time: Some(timestamp(time)),
                    data,
                    partial,
                }))
            }
            LogEvent::Gap {
                next_position,
                bytes,
                reason,
            } => {
                self.request.start = Start::Position(next_position);
                Taken::Send(Event::Gap(LogGap {
                    cursor: self.cursor(next_position),
                    bytes: bytes.cast_signed(),
                    reason,
                }))
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
            LogEvent::End { error, message } => match error.as_str() {
                "" => Taken::End,
                "DELETED" => return Err(Error::NotFound("daemon")),
                // Its configuration is still on its way.
                "UNKNOWN_DAEMON" if self.may_become_known() => {
                    self.subscription = None;
                    self.not_before = Instant::now() + PAUSE;
                    Taken::Nothing
                }
                "TOO_MANY_SUBSCRIPTIONS" => {
                    return Err(Error::TooManyViewers("its host serves no more viewers"));
                }
                _ => return Err(Error::LogUnreadable(message)),
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
