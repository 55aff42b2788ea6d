//! What a worker leaves to the next one of this boot besides processes: where an instance rests that ended, how often it
//! was started again, how it last ended.
//!
//! Owns `run_dir/ended`: replaced as a whole (tmp + rename), never synced, believed under the same boot id only. A thread
//! of its own writes; between a death and the next spawn lies no write. The run record of an instance that rests is
//! removed only after its note is in the file, so whenever the worker is killed, one of the two tells of the end.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use host_agent_engine::input::{Exit, Past, Rest, RestKind, Run, Slot};
use host_agent_engine::time::Time;
use host_agent_engine::view::LastExit;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use zhylon_shared::id::DaemonId;

use crate::spawn::Ground;

/// The next write comes no sooner: a crash loop of a thousand daemons is twenty writes a second and not thousands. What
/// is not written when the worker is killed is told by run records.
const PAUSE: Duration = Duration::from_millis(50);
/// After a write that failed. Until then the run records stay.
const RETRY: Duration = Duration::from_secs(5);
/// A longer file is not one of ours: the notes of 64 instances of a thousand daemons stay below it.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Notes {
    boot_id: String,
    notes: Vec<Note>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    daemon: DaemonId,
    index: u32,
    generation: u64,
    rest: Option<NotedRest>,
    restart_count: u64,
    last_exit: Option<NotedExit>,
}

#[derive(Debug, Serialize, Deserialize)]
struct NotedRest {
    kind: NotedKind,
    since: Duration,
    spec_hash: String,
    intent_generation: i64,
    restart_generation: i64,
    delays: u32,
    crash_looping: bool,
}

/// Times are those of the engine: since boot.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NotedKind {
    Exited,
    Fatal,
    Backoff(Duration),
}

#[derive(Debug, Serialize, Deserialize)]
struct NotedExit {
    code: Option<i32>,
    signal: Option<i32>,
    /// It became the program.
    ran: bool,
    killed_after_grace: bool,
    time: Duration,
    message: String,
}

/// Hands notes to the thread that writes them.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    ground: Arc<Ground>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Bounded by the instances of this host.
#[derive(Debug, Default)]
struct State {
    notes: BTreeMap<DaemonId, Vec<Past>>,
    dirty: bool,
    /// The thread is at it.
    writing: bool,
    /// Run records that go once the notes are written.
    over: Vec<(Pid, Run)>,
}

impl Ended {
    /// Reads what a former worker of this boot noted, and starts the thread.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start(path: &Path, ground: &Arc<Ground>) -> io::Result<(Self, Vec<Past>)> {
        let past = load(path, &ground.boot_id).unwrap_or_else(|error| {
            tracing::warn!(%error, "{} can not be read: what had ended is started again", path.display());
            Vec::new()
        });
        let mut state = State::default();
        for past in &past {
            let of_daemon = state.notes.entry(past.slot.daemon).or_default();
            of_daemon.push(past.clone());
        }
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            ground: Arc::clone(ground),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let ended = Self {
            shared: Arc::clone(&shared),
        };
        crate::vital::spawn_in_background("ended", move || shared.keep())?;
        Ok((ended, past))
    }

    /// The newest of a daemon, in the place of what was noted of it.
    pub(super) fn note(&self, daemon: DaemonId, past: Vec<Past>) {
        let mut state = self.shared.lock();
        let same = match state.notes.get(&daemon) {
            Some(noted) => *noted == past,
            None => past.is_empty(),
        };
        if same {
            return;
        }
        if past.is_empty() {
            state.notes.remove(&daemon);
        } else {
            state.notes.insert(daemon, past);
        }
        state.dirty = true;
        self.shared.changed.notify_one();
    }

    /// Nothing of this run is left. If its instance rests, its record goes once that is written; else at once.
    pub(super) fn over(&self, pid: Pid, run: Run) {
        let mut state = self.shared.lock();
        let noted = state.notes.get(&run.slot.daemon);
        let noted = noted.and_then(|all| all.iter().find(|past| past.slot == run.slot));
        let rests =
            noted.is_some_and(|past| past.rest.is_some() && past.generation >= run.generation);
        if rests && (state.dirty || state.writing) {
            state.over.push((pid, run));
            self.shared.changed.notify_one();
        } else {
            drop(state);
            self.shared.ground.records.remove_of(pid, &run);
        }
    }
}

impl Shared {
    /// Writes what is new. Never returns.
    fn keep(&self) {
        loop {
            let mut state = self.lock();
            while !state.dirty && state.over.is_empty() {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            }
            let over = std::mem::take(&mut state.over);
            let notes = Notes {
                boot_id: self.ground.boot_id.clone(),
                notes: state.notes.values().flatten().map(Note::from).collect(),
            };
            (state.dirty, state.writing) = (false, true);
            drop(state);
            let stored = store(&self.path, &notes);
            self.lock().writing = false;
            let pause = match stored {
                Ok(()) => {
                    for (pid, run) in over {
                        self.ground.records.remove_of(pid, &run);
                    }
                    PAUSE
                }
                Err(error) => {
                    tracing::warn!(%error, "{} can not be written", self.path.display());
                    let mut state = self.lock();
                    state.over.extend(over);
                    state.dirty = true;
                    RETRY
                }
            };
            std::thread::sleep(pause);
        }
    }

    /// A panic elsewhere leaves it whole: its values are replaced, never edited in place.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(path: &Path, boot_id: &str) -> io::Result<Vec<Past>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    let notes: Notes = serde_json::from_slice(&bytes)?;
    if notes.boot_id != boot_id {
        return Ok(Vec::new());
    }
    Ok(notes.notes.into_iter().map(Past::from).collect())
}

fn store(path: &Path, notes: &Notes) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&serde_json::to_vec(notes)?)?;
    std::fs::rename(&temporary, path)
}

impl From<&Past> for Note {
    fn from(past: &Past) -> Self {
        Self {
            daemon: past.slot.daemon,
            index: past.slot.index,
            generation: past.generation,
            rest: past.rest.as_ref().map(|rest| NotedRest {
                kind: match rest.kind {
                    RestKind::Exited => NotedKind::Exited,
                    RestKind::Fatal => NotedKind::Fatal,
                    RestKind::Backoff(at) => NotedKind::Backoff(at.since_origin()),
                },
                since: rest.since.since_origin(),
                spec_hash: rest.spec_hash.clone(),
                intent_generation: rest.intent_generation,
                restart_generation: rest.restart_generation,
                delays: rest.delays,
                crash_looping: rest.crash_looping,
            }),
            restart_count: past.restart_count,
            last_exit: past.last_exit.as_ref().map(|last| NotedExit {
                code: match last.exit {
                    Some(Exit::Code(code)) => Some(code),
                    _ => None,
                },
                signal: match last.exit {
                    Some(Exit::Signal(signal)) => Some(signal),
                    _ => None,
                },
                ran: last.exit.is_some(),
                killed_after_grace: last.killed_after_grace,
                time: last.time.since_origin(),
                message: last.message.clone(),
            }),
        }
    }
}

impl From<Note> for Past {
    fn from(note: Note) -> Self {
        Self {
            slot: Slot {
                daemon: note.daemon,
                index: note.index,
            },
            generation: note.generation,
            rest: note.rest.map(|rest| Rest {
                kind: match rest.kind {
                    NotedKind::Exited => RestKind::Exited,
                    NotedKind::Fatal => RestKind::Fatal,
                    NotedKind::Backoff(at) => RestKind::Backoff(Time::new(at)),
                },
                since: Time::new(rest.since),
                spec_hash: rest.spec_hash,
                intent_generation: rest.intent_generation,
                restart_generation: rest.restart_generation,
                delays: rest.delays,
                crash_looping: rest.crash_looping,
            }),
            restart_count: note.restart_count,
            last_exit: note.last_exit.map(|last| LastExit {
                exit: match (last.code, last.signal) {
                    (Some(code), _) => Some(Exit::Code(code)),
                    (None, Some(signal)) => Some(Exit::Signal(signal)),
                    (None, None) => last.ran.then_some(Exit::Unknown),
                },
                killed_after_grace: last.killed_after_grace,
                time: Time::new(last.time),
                message: last.message,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(index: u32, kind: RestKind, exit: Option<Exit>) -> Past {
        Past {
            slot: Slot {
                daemon: DaemonId::from_bare("daemon000000000001").unwrap(),
                index,
            },
            generation: 7,
            rest: Some(Rest {
                kind,
                since: Time::new(Duration::from_millis(10_001)),
                spec_hash: "abc".to_owned(),
                intent_generation: 2,
                restart_generation: 3,
                delays: 4,
                crash_looping: true,
            }),
            restart_count: 5,
            last_exit: Some(LastExit {
                exit,
                killed_after_grace: true,
                time: Time::new(Duration::from_nanos(12_345_678_901)),
                message: "exit code 1".to_owned(),
            }),
        }
    }

    #[test]
    fn what_was_noted_is_read_under_the_same_boot_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ended");
        assert_eq!(load(&path, "boot").unwrap(), []);
        let at = Time::new(Duration::from_secs(99));
        let all = vec![
            past(0, RestKind::Exited, Some(Exit::Code(1))),
            past(1, RestKind::Fatal, Some(Exit::Signal(9))),
            past(2, RestKind::Backoff(at), Some(Exit::Unknown)),
            past(3, RestKind::Backoff(at), None),
            Past {
                rest: None,
                last_exit: None,
                ..past(4, RestKind::Exited, None)
            },
        ];
        let notes = Notes {
            boot_id: "boot".to_owned(),
            notes: all.iter().map(Note::from).collect(),
        };
        store(&path, &notes).unwrap();
        assert_eq!(load(&path, "boot").unwrap(), all);
        assert_eq!(load(&path, "another").unwrap(), []);
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(load(&path, "boot").is_err(), "cut at {cut}");
        }
    }
}
