//! Users of this host. The name service may be a network away and hang, so each question is asked by a short-lived child
//! with a deadline (`look_up`), and answers are kept: who was known once goes on being known while the service is away.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::logs::Owner;

pub(crate) mod look_up;

/// How long an answer is believed where a service may have been asked, as long as the host's own files are the same. Long
/// enough that a crash-looping daemon costs no look-ups, short enough that a person who changed a group sees it.
const FRESH: Duration = Duration::from_secs(5);
/// How long where there is nothing but those files: a change in them is seen at once. So the death of a daemon that ran for
/// hours costs no look-up either.
const FRESH_OF_FILES: Duration = Duration::from_secs(10 * 60);
/// Longest wait for a first answer; then the child that asks is killed, the start fails with that reason and is tried
/// again.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for a newer answer than the one there is. A look-up takes a few milliseconds; one that takes so long
/// hangs, and the daemons of who is known are not to wait for it.
const PATIENCE: Duration = Duration::from_millis(500);
/// Children that ask at the same time. Full: who is known stays known, everybody else is "busy" and tried again.
const LOOK_UPS_MAX: usize = 16;
/// Answers kept. Full: all are dropped, they are a few seconds of memory.
const CACHE_MAX: usize = 4096;
/// The files of the host that answers come from. A change makes every answer old.
const FILES: [&str; 3] = ["/etc/passwd", "/etc/group", NSSWITCH];
const NSSWITCH: &str = "/etc/nsswitch.conf";

/// Whom to look for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Who {
    Name(String),
    Uid(u32),
}

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) owner: Owner,
    pub(crate) shell: PathBuf,
}

/// The newest answers, and the questions that are being asked.
#[derive(Debug, Clone)]
pub(crate) struct Users {
    shared: Arc<Shared>,
}

/// How a question gets its answer; may take [`DEADLINE`], not longer.
type Ask = fn(&Question) -> Result<Found, String>;

struct Shared {
    ask: Ask,
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<Question, Answer>,
    asking: HashSet<Question>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Question {
    User(Who),
    /// The id of the group with this name.
    Group(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    User(Arc<Account>),
    Group(u32),
    /// There is no such thing.
    Nothing,
}

#[derive(Debug, Clone)]
struct Answer {
    found: Result<Found, String>,
    at: Instant,
    believed_for: Duration,
    /// What the host's files were before it was asked.
    files: Stamp,
}

/// Tells files from other or changed ones: inode, size, time of the last change in nanoseconds.
type Stamp = [Option<(u64, u64, i64, i64)>; FILES.len()];

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "user {name}"),
            Self::Uid(uid) => write!(f, "user with uid {uid}"),
        }
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(who) => who.fmt(f),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Shared").field(&self.state).finish()
    }
}

impl Users {
    /// Knows nobody yet; asks by children of this program.
    pub(crate) fn new() -> Self {
        Self::with(look_up::by_child)
    }

    fn with(ask: Ask) -> Self {
        let shared = Shared {
            ask,
            state: Mutex::default(),
            answered: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// One that asks without children: a test program does not answer as the agent does.
    #[cfg(test)]
    pub(crate) fn asking_here() -> Self {
        Self::with(look_up::here)
    }

    /// Looks for a user. Waits; never call it on the main thread.
    ///
    /// # Errors
    /// Why there is no answer, or none that helps, for people.
    pub(crate) fn find(&self, who: &Who) -> Result<Arc<Account>, String> {
        match self.answer(&Question::User(who.clone()))? {
            Found::User(account) => Ok(account),
            _ => Err(format!("{who}: there is no such user on this host")),
        }
    }

    /// The id of a group; `None` if there is no such group. Waits; never call it on the main thread.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    pub(crate) fn group(&self, name: &str) -> Result<Option<u32>, String> {
        match self.answer(&Question::Group(name.to_owned()))? {
            Found::Group(gid) => Ok(Some(gid)),
            _ => Ok(None),
        }
    }

    /// Whether [`Users::find`] would answer at once, with whatever.
    pub(crate) fn answers_at_once(&self, who: &Who) -> bool {
        let files = stamp();
        let state = self.shared.lock();
        let answer = state.answers.get(&Question::User(who.clone()));
        answer.is_some_and(|answer| answer.is_fresh(&files))
    }

    fn answer(&self, question: &Question) -> Result<Found, String> {
        let began = Instant::now();
        let mut state = self.shared.lock();
        loop {
            let files = stamp();
            let old = state.answers.get(question);
            if let Some(answer) = old.filter(|answer| answer.is_fresh(&files)) {
                return answer.found.clone();
            }
            // Whoever changed a file waits for what it says now.
            let patience = match old {
                Some(answer) if answer.found.is_ok() && answer.files == files => PATIENCE,
                _ => DEADLINE,
            };
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                let error = format!("{question}: {}", no_answer());
                return state.keep(question, Err(error), files);
            }
            if !state.asking.contains(question) {
                let begun = if state.asking.len() < LOOK_UPS_MAX {
                    let begun = self.begin(&mut state, question, files);
                    begun.map_err(|error| error.to_string())
                } else {
                    Err("the host's user look-up is busy".to_owned())
                };
                if let Err(error) = begun {
                    return state.keep(question, Err(format!("{question}: {error}")), files);
                }
            }
            let waited = self.shared.answered.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks on a thread of its own, which ends with the answer.
    fn begin(&self, state: &mut State, question: &Question, files: Stamp) -> std::io::Result<()> {
        let (shared, asked) = (Arc::clone(&self.shared), question.clone());
        crate::vital::spawn("user look-up", move || {
            let found = (shared.ask)(&asked).map_err(|error| format!("{asked}: {error}"));
            let mut state = shared.lock();
            state.asking.remove(&asked);
            let _ = state.keep(&asked, found, files);
            shared.answered.notify_all();
        })?;
        state.asking.insert(question.clone());
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes what came of a question; no answer takes nothing back. Returns what is the answer now, fresh again: a service
    /// that hangs is not asked at every start.
    fn keep(
        &mut self,
        question: &Question,
        found: Result<Found, String>,
        files: Stamp,
    ) -> Result<Found, String> {
        if self.answers.len() >= CACHE_MAX {
            self.answers.clear();
        }
        let old = self.answers.remove(question).map(|answer| answer.found);
        let found = match (found, old) {
            (Err(error), Some(Ok(known))) => {
                tracing::warn!(error, "no new answer: the one from before holds");
                Ok(known)
            }
            (found, _) => found,
        };
        let of_files = found.is_ok()
            && std::fs::read_to_string(NSSWITCH).is_ok_and(|text| asks_only_files(&text));
        let answer = Answer {
            found: found.clone(),
            at: Instant::now(),
            believed_for: if of_files { FRESH_OF_FILES } else { FRESH },
            files,
        };
        self.answers.insert(question.clone(), answer);
        found
    }
}

impl Answer {
    fn is_fresh(&self, files: &Stamp) -> bool {
        self.at.elapsed() < self.believed_for && self.files == *files
    }
}

fn no_answer() -> String {
    let seconds = DEADLINE.as_secs();
    format!("the host's user look-up did not answer within {seconds} s")
}

/// Whether users and groups come from the host's own files (and from its systemd, which gives none to people) alone.
fn asks_only_files(nsswitch: &str) -> bool {
    let lines = nsswitch
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| line.split_once(':'))
        .all(|(of, sources)| {
            let of_users = matches!(of.trim(), "passwd" | "group" | "initgroups");
            let mut sources = sources.split_ascii_whitespace();
            !of_users || sources.all(|source| matches!(source, "files" | "systemd"))
        })
}

fn stamp() -> Stamp {
    FILES.map(|path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.ino(), file.size(), file.ctime(), file.ctime_nsec()))
    })
}

#[cfg(test)]
mod tests;
