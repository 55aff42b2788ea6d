//! What happened to this host's daemons, until the api-server has it: one ring for all, bounded per daemon.
//!
//! Owns the events that are not acknowledged and the file they lie in (`run_dir/events`), so that a killed worker's
//! events are told by the next one. Recording is a lock and a few words in memory; a thread of its own writes. Must never
//! decide anything: nothing waits for an event, and a daemon is the same whether its events are told or lost.
//!
//! | module | owns |
//! |---|---|
//! | [`ring`] | what is kept, what makes room, what of a repetition is told; pure |
//! | [`witness`] | what happened between two views of a daemon; pure |
//! | [`file`] | the file and its thread |

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use host_agent_engine::input::{Action, CommandTarget, Exit, Past, Run};
use host_agent_engine::view::DaemonView;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zhylon_shared::id::DaemonId;
use zhylon_shared::state::RestartOutcome;

use self::ring::{Ring, When};

mod file;
mod ring;
#[cfg(test)]
mod tests;
mod witness;

/// Sequence numbers of one worker's life: they go on above those of all lives before it, without a look at any.
const SEQUENCES_PER_START: u64 = 1_000_000_000;
/// Characters kept of a text: a longer one says no more.
const TEXT_MAX: usize = 500;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventKind {
    StartRequested,
    StopRequested,
    RestartRequested,
    SignalRequested,
    HoldSet,
    HoldEnded,
    RestartSettled,
    Exited,
    Crashed,
    StartFailed,
    GaveUp,
    KilledAfterGrace,
    LogGap,
    /// `count` events were lost here.
    Dropped,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) signal: i32,
    pub(crate) killed_after_grace: bool,
    /// In words.
    pub(crate) message: String,
}

/// One event of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostEvent {
    /// Rises over all events of this boot.
    pub(crate) sequence: u64,
    pub(crate) daemon: DaemonId,
    pub(crate) kind: EventKind,
    /// `None`: the whole daemon.
    pub(crate) instance: Option<u32>,
    /// Of an end: which run it was, so that the next worker does not tell it again; else 0.
    pub(crate) generation: u64,
    /// The operator on this host; empty where nobody did it.
    pub(crate) by: String,
    pub(crate) ended: Option<Ended>,
    pub(crate) outcome: Option<RestartOutcome>,
    pub(crate) message: String,
    /// How many equal ones it stands for.
    pub(crate) count: u64,
    /// When the first of them happened, Unix milliseconds.
    pub(crate) first_ms: u64,
    /// When the last of them did.
    pub(crate) last_ms: u64,
}

/// An event without its place in time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Draft {
    daemon: DaemonId,
    kind: EventKind,
    instance: Option<u32>,
    /// Of an end: which run it was. 0: the one that was found when this worker started.
    generation: u64,
    by: String,
    ended: Option<Ended>,
    outcome: Option<RestartOutcome>,
    message: String,
}

impl Draft {
    fn new(daemon: DaemonId, kind: EventKind, instance: Option<u32>, message: &str) -> Self {
        Self {
            daemon,
            kind,
            instance,
            generation: 0,
            by: String::new(),
            ended: None,
            outcome: None,
            message: clip(message),
        }
    }
}

/// Handle to the events of this host. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    /// The ring changed.
    changed: Condvar,
    /// The newest sequence number.
    newest: watch::Sender<u64>,
}

impl Events {
    /// In memory only. `worker_starts`: rises with every worker of this host.
    #[cfg(test)]
    pub(crate) fn new(worker_starts: u64) -> Self {
        Self::over(Ring::new(first_sequence(worker_starts)))
    }

    /// Some event, for the tests of other rooms.
    #[cfg(test)]
    pub(crate) fn record_stop(&self, daemon: DaemonId) {
        self.asked(&Action::Stop, &[CommandTarget::Daemon(daemon)], "anna");
    }

    /// With what former workers of this boot left in `path`, and from now on kept there.
    ///
    /// # Errors
    /// When there can be no more threads. A file that can not be read or written is no error: events are then as mortal
    /// as this worker.
    pub(crate) fn open(path: &Path, boot_id: &str, worker_starts: u64) -> io::Result<Self> {
        let mut ring = Ring::new(first_sequence(worker_starts));
        file::load(path, boot_id, &mut ring);
        let events = Self::over(ring);
        let file = file::EventsFile::new(path, boot_id);
        let shared = Arc::clone(&events.shared);
        crate::vital::spawn_in_background("events", move || file.keep(&shared))?;
        Ok(events)
    }

    fn over(ring: Ring) -> Self {
        let newest = watch::Sender::new(ring.newest());
        Self {
            shared: Arc::new(Shared {
                ring: Mutex::new(ring),
                changed: Condvar::new(),
                newest,
            }),
        }
    }

    /// A former worker left this run. Its end may be told already.
    pub(super) fn found(&self, run: Run) {
        self.shared.lock().found(run);
    }

    /// A local operator asks for something.
    pub(super) fn asked(&self, action: &Action, targets: &[CommandTarget], by: &str) {
        let (kind, message) = match action {
            Action::Start => (EventKind::StartRequested, String::new()),
            Action::Stop => (EventKind::StopRequested, String::new()),
            Action::Restart => (EventKind::RestartRequested, String::new()),
            Action::Signal(signal) => (EventKind::SignalRequested, format!("signal {signal}")),
        };
        let drafts = targets.iter().map(|target| {
            let (daemon, instance) = match target {
                CommandTarget::Daemon(daemon) => (*daemon, None),
                CommandTarget::Instance(slot) => (slot.daemon, Some(slot.index)),
            };
            Draft {
                by: clip(by),
                ..Draft::new(daemon, kind, instance, &message)
            }
        });
        self.record(drafts.collect());
    }

    /// A daemon looks another way now. `old` is `None` for one this worker sees for the first time; `past` is then what
    /// the former one noted of it.
    pub(super) fn changed(&self, old: Option<&DaemonView>, past: &[Past], new: &DaemonView) {
        let drafts = witness::compare(old, past, new);
        if !drafts.is_empty() {
            self.record(drafts);
        }
    }

    /// Everything of a run is killed now; `view`: its daemon, as it is.
    pub(super) fn killed(&self, run: Run, view: Option<&DaemonView>) {
        if let Some(draft) = witness::killed(run, view) {
            self.record(vec![draft]);
        }
    }

    /// Output of a daemon is lost from now on.
    pub(super) fn log_gap(&self, daemon: DaemonId, why: &str) {
        let text = format!("its output is dropped until its log can be written again: {why}");
        self.record(vec![Draft::new(daemon, EventKind::LogGap, None, &text)]);
    }

    /// Nothing more will happen to this daemon.
    pub(super) fn over_for(&self, daemon: DaemonId) {
        self.change(|ring, _| ring.over_for(daemon));
    }

    /// The oldest events above `sequence`, at most so many.
    pub(crate) fn after(&self, sequence: u64, most: usize) -> Vec<HostEvent> {
        self.lock().after(sequence, most)
    }

    /// The newest sequence number: raised with every event.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }

    /// The api-server has the events up to this one.
    pub(crate) fn acknowledged(&self, sequence: u64) {
        self.change(|ring, _| ring.acknowledged(sequence));
    }

    fn record(&self, drafts: Vec<Draft>) {
        self.change(|ring, when| {
            for draft in drafts {
                ring.push(draft, when);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Ring, When)) {
        self.shared.change(change);
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.shared.lock()
    }
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Ring, When)) {
        let mut ring = self.lock();
        change(&mut ring, now());
        let newest = ring.newest();
        drop(ring);
        self.changed.notify_one();
        self.newest
            .send_if_modified(|told| std::mem::replace(told, newest) != newest);
    }

    /// A panic elsewhere leaves the ring as good as any other: each change of it is whole enough to be told.
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> When {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since_1970.map_or(0, |since| since.as_millis());
    When {
        ms: u64::try_from(ms).unwrap_or(u64::MAX),
        at: Instant::now(),
    }
}

fn first_sequence(worker_starts: u64) -> u64 {
    worker_starts.saturating_mul(SEQUENCES_PER_START)
}

/// How a process ended, for an event.
fn ended(exit: Option<Exit>, killed_after_grace: bool, message: &str) -> Ended {
    let (code, signal) = match exit {
        Some(Exit::Code(code)) => (code, 0),
        Some(Exit::Signal(signal)) => (0, signal),
        // The words tell these two apart from an exit with code 0.
        Some(Exit::Unknown) | None => (0, 0),
    };
    Ended {
        code,
        signal,
        killed_after_grace,
        message: clip(message),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}
