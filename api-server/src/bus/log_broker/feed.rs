//! What comes of one daemon's log, once for all who follow it: a ring of its newest bytes, and who stands where in it.
//!
//! The agent is allowed more as the *fastest* viewer takes it, so a viewer that stands still holds up nobody. One that is
//! only a little slower (its process was not scheduled, its network hiccuped) is waited for, once, for a moment: falling
//! out of the ring means reading the file again, which costs the host more than a short wait costs the others.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use zhylon_shared::id::DaemonId;

use super::stream::Breach;
use super::{CREDIT_STEP, LogEvent, WINDOW, lock};

/// Bytes of the newest log kept for those who are behind the fastest. Who falls out of it reads the file again.
pub(super) const RING_BYTES: u64 = 4 * 1024 * 1024;
/// The same in pieces: tiny lines of alternating instances take more room than their bytes.
const RING_ITEMS: usize = 16 * 1024;
/// Who is further behind the fastest than this is waited for, before it falls out.
const LAG: u64 = RING_BYTES - 2 * WINDOW;
/// How long, in all its life.
const GRACE: Duration = Duration::from_millis(200);
/// A feed of which nobody took anything for so long stands still: it begins anew for who is further on.
const STILL: Duration = Duration::from_secs(1);

/// One daemon's feed.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) daemon: DaemonId,
    state: Mutex<State>,
    /// Changes with every event.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    /// The agent's subscription.
    upstream: u64,
    items: VecDeque<Item>,
    /// Number of the first of `items` since the feed began.
    first: u64,
    /// Data in `items`.
    bytes: u64,
    /// Place of the next byte.
    end: u64,
    /// Data ever received, taken by the fastest, and given back as credit.
    received: u64,
    lead: u64,
    credited: u64,
    viewers: HashMap<u64, Standing>,
    waiting_since: Option<Instant>,
    /// When anybody took anything.
    taken_at: Instant,
    over: Option<LogEvent>,
}

#[derive(Debug, Clone)]
struct Item {
    begin: u64,
    next: u64,
    /// Data received up to its end.
    received: u64,
    event: LogEvent,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    taken: u64,
    /// It was waited for already.
    outrun: bool,
}

/// A viewer's place in a feed.
#[derive(Debug)]
pub(super) struct Place {
    viewer: u64,
    /// Number of the next item.
    next: u64,
    /// Bytes before this place were taken elsewhere.
    from: u64,
    changed: watch::Receiver<()>,
}

/// What a viewer finds at its place.
#[derive(Debug)]
pub(super) enum Found {
    Event(LogEvent),
    /// Something it has from elsewhere.
    Passed,
    /// Its place is in the ring no more.
    Outrun,
    /// The feed ended.
    Over(LogEvent),
    /// Nothing yet; somebody is waited for until then.
    Nothing(Option<Instant>),
}

/// Why a viewer gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The ring has its bytes no more, or will come to them by itself in a while.
    NotHere,
    /// It is behind, and nobody in it takes anything.
    StandsStill,
}

/// Bytes to allow the agent's subscription.
pub(super) type Due = Option<(u64, u64)>;

impl Feed {
    pub(super) fn new(daemon: DaemonId, upstream: u64, position: u64) -> Self {
        Self {
            daemon,
            state: Mutex::new(State {
                upstream,
                items: VecDeque::new(),
                first: 0,
                bytes: 0,
                end: position,
                received: 0,
                lead: 0,
                credited: 0,
                viewers: HashMap::new(),
                waiting_since: None,
                taken_at: Instant::now(),
                over: None,
            }),
            changed: watch::Sender::new(()),
        }
    }

    pub(super) fn upstream(&self) -> u64 {
        lock(&self.state).upstream
    }

    /// A place at `position`.
    pub(super) fn join(&self, viewer: u64, position: u64, outrun: bool) -> Result<Place, NoPlace> {
        let mut state = lock(&self.state);
        let begin = state.items.front().map_or(state.end, |item| item.begin);
        let coming = WINDOW.saturating_sub(state.received - state.credited);
        if state.over.is_some() || position < begin {
            return Err(NoPlace::NotHere);
        }
        if position > state.end + coming {
            let still = state.taken_at.elapsed() >= STILL;
            return Err(if still {
                NoPlace::StandsStill
            } else {
                NoPlace::NotHere
            });
        }
        let at = state.items.partition_point(|item| item.next <= position);
        let taken = match at.checked_sub(1) {
            Some(before) => state.items[before].received,
            None => state.received - state.bytes,
        };
        state.viewers.insert(viewer, Standing { taken, outrun });
        Ok(Place {
            viewer,
            next: state.first + at as u64,
            from: position,
            changed: self.changed.subscribe(),
        })
    }

    /// Begins anew at `position`: everybody who stands in it is outrun.
    pub(super) fn begin_anew(&self, upstream: u64, position: u64) {
        {
            let mut state = lock(&self.state);
            state.forget_items();
            state.upstream = upstream;
            state.end = position;
            (state.lead, state.credited) = (state.received, state.received);
            state.waiting_since = None;
            state.taken_at = Instant::now();
        }
        self.changed.send_replace(());
    }

    /// Takes an event of the agent's subscription `upstream`.
    pub(super) fn push(&self, upstream: u64, event: LogEvent) -> Result<(), Breach> {
        {
            let mut state = lock(&self.state);
            // Of one that was given up, and does not know yet.
            if upstream != state.upstream || state.over.is_some() {
                return Ok(());
            }
            let (begin, next, data) = match &event {
                LogEvent::Chunk {
                    next_position,
                    data,
                    ..
                } => {
                    let data = data.len() as u64;
                    (next_position.saturating_sub(data), *next_position, data)
                }
                LogEvent::Gap {
                    next_position,
                    bytes,
                    ..
                } => (next_position.saturating_sub(*bytes), *next_position, 0),
                LogEvent::End { .. } | LogEvent::Lost { .. } => {
                    state.over = Some(event);
                    drop(state);
                    self.changed.send_replace(());
                    return Ok(());
                }
                LogEvent::CaughtUp { .. } => return Ok(()),
            };
            if state.received + data > state.credited + WINDOW {
                return Err(Breach);
            }
            if begin != state.end {
                // A host that lost the end of a log goes on before it.
                state.forget_items();
            }
            state.received += data;
            state.bytes += data;
            state.end = next;
            let received = state.received;
            state.items.push_back(Item {
                begin,
                next,
                received,
                event,
            });
            state.evict();
        }
        self.changed.send_replace(());
        Ok(())
    }

    /// What stands at `place`, and what the agent may send more.
    pub(super) fn take(&self, place: &mut Place) -> (Found, Due) {
        place.changed.mark_unchanged();
        let mut state = lock(&self.state);
        if place.next < state.first {
            return (Found::Outrun, None);
        }
        let at = (place.next - state.first) as usize;
        let Some(item) = state.items.get(at).cloned() else {
            let found = match &state.over {
                Some(over) => Found::Over(over.clone()),
                None => Found::Nothing(None),
            };
            let due = state.due();
            return match (found, state.waiting_since) {
                (Found::Nothing(_), Some(since)) => (Found::Nothing(Some(since + GRACE)), due),
                (found, _) => (found, due),
            };
        };
        place.next += 1;
        state.taken_at = Instant::now();
        if let Some(standing) = state.viewers.get_mut(&place.viewer) {
            standing.taken = item.received;
        }
        state.lead = state.lead.max(item.received);
        let due = state.due();
        let found = match item.next <= place.from {
            true => Found::Passed,
            false => Found::Event(behind(item, place.from)),
        };
        (found, due)
    }

    /// A viewer goes; whether that was the last one, and what the agent may send more.
    pub(super) fn leave(&self, viewer: u64) -> (bool, Due) {
        let mut state = lock(&self.state);
        state.viewers.remove(&viewer);
        let due = state.due();
        (state.viewers.is_empty(), due)
    }

    /// Whether what stands at a place is not kept any more.
    pub(super) fn has_lost(&self, place: &Place) -> bool {
        place.next < lock(&self.state).first
    }

    /// Whether this viewer was waited for already.
    pub(super) fn is_outrun(&self, viewer: u64) -> bool {
        let state = lock(&self.state);
        state.viewers.get(&viewer).is_some_and(|one| one.outrun)
    }
}

impl Place {
    pub(super) fn viewer(&self) -> u64 {
        self.viewer
    }

    /// Returns when there may be something, or at `until`.
    pub(super) async fn wait(&mut self, until: Option<Instant>) {
        match until {
            None => {
                // The feed lives as long as its subscription, which holds it.
                let _ = self.changed.changed().await;
            }
            Some(until) => {
                let _ = tokio::time::timeout_at(until, self.changed.changed()).await;
            }
        }
    }
}

impl State {
    fn forget_items(&mut self) {
        self.first += self.items.len() as u64;
        self.items.clear();
        self.bytes = 0;
    }

    fn evict(&mut self) {
        while self.bytes > RING_BYTES || self.items.len() > RING_ITEMS {
            let Some(item) = self.items.pop_front() else {
                return;
            };
            self.first += 1;
            self.bytes = self.received - item.received;
        }
    }

    /// What the fastest has taken and the agent was not told yet, unless somebody who is close behind is waited for.
    fn due(&mut self) -> Due {
        let due = self.lead - self.credited;
        if due < CREDIT_STEP {
            return None;
        }
        let lead = self.lead;
        let is_behind = |one: &Standing| !one.outrun && lead.saturating_sub(one.taken) > LAG;
        if self.viewers.values().any(is_behind) {
            let since = *self.waiting_since.get_or_insert_with(Instant::now);
            if since.elapsed() < GRACE {
                return None;
            }
            for one in self.viewers.values_mut().filter(|one| is_behind(one)) {
                one.outrun = true;
            }
        }
        self.waiting_since = None;
        self.credited = lead;
        Some((self.upstream, due))
    }
}

/// Of an item that begins before `from`, what is behind it.
fn behind(item: Item, from: u64) -> LogEvent {
    let before = from.saturating_sub(item.begin);
    match item.event {
        LogEvent::Chunk {
            next_position,
            instance,
            time,
            data,
            partial,
        } => LogEvent::Chunk {
            next_position,
            instance,
            time,
            data: data.slice((before as usize).min(data.len())..),
            partial,
        },
        LogEvent::Gap {
            next_position,
            bytes,
            reason,
        } => LogEvent::Gap {
            next_position,
            bytes: bytes.saturating_sub(before),
            reason,
        },
        other => other,
    }
}
