//! Who wants to read which log, and the agents that can serve it: one log stream per connected agent, any number of
//! subscriptions on it, each with its own window of bytes.
//!
//! A viewer that does not read uses up its own window and nothing else: its agent stops sending to it, and neither the
//! stream nor another viewer waits. Lines pass through here and are never kept: the file on the host is the log.
//!
//! ```text
//! viewer -- subscribe/next/drop --> LogSubscription <--> Viewer (queue, window) <-- deliver -- LogStream (agent)
//!                                          \--- orders: subscribe, credit, unsubscribe ---> agent
//! ```

mod orders;
mod stream;
mod subscription;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;
use zhylon_shared::id::{DaemonId, ServerId};

pub(crate) use orders::Order;
pub(crate) use stream::LogStream;
pub(crate) use subscription::LogSubscription;

/// Bytes of data an agent may send to a subscription before it gets credit back: enough for some 10 MB/s at 100 ms
/// round trip. When it is used up, the agent stops sending to this subscription.
pub(crate) const WINDOW: u64 = 1024 * 1024;
/// Bytes a viewer takes before they are given back as credit: one order per so many bytes, not one per line.
const CREDIT_STEP: u64 = 64 * 1024;
/// Events waiting for a viewer. More (a window full of tiny lines of alternating instances) and the subscription is
/// lost at the place its viewer has reached; it subscribes again from there.
const QUEUE_MAX: usize = 16 * 1024;
/// Subscriptions on one agent. One more is refused.
const SUBSCRIPTIONS_MAX: usize = 512;

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At this place of the daemon's byte stream.
    Position(u64),
    /// With the last so many lines.
    TailLines(u32),
}

/// What is asked of an agent.
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
    },
    /// The agent's stream ended, or the viewer was too far behind. `None` when nothing was received yet: subscribe as
    /// before.
    Lost {
        /// The place to go on from.
        position: Option<u64>,
    },
}

/// Why there is no subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSubscription {
    /// No agent of this server has a log stream here.
    #[error("the server's agent is not connected")]
    Offline,
    /// All its places are taken.
    #[error("{SUBSCRIPTIONS_MAX} viewers read logs of this server already")]
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
        let stream = lock(&self.0.streams)
            .get(&server)
            .cloned()
            .ok_or(NoSubscription::Offline)?;
        stream.subscribe(request)
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
