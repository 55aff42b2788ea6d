//! The events that are not acknowledged, in order. Pure: time comes in.
//!
//! Two bounds: so many per daemon, so many in all. Where one is reached, the oldest two of a daemon become one that says
//! how many were lost. What an instance does again and again is told at growing distances, with its number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use host_agent_engine::input::{Run, Slot};
use zhylon_shared::id::DaemonId;

use super::{Draft, Ended, EventKind, HostEvent};

/// Events per daemon: what one that misbehaves may have to say after a night without the api-server.
pub(super) const EVENTS_PER_DAEMON: usize = 200;
/// Events of all daemons: some 3 MB. When full, the daemon with the most makes room.
pub(super) const EVENTS_MAX: usize = 8192;
/// How long the first repetition of an end may wait to be told; doubled each time it is.
pub(super) const REPEAT_FIRST: Duration = Duration::from_secs(15);
/// The longest: a crash loop is 24 events a day then.
pub(super) const REPEAT_LAST: Duration = Duration::from_secs(3600);
/// An equal end after so long a silence is news again. Longer than the longest delay before a respawn.
pub(super) const REPEAT_FORGOTTEN: Duration = Duration::from_secs(600);

/// A moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    /// For people: Unix milliseconds.
    pub(super) ms: u64,
    /// For distances.
    pub(super) at: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    /// By sequence.
    events: BTreeMap<u64, HostEvent>,
    /// The sequences of each daemon's.
    of: BTreeMap<DaemonId, BTreeSet<u64>>,
    /// Of the newest event there ever was.
    newest: u64,
    /// Everything up to here is acknowledged.
    acknowledged: u64,
    /// The newest of what may repeat. Bounded by the instances of this host.
    repeats: BTreeMap<Key, Repeat>,
    /// The newest run of each instance that this worker found when it started, and the newest whose end a former worker
    /// told. Both grow before this worker's first event only.
    found: BTreeMap<Slot, u64>,
    told: BTreeMap<Slot, u64>,
}

/// What may repeat: this kind of event of this instance.
type Key = (DaemonId, Option<u32>, EventKind);

/// What may come again.
#[derive(Debug)]
struct Repeat {
    ended: Option<Ended>,
    last: Instant,
    /// Those that were not told, as one.
    waiting: Option<Draft>,
    count: u64,
    first_ms: u64,
    last_ms: u64,
    /// When they are told at the latest.
    due: Instant,
    wait: Duration,
}

impl Ring {
    /// Empty. Sequence numbers begin above `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            events: BTreeMap::new(),
            of: BTreeMap::new(),
            newest: first,
            acknowledged: 0,
            repeats: BTreeMap::new(),
            found: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn acknowledged_up_to(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn after(&self, sequence: u64, most: usize) -> Vec<HostEvent> {
        let Some(from) = sequence.checked_add(1) else {
            return Vec::new();
        };
        let newer = self.events.range(from..).map(|(_, event)| event.clone());
        newer.take(most).collect()
    }

    /// Takes in what a former worker recorded.
    pub(super) fn restore(&mut self, event: HostEvent) {
        self.newest = self.newest.max(event.sequence);
        if let Some(index) = event.instance {
            let daemon = event.daemon;
            newer(&mut self.told, Slot { daemon, index }, event.generation);
        }
        self.insert(event);
    }

    /// A former worker left this run.
    pub(super) fn found(&mut self, run: Run) {
        newer(&mut self.found, run.slot, run.generation);
    }

    /// Of an end: which run it was; `None` if a former worker told it.
    fn ended(&self, draft: &Draft) -> Option<u64> {
        let Some(index) = draft.instance.filter(|_| draft.generation == 0) else {
            return Some(draft.generation);
        };
        let slot = Slot {
            daemon: draft.daemon,
            index,
        };
        let found = self.found.get(&slot).copied().unwrap_or_default();
        (found == 0 || self.told.get(&slot) != Some(&found)).then_some(found)
    }

    /// Something happened.
    pub(super) fn push(&mut self, draft: Draft, when: When) {
        match draft.kind {
            EventKind::Exited
            | EventKind::Crashed
            | EventKind::StartFailed
            | EventKind::KilledAfterGrace
            | EventKind::LogGap => self.push_again(draft, when),
            EventKind::StartRequested
            | EventKind::StopRequested
            | EventKind::RestartRequested
            | EventKind::SignalRequested
            | EventKind::HoldSet
            | EventKind::HoldEnded
            | EventKind::RestartSettled
            | EventKind::GaveUp
            | EventKind::Dropped => {
                // What follows it is another story.
                self.over_for(draft.daemon);
                self.add(draft, 1, when.ms, when.ms);
            }
        }
    }

    fn push_again(&mut self, mut draft: Draft, when: When) {
        if matches!(draft.kind, EventKind::Exited | EventKind::Crashed) {
            let Some(generation) = self.ended(&draft) else {
                return;
            };
            draft.generation = generation;
        }
        let key = (draft.daemon, draft.instance, draft.kind);
        if let Some(repeat) = self.repeats.get_mut(&key)
            && repeat.ended == draft.ended
            && when.at.duration_since(repeat.last) < REPEAT_FORGOTTEN
        {
            repeat.last = when.at;
            if repeat.waiting.replace(draft).is_none() {
                repeat.count = 0;
                repeat.first_ms = when.ms;
                repeat.due = when.at + repeat.wait;
            }
            repeat.count += 1;
            repeat.last_ms = when.ms;
            return self.tell_due(when.at);
        }
        self.tell(key);
        self.repeats.insert(
            key,
            Repeat {
                ended: draft.ended.clone(),
                last: when.at,
                waiting: None,
                count: 0,
                first_ms: when.ms,
                last_ms: when.ms,
                due: when.at,
                wait: REPEAT_FIRST,
            },
        );
        self.add(draft, 1, when.ms, when.ms);
    }

    /// When the next repetition is to be told.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.repeats.values().filter(|r| r.waiting.is_some());
        waiting.map(|repeat| repeat.due).min()
    }

    /// Tells the repetitions whose time has come.
    pub(super) fn tell_due(&mut self, now: Instant) {
        let due = self.repeats.iter().filter(|(_, r)| r.due <= now);
        let keys: Vec<_> = due.map(|(key, _)| *key).collect();
        for key in keys {
            self.tell(key);
        }
    }

    fn tell(&mut self, key: Key) {
        if let Some(repeat) = self.repeats.get_mut(&key)
            && let Some(draft) = repeat.waiting.take()
        {
            repeat.wait = (repeat.wait * 2).min(REPEAT_LAST);
            let (count, first_ms, last_ms) = (repeat.count, repeat.first_ms, repeat.last_ms);
            self.add(draft, count, first_ms, last_ms);
        }
    }

    /// Nothing of this daemon repeats any more.
    pub(super) fn over_for(&mut self, daemon: DaemonId) {
        let keys = self.repeats.keys().filter(|(of, ..)| *of == daemon);
        for key in keys.copied().collect::<Vec<_>>() {
            self.tell(key);
            self.repeats.remove(&key);
        }
    }

    /// The api-server has everything up to `sequence`.
    pub(super) fn acknowledged(&mut self, sequence: u64) {
        let sequence = sequence.min(self.newest);
        if sequence <= self.acknowledged {
            return;
        }
        self.acknowledged = sequence;
        let unknown = self.events.split_off(&(sequence + 1));
        for event in std::mem::replace(&mut self.events, unknown).values() {
            self.leave(event.daemon, event.sequence);
        }
    }

    fn add(&mut self, draft: Draft, count: u64, first_ms: u64, last_ms: u64) {
        self.newest += 1;
        self.insert(HostEvent {
            sequence: self.newest,
            daemon: draft.daemon,
            kind: draft.kind,
            instance: draft.instance,
            generation: draft.generation,
            by: draft.by,
            ended: draft.ended,
            outcome: draft.outcome,
            message: draft.message,
            count,
            first_ms,
            last_ms,
        });
    }

    fn insert(&mut self, event: HostEvent) {
        let (daemon, sequence) = (event.daemon, event.sequence);
        self.events.insert(sequence, event);
        let of = self.of.entry(daemon).or_default();
        of.insert(sequence);
        if of.len() > EVENTS_PER_DAEMON {
            self.merge_oldest(daemon);
        }
        if self.events.len() > EVENTS_MAX {
            let most = self.of.iter().max_by_key(|(_, of)| of.len());
            if let Some(daemon) = most.map(|(daemon, _)| *daemon) {
                self.merge_oldest(daemon);
            }
        }
    }

    /// The oldest two events of a daemon become one that says how many were lost. It has the number of the younger: an
    /// acknowledgement of what was sent before does not swallow it.
    fn merge_oldest(&mut self, daemon: DaemonId) {
        let Some(of) = self.of.get(&daemon) else {
            return;
        };
        let oldest: Vec<_> = of.iter().take(2).copied().collect();
        let taken: Vec<_> = oldest.iter().filter_map(|n| self.take(*n)).collect();
        let [first, second] = taken.as_slice() else {
            return;
        };
        self.events.insert(
            second.sequence,
            HostEvent {
                sequence: second.sequence,
                daemon,
                kind: EventKind::Dropped,
                instance: None,
                generation: 0,
                by: String::new(),
                ended: None,
                outcome: None,
                message: "more happened here than the host could keep until it was told".to_owned(),
                count: first.count + second.count,
                first_ms: first.first_ms,
                last_ms: second.last_ms,
            },
        );
        self.of.entry(daemon).or_default().insert(second.sequence);
    }

    fn take(&mut self, sequence: u64) -> Option<HostEvent> {
        let event = self.events.remove(&sequence)?;
        self.leave(event.daemon, sequence);
        Some(event)
    }

    fn leave(&mut self, daemon: DaemonId, sequence: u64) {
        if let Some(of) = self.of.get_mut(&daemon) {
            of.remove(&sequence);
            if of.is_empty() {
                self.of.remove(&daemon);
            }
        }
    }
}

/// The newest run of a slot.
fn newer(newest: &mut BTreeMap<Slot, u64>, slot: Slot, generation: u64) {
    let known = newest.entry(slot).or_default();
    *known = generation.max(*known);
}
