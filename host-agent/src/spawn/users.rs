//! Users of this host. The name service may be a network away and hang, so one thread asks it and everybody else waits
//! with a deadline.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::{Group, Uid, User, getgrouplist};

use crate::logs::Owner;

/// How long an answer is believed. Long enough that a crash-looping daemon costs no look-ups, short enough that a person
/// who changed a group sees it.
const FRESH: Duration = Duration::from_secs(5);
/// Longest wait for the name service. Then the start fails with that reason and is tried again.
const DEADLINE: Duration = Duration::from_secs(5);
/// Questions that wait for the thread: more cannot come, every asker waits for its answer. Full: "busy".
const QUESTIONS_MAX: usize = 64;
/// Answers kept. Full: all are dropped, they are a few seconds of memory.
const CACHE_MAX: usize = 4096;

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

/// The look-up thread and its newest answers.
#[derive(Debug)]
pub(crate) struct Users {
    questions: SyncSender<Question>,
    cache: Mutex<HashMap<Who, (Instant, Arc<Account>)>>,
}

#[derive(Debug)]
enum Question {
    User(Who, SyncSender<Answer>),
    /// The id of the group with this name.
    Group(String, SyncSender<Result<Option<u32>, String>>),
}

/// `None`: there is no such user.
type Answer = Result<Option<Account>, String>;

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "user {name}"),
            Self::Uid(uid) => write!(f, "user with uid {uid}"),
        }
    }
}

impl Users {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn start() -> std::io::Result<Self> {
        let (questions, inbox) = sync_channel(QUESTIONS_MAX);
        crate::vital::spawn("users", move || answer_all(&inbox))?;
        Ok(Self {
            questions,
            cache: Mutex::default(),
        })
    }

    /// Looks for a user. Waits; never call it on the main thread.
    ///
    /// # Errors
    /// Why there is no answer, or none that helps, for people.
    pub(crate) fn find(&self, who: &Who) -> Result<Arc<Account>, String> {
        if let Some(account) = self.fresh(who) {
            return Ok(account);
        }
        let question = |answer| Question::User(who.clone(), answer);
        let account = match self.ask(who, question)? {
            Some(account) => Arc::new(account),
            None => return Err(format!("{who}: there is no such user on this host")),
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        cache.insert(who.clone(), (Instant::now(), Arc::clone(&account)));
        Ok(account)
    }

    /// The id of a group; `None` if there is no such group. Waits; never call it on the main thread.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    pub(crate) fn group(&self, name: &str) -> Result<Option<u32>, String> {
        let question = |answer| Question::Group(name.to_owned(), answer);
        self.ask(&format_args!("group {name}"), question)
    }

    fn ask<T>(
        &self,
        about: &dyn std::fmt::Display,
        question: impl FnOnce(SyncSender<Result<T, String>>) -> Question,
    ) -> Result<T, String> {
        let (answer, answered) = sync_channel(1);
        let busy = |_| format!("{about}: the host's user look-up is busy");
        self.questions.try_send(question(answer)).map_err(busy)?;
        match answered.recv_timeout(DEADLINE) {
            Ok(answer) => answer.map_err(|error| format!("{about}: {error}")),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = DEADLINE.as_secs();
                Err(format!(
                    "{about}: the host's user look-up did not answer within {seconds} s"
                ))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(format!("{about}: the host's user look-up ended"))
            }
        }
    }

    fn fresh(&self, who: &Who) -> Option<Arc<Account>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, account) = cache.get(who)?;
        (since.elapsed() < FRESH).then(|| Arc::clone(account))
    }
}

fn answer_all(inbox: &Receiver<Question>) {
    for question in inbox {
        // The asker may have given up.
        match question {
            Question::User(who, answer) => drop(answer.send(look_up(&who))),
            Question::Group(name, answer) => drop(answer.send(group_id(&name))),
        }
    }
}

fn group_id(name: &str) -> Result<Option<u32>, String> {
    let group = Group::from_name(name).map_err(|error| error.to_string())?;
    Ok(group.map(|group| group.gid.as_raw()))
}

fn look_up(who: &Who) -> Answer {
    let user = match who {
        Who::Name(name) => User::from_name(name),
        Who::Uid(uid) => User::from_uid(Uid::from_raw(*uid)),
    };
    let Some(user) = user.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let name = CString::new(user.name.as_str()).map_err(|error| error.to_string())?;
    let groups = getgrouplist(&name, user.gid).map_err(|error| format!("groups: {error}"))?;
    Ok(Some(Account {
        owner: Owner {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
            home: user.dir,
        },
        shell: user.shell,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_uid_and_nobody_else_is_made_up() {
        let users = Users::start().unwrap();
        let root = users.find(&Who::Name("root".to_owned())).unwrap();
        assert_eq!((root.owner.uid, root.owner.gid), (0, 0));
        assert_eq!(users.find(&Who::Uid(0)).unwrap(), root);
        let error = users
            .find(&Who::Name("no-such-user".to_owned()))
            .unwrap_err();
        assert_eq!(
            error,
            "user no-such-user: there is no such user on this host"
        );
    }

    #[test]
    fn groups_are_found_by_name() {
        let users = Users::start().unwrap();
        assert_eq!(users.group("root"), Ok(Some(0)));
        assert_eq!(users.group("no-such-group"), Ok(None));
    }

    #[test]
    fn a_look_up_that_hangs_costs_its_deadline_and_no_more() {
        let (questions, inbox) = sync_channel(QUESTIONS_MAX);
        let users = Users {
            questions,
            cache: Mutex::default(),
        };
        let began = Instant::now();
        let error = users.find(&Who::Uid(0)).unwrap_err();
        assert!(error.contains("did not answer"), "{error}");
        assert!(began.elapsed() >= DEADLINE);
        drop(inbox);
    }
}
