//! Which agents are connected to this process. In memory only: after a restart of the api-server every agent has
//! [`GRACE`] to come back before its server reads OFFLINE.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zhylon_shared::id::ServerId;

use super::{Hint, Hints};
use crate::clock::Clock;

/// How long a server without a stream reads RECONNECTING. Longer than an agent's longest wait between two tries (30 s)
/// and a slow handshake.
pub(crate) const GRACE: Duration = Duration::from_secs(60);

/// How a server is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// No agent ever connected as this server.
    NeverConnected,
    /// Its agent is connected.
    Connected,
    /// Its agent was connected, or this process was not there, less than [`GRACE`] ago.
    Reconnecting,
    /// Its agent is away.
    Offline,
}

/// The streams of this process by server. Bounded by the number of enrolled servers: an entry is made only for an
/// accepted session.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    clock: Clock,
    hints: Hints,
    start: Duration,
    streams: Arc<Mutex<HashMap<ServerId, Stream>>>,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    epoch: i64,
    lost_at: Option<Duration>,
}

impl Presence {
    pub(super) fn new(clock: Clock, hints: Hints) -> Self {
        Self {
            start: clock.monotonic(),
            clock,
            hints,
            streams: Arc::default(),
        }
    }

    /// The agent of `server` has a stream with this session epoch. An older epoch than the known one changes nothing.
    pub(crate) fn connected(&self, server: ServerId, epoch: i64) {
        self.set(server, epoch, None);
    }

    /// That stream ended. A stream that was followed by a newer one changes nothing.
    pub(crate) fn lost(&self, server: ServerId, epoch: i64) {
        self.set(server, epoch, Some(self.clock.monotonic()));
    }

    /// The server was deleted.
    pub(crate) fn forget(&self, server: ServerId) {
        self.lock().remove(&server);
        self.hints.tell(Hint::ConnectionChanged(server));
    }

    /// How `server` is connected. `ever_seen`: whether an agent ever had a session as this server.
    #[must_use]
    pub(crate) fn state(&self, server: ServerId, ever_seen: bool) -> Connection {
        let stream = self.lock().get(&server).copied();
        let away_since = match stream {
            Some(Stream { lost_at: None, .. }) => return Connection::Connected,
            Some(Stream {
                lost_at: Some(lost_at),
                ..
            }) => lost_at,
            None if ever_seen => self.start,
            None => return Connection::NeverConnected,
        };
        if self.clock.monotonic().saturating_sub(away_since) < GRACE {
            Connection::Reconnecting
        } else {
            Connection::Offline
        }
    }

    fn set(&self, server: ServerId, epoch: i64, lost_at: Option<Duration>) {
        let changed = {
            let mut streams = self.lock();
            let newer = streams
                .get(&server)
                .is_none_or(|known| known.epoch <= epoch);
            if newer {
                streams.insert(server, Stream { epoch, lost_at });
            }
            newer
        };
        if changed {
            self.hints.tell(Hint::ConnectionChanged(server));
        }
    }

    // No code panics while it holds the lock; a poisoned map would still be whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ServerId, Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Bus;
    use crate::clock::Now;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    fn bus() -> (Bus, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(1000));
        let read = Arc::clone(&seconds);
        let clock = Clock::manual(move || Now {
            wall: SystemTime::UNIX_EPOCH,
            monotonic: Duration::from_secs(read.load(Ordering::SeqCst)),
        });
        (Bus::new(clock), seconds)
    }

    #[test]
    fn a_lost_stream_is_reconnecting_for_a_minute() {
        let (bus, seconds) = bus();
        let server = ServerId::random().unwrap();
        let presence = bus.presence();
        assert_eq!(presence.state(server, false), Connection::NeverConnected);
        presence.connected(server, 1);
        seconds.fetch_add(1000, Ordering::SeqCst);
        assert_eq!(presence.state(server, true), Connection::Connected);
        presence.lost(server, 1);
        seconds.fetch_add(59, Ordering::SeqCst);
        assert_eq!(presence.state(server, true), Connection::Reconnecting);
        seconds.fetch_add(1, Ordering::SeqCst);
        assert_eq!(presence.state(server, true), Connection::Offline);
    }

    #[test]
    fn after_our_own_start_everyone_has_a_minute() {
        let (bus, seconds) = bus();
        let server = ServerId::random().unwrap();
        assert_eq!(bus.presence().state(server, true), Connection::Reconnecting);
        seconds.fetch_add(60, Ordering::SeqCst);
        assert_eq!(bus.presence().state(server, true), Connection::Offline);
    }

    #[test]
    fn the_end_of_an_older_stream_changes_nothing() {
        let (bus, _) = bus();
        let server = ServerId::random().unwrap();
        let mut heard = bus.hints().listen();
        bus.presence().connected(server, 1);
        bus.presence().connected(server, 2);
        bus.presence().lost(server, 1);
        assert_eq!(bus.presence().state(server, true), Connection::Connected);
        for _ in 0..2 {
            assert_eq!(heard.try_recv(), Ok(Hint::ConnectionChanged(server)));
        }
        assert!(heard.try_recv().is_err());
    }
}
