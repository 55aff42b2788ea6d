//! The ledger: what survives an agent restart and a reboot. tmp + fsync + rename + fsync of the directory.
//!
//! Owns `desired.json` and `local.json` and the one thread that writes them. Must never decide what a change means, and
//! must never let a caller that has not asked for durability wait for a disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_agent_engine::input::Hold;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::{DesiredState, RestartOutcome, RestartStrategy};

use self::writer::Writer;

mod file;
mod set;
mod writer;

/// Requests that wait for the disk. Full: the caller waits for a place, which is what it asked for.
const JOBS_MAX: usize = 64;
const DESIRED: &str = "desired.json";
const LOCAL: &str = "local.json";

/// The configuration of this server as last accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DesiredLedger {
    /// Epoch all counters belong to; empty before the first configuration.
    pub(crate) config_epoch: String,
    /// Revision of the set.
    pub(crate) revision: i64,
    /// `zhylon_shared::wire::set_hash` of the set.
    pub(crate) hash: Vec<u8>,
    /// The set.
    pub(crate) daemons: Vec<LedgerDaemon>,
    /// What the newest epoch does not name and what nobody decided about; not part of the set. Absent in ledgers of
    /// older agents, as are the defaults below.
    #[serde(default)]
    pub(crate) unclaimed: Vec<LedgerDaemon>,
}

/// One daemon in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerDaemon {
    pub(crate) id: DaemonId,
    pub(crate) spec: DaemonSpec,
    pub(crate) state: DesiredState,
    pub(crate) intent_generation: i64,
    pub(crate) restart_generation: i64,
    #[serde(default)]
    pub(crate) restart_strategy: RestartStrategy,
    pub(crate) revision: i64,
    /// It was here when this epoch began, and was not written since.
    #[serde(default)]
    pub(crate) adopted: bool,
    /// What runs on until it is written, where the configuration of this epoch says otherwise.
    #[serde(default)]
    pub(crate) runs_on: Option<Former>,
}

/// What a daemon was in the epoch before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Former {
    pub(crate) spec: DaemonSpec,
    pub(crate) state: DesiredState,
}

/// What is decided on the host: holds and outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalLedger {
    pub(crate) holds: Vec<(DaemonId, LedgerHold)>,
    /// On one instance alone. Absent in ledgers of older agents.
    #[serde(default)]
    pub(crate) instance_holds: Vec<(DaemonId, u32, LedgerHold)>,
    pub(crate) settled: Vec<(DaemonId, i64, RestartOutcome)>,
    /// Rollouts that stopped: of which revision, and why. Absent in ledgers of older agents.
    #[serde(default)]
    pub(crate) stopped: Vec<(DaemonId, i64, String)>,
    /// Raised at every start of a worker.
    pub(crate) worker_starts: u64,
}

/// A hold in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LedgerHold {
    pub(crate) state: DesiredState,
    pub(crate) by: String,
    pub(crate) time_ms: u64,
    pub(crate) intent_generation: i64,
}

impl From<&LedgerHold> for Hold {
    fn from(hold: &LedgerHold) -> Self {
        Self {
            state: hold.state,
            by: hold.by.clone(),
            time_ms: hold.time_ms,
            intent_generation: hold.intent_generation,
        }
    }
}

/// A hold on a daemon or, with an index, on one instance of it alone.
pub(crate) type NewHold = (DaemonId, Option<u32>, LedgerHold);

/// What the ledger said when it was opened.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The configuration, or why it can not be trusted: then nothing may be stopped because of it.
    pub(crate) desired: Result<DesiredLedger, String>,
    /// Holds and outcomes; empty if they can not be trusted.
    pub(crate) local: LocalLedger,
}

/// Handle to the thread that owns the ledger files.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Shared {
    /// The newest durable configuration.
    desired: Mutex<Arc<DesiredLedger>>,
    /// What shall become durable without anybody waiting. At most one entry per daemon (or instance) and kind, so it is
    /// bounded by the instances of this host.
    notes: Mutex<BTreeMap<(DaemonId, NoteKind), Note>>,
}

/// Why the ledger could not be written: nothing changed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the ledger could not be written: {0}")]
pub(crate) struct JournalError(pub(crate) String);

#[derive(Debug)]
enum Job {
    Desired(Box<DesiredLedger>, Answer),
    Holds(Vec<NewHold>, Answer),
    /// There are notes.
    Notes,
}

type Answer = oneshot::Sender<Result<(), JournalError>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum NoteKind {
    HoldEnded(Option<u32>),
    HoldsRebased,
    RolloutStopped,
    Settled,
    Forgotten,
}

#[derive(Debug)]
enum Note {
    HoldEnded(Option<u32>),
    HoldsRebased(i64),
    RolloutStopped(i64, String),
    Settled(i64, RestartOutcome),
    Forgotten,
}

impl Journal {
    /// Opens (or begins) the ledger in `dir`, counts this start in it, and starts the thread.
    ///
    /// # Errors
    /// When the directory can not be made or the thread not be started. A ledger that can not be read or written is no
    /// error here: see [`Recovered`].
    pub(crate) fn open(dir: &Path) -> std::io::Result<(Self, Recovered)> {
        file::make_private_dir(dir)?;
        let mut desired = file::load::<DesiredLedger>(&dir.join(DESIRED));
        let mut local = match file::load::<LocalLedger>(&dir.join(LOCAL)) {
            Ok(local) => local,
            Err(error) => {
                tracing::error!(%error, "{LOCAL} is not usable: holds and restart outcomes are forgotten");
                LocalLedger {
                    worker_starts: seconds_since_1970(),
                    ..LocalLedger::default()
                }
            }
        };
        if let Ok(desired) = &mut desired
            && desired.drop_stopped(&local)
            && let Err(error) = file::store(dir, DESIRED, desired)
        {
            tracing::error!(%error, "{DESIRED} could not be written");
        }
        local.worker_starts += 1;
        if let Err(error) = file::store(dir, LOCAL, &local) {
            // Not counted, so the next start must not count from here: seconds outrun any count of starts.
            tracing::error!(%error, "{LOCAL} could not be written");
            local.worker_starts = local.worker_starts.max(seconds_since_1970());
        }
        let (jobs, inbox) = mpsc::channel(JOBS_MAX);
        let durable = desired.as_ref().ok().cloned().unwrap_or_default();
        let shared = Arc::new(Shared {
            desired: Mutex::new(Arc::new(durable)),
            notes: Mutex::default(),
        });
        let writer = Writer {
            dir: dir.to_owned(),
            shared: Arc::clone(&shared),
            local: local.clone(),
        };
        crate::vital::spawn("journal", move || writer.run(inbox))?;
        Ok((Self { shared, jobs }, Recovered { desired, local }))
    }

    /// The newest durable configuration. Empty when there is none or it can not be trusted.
    pub(crate) fn desired(&self) -> DesiredLedger {
        DesiredLedger::clone(&lock(&self.shared.desired))
    }

    /// Makes a configuration durable. Returns when it is.
    ///
    /// # Errors
    /// When it could not be written; the former one is still there.
    pub(crate) async fn store_desired(&self, ledger: DesiredLedger) -> Result<(), JournalError> {
        self.ask(|answer| Job::Desired(Box::new(ledger), answer))
            .await
    }

    /// Makes holds durable, each in the place of former ones, all or none. One on a daemon takes the place of those on
    /// its instances, too. Returns when they are.
    ///
    /// # Errors
    /// When they could not be written; the former ones are still there.
    pub(crate) async fn store_holds(&self, holds: Vec<NewHold>) -> Result<(), JournalError> {
        self.ask(|answer| Job::Holds(holds, answer)).await
    }

    /// Takes a hold out, soon; without an index all of a daemon, those on its instances too.
    pub(crate) fn hold_ended(&self, daemon: DaemonId, index: Option<u32>) {
        self.note(daemon, NoteKind::HoldEnded(index), Note::HoldEnded(index));
    }

    /// Lets the holds of a daemon and of its instances override another intent generation, soon.
    pub(crate) fn holds_rebased(&self, daemon: DaemonId, intent_generation: i64) {
        let note = Note::HoldsRebased(intent_generation);
        self.note(daemon, NoteKind::HoldsRebased, note);
    }

    /// Writes that the rollout of a revision stopped, soon.
    pub(crate) fn rollout_stopped(&self, daemon: DaemonId, revision: i64, why: String) {
        let note = Note::RolloutStopped(revision, why);
        self.note(daemon, NoteKind::RolloutStopped, note);
    }

    /// Writes how a restart ended, soon.
    pub(crate) fn settled(&self, daemon: DaemonId, generation: i64, outcome: RestartOutcome) {
        self.note(
            daemon,
            NoteKind::Settled,
            Note::Settled(generation, outcome),
        );
    }

    /// Takes everything about a daemon out, soon.
    pub(crate) fn forget(&self, daemon: DaemonId) {
        self.note(daemon, NoteKind::Forgotten, Note::Forgotten);
    }

    fn note(&self, daemon: DaemonId, kind: NoteKind, note: Note) {
        lock(&self.shared.notes).insert((daemon, kind), note);
        // When the queue is full, the jobs in it will take the note along.
        let _ = self.jobs.try_send(Job::Notes);
    }

    async fn ask(&self, job: impl FnOnce(Answer) -> Job) -> Result<(), JournalError> {
        let ended = || JournalError("its thread has ended".to_owned());
        let (answer, answered) = oneshot::channel();
        let sent = self.jobs.send(job(answer)).await;
        sent.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

/// Reads the configuration without taking part in writing it, for people.
///
/// # Errors
/// Why it can not be trusted.
pub(crate) fn read_desired(dir: &Path) -> Result<DesiredLedger, String> {
    file::load(&dir.join(DESIRED))
}

fn seconds_since_1970() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A panic elsewhere leaves these values whole: they are replaced, never edited in place.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
