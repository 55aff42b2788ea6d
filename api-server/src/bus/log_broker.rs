//! Who wants to read which log, and the agents that can serve it: one log stream per connected agent; on it *ranges*, which
//! read what is there and end, and one *feed* per daemon that is followed, however many viewers follow it.
//!
//! ```text
//! viewer ── LogSubscription ── range (a page of history, its own) ◀─┐
//!                  └────────── place in a feed's ring ◀── Feed ◀────┴─ deliver ── LogStream (agent)
//!                                                     orders: subscribe, credit, unsubscribe, clear ──▶ agent
//! ```
//!
//! A viewer reads history page by page until it is near the end, then takes its place in the feed: every byte has one
//! position, so there is no seam. The agent is allowed more bytes as the fastest viewer takes them. Who falls out of the
//! feed's ring reads pages again, as fast as it can: nobody waits for it, and nothing is kept for it. The file on the host
//! is the log; lines only pass through here.

mod feed;
mod orders;
mod stream;
mod subscription;
mod viewer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;
use zhylon_shared::id::{DaemonId, ServerId};

pub(crate) use orders::Order;
pub(crate) use stream::{CLEAR_DEADLINE, ClearFailed, LogStream, Page};
pub(crate) use subscription::LogSubscription;

/// Bytes of data an agent may send to a feed before it gets credit back: enough for some 10 MB/s at 100 ms round trip.
/// When it is used up, the agent stops sending to it.
pub(crate) const WINDOW: u64 = 1024 * 1024;
/// Bytes of one page of history. It is asked for when the viewer wants it and held until the viewer took it: what a
/// viewer that stands still costs.
pub(crate) const PAGE: u64 = 512 * 1024;
/// Bytes the fastest viewer takes before they are given back as credit: one order per so many bytes, not one per line.
const CREDIT_STEP: u64 = 64 * 1024;
/// Events waiting for a viewer in one page. An agent that sends more (pieces cost 64 bytes each, so no agent that keeps
/// the rule does) loses the page at the place its viewer has reached.
const QUEUE_MAX: usize = 32 * 1024;
/// Viewers of one agent's logs. One more is refused.
const VIEWERS_MAX: usize = 512;
/// Pages that one agent reads at once; the next wait in line. Together with a feed for each of its 200 daemons they are
/// fewer than an agent serves (256). Each ends by itself: a viewer that stands still holds no place.
const RANGES_MAX: usize = 48;

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At this place of the daemon's byte stream.
    Position(u64),
    /// With the last so many lines.
    TailLines(u32),
    /// With what was taken over at this second (Unix, the host's clock) or later.
    Since(i64),
    /// With what ends at this place. Only for a single page.
    Before(u64),
}

/// What a viewer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogRequest {
    /// The daemon.
    pub(crate) daemon: DaemonId,
    /// Where to begin.
    pub(crate) start: Start,
    /// Whether to stay and send what comes.
    pub(crate) follow: bool,
    /// Only lines of this instance.
    pub(crate) instance: Option<u32>,
}

/// Why bytes are missing, as on the wire: not ours to interpret.
pub(crate) type GapReason = i32;

/// What an agent says about a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogEvent {
    /// Bytes of one instance.
    Chunk {
        /// Place after them.
        next_position: u64,
        /// Who wrote them.
        instance: u32,
        /// When they were taken over, Unix seconds of the host's clock.
        time: i64,
        /// The bytes.
        data: Bytes,
        /// Whether they do not end at a line end.
        partial: bool,
    },
    /// Bytes that can not be read any more.
    Gap {
        /// Place after them.
        next_position: u64,
        /// How many.
        bytes: u64,
        /// Why.
        reason: GapReason,
    },
    /// All there is now was sent.
    CaughtUp {
        /// The place.
        position: u64,
    },
    /// The agent ended the subscription.
    End {
        /// Empty when everything asked for was sent, else why not.
        error: String,
        /// In words.
        message: String,
        /// What was read.
        range: Range,
    },
    /// The agent's stream ended. `None` when nothing was received yet: subscribe as before.
    Lost {
        /// The place to go on from.
        position: Option<u64>,
    },
}

/// What part of a log was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Range {
    /// Where it begins.
    pub(crate) begin: u64,
    /// Where it ends.
    pub(crate) position: u64,
    /// Where the log ended then.
    pub(crate) log_end: u64,
}

/// Why there is no subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSubscription {
    /// No agent of this server has a log stream here.
    #[error("the server's agent is not connected")]
    Offline,
    /// All its places are taken.
    #[error("{VIEWERS_MAX} viewers read logs of this server already")]
    TooMany,
}

/// The log streams of all agents connected to this process.
#[derive(Debug, Clone)]
pub(crate) struct LogBroker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    streams: Mutex<HashMap<ServerId, Arc<LogStream>>>,
    /// Raised when a stream is attached, for those who wait for one.
    attached: watch::Sender<u64>,
}

impl LogBroker {
    /// Without any stream.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner {
            streams: Mutex::default(),
            attached: watch::Sender::new(0),
        }))
    }

    /// Takes the log stream of an agent's session. An older session's is closed; `None` if a newer one is here.
    pub(crate) fn attach(&self, server: ServerId, session_epoch: i64) -> Option<Arc<LogStream>> {
        let stream = Arc::new(LogStream::new(server, session_epoch));
        let older = {
            let mut streams = lock(&self.0.streams);
            if streams
                .get(&server)
                .is_some_and(|there| there.session_epoch() > session_epoch)
            {
                return None;
            }
            streams.insert(server, Arc::clone(&stream))
        };
        if let Some(older) = older {
            older.close();
        }
        self.0.attached.send_modify(|n| *n += 1);
        Some(stream)
    }

    /// The stream ended: its subscriptions are lost.
    pub(crate) fn detach(&self, stream: &Arc<LogStream>) {
        {
            let mut streams = lock(&self.0.streams);
            if streams
                .get(&stream.server())
                .is_some_and(|there| Arc::ptr_eq(there, stream))
            {
                streams.remove(&stream.server());
            }
        }
        stream.close();
    }

    /// Closes the log stream of this session, if it has one: a log stream never outlives its session.
    pub(crate) fn end_session(&self, server: ServerId, session_epoch: i64) {
        let there = lock(&self.0.streams).get(&server).cloned();
        if let Some(stream) = there.filter(|there| there.session_epoch() == session_epoch) {
            self.detach(&stream);
        }
    }

    /// Asks the server's agent for a log.
    ///
    /// # Errors
    /// When the agent has no stream here, or too many viewers.
    pub(crate) fn subscribe(
        &self,
        server: ServerId,
        request: LogRequest,
    ) -> Result<LogSubscription, NoSubscription> {
        self.stream(server)?.subscribe(request)
    }

    /// The log stream of the server's agent.
    ///
    /// # Errors
    /// When it has none here.
    pub(crate) fn stream(&self, server: ServerId) -> Result<Arc<LogStream>, NoSubscription> {
        let stream = lock(&self.0.streams).get(&server).cloned();
        stream.ok_or(NoSubscription::Offline)
    }

    /// Changes whenever a stream is attached. Subscribe to it before [`LogBroker::subscribe`], so that none is missed.
    pub(crate) fn attached(&self) -> watch::Receiver<u64> {
        self.0.attached.subscribe()
    }
}

/// A panic while one of these locks was held can not leave its value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
