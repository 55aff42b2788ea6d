//! Questions that may take long (a name service, a home on a network): asked off the main thread, with a deadline, and
//! answered to the owner. A question that hangs keeps a thread of the runtime's blocking pool, never the owner.

use std::sync::Arc;
use std::time::Duration;

use host_agent_engine::input::{Run, StartError};
use tokio::sync::mpsc;
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;

use crate::spawn::Ground;
use crate::spawn::program::{check, other};
use crate::spawn::users::{Account, Who};

/// Longest wait for an answer. A user look-up gives up earlier by itself.
const DEADLINE: Duration = Duration::from_secs(10);
/// Answers on their way to the owner. Full: the questions' tasks wait.
const ANSWERS_MAX: usize = 64;

/// What was found out.
#[derive(Debug)]
pub(super) enum Answer {
    /// Whether a spec resolves.
    Checked {
        daemon: DaemonId,
        revision: i64,
        result: Result<(), StartError>,
    },
    /// The user that daemons are to run as.
    User {
        name: String,
        account: Option<Arc<Account>>,
    },
    /// The user that a run found at the start belongs to.
    Owner {
        run: Run,
        uid: u32,
        account: Result<Arc<Account>, String>,
    },
}

/// The asking side.
#[derive(Debug)]
pub(super) struct Queries {
    ground: Arc<Ground>,
    answers: mpsc::Sender<Answer>,
}

impl Queries {
    pub(super) fn new(ground: Arc<Ground>) -> (Self, mpsc::Receiver<Answer>) {
        let (answers, inbox) = mpsc::channel(ANSWERS_MAX);
        (Self { ground, answers }, inbox)
    }

    /// Whether user, directory and program of a spec resolve. The engine asks once per daemon at a time.
    pub(super) fn check(&self, daemon: DaemonId, revision: i64, spec: Arc<DaemonSpec>) {
        let late = {
            let seconds = DEADLINE.as_secs();
            let directory = spec.directory().to_owned();
            move || {
                other(format!(
                    "checking {directory}: no answer within {seconds} s"
                ))
            }
        };
        self.ask(
            move |ground| check(ground, &spec),
            move |result| {
                let result = result.unwrap_or_else(|| Err(late()));
                if let Err(error) = &result {
                    let why = &error.message;
                    tracing::warn!(%daemon, revision, why, "a changed daemon can not run here; what runs goes on");
                }
                Answer::Checked {
                    daemon,
                    revision,
                    result,
                }
            },
        );
    }

    /// The account of a user by name.
    pub(super) fn user(&self, name: String) {
        let who = Who::Name(name.clone());
        self.ask(
            move |ground| ground.users.find(&who).ok(),
            move |account| Answer::User {
                name,
                account: account.flatten(),
            },
        );
    }

    /// The account of a run's user: by name if that still has this uid (several names may share one), else by uid.
    pub(super) fn owner(&self, run: Run, name: Option<String>, uid: u32, after: Duration) {
        self.ask_after(
            after,
            move |ground| {
                let by_name = name.and_then(|name| ground.users.find(&Who::Name(name)).ok());
                match by_name.filter(|account| account.owner.uid == uid) {
                    Some(account) => Ok(account),
                    None => ground.users.find(&Who::Uid(uid)),
                }
            },
            move |account| Answer::Owner {
                run,
                uid,
                account: account.unwrap_or_else(|| Err("no answer in time".to_owned())),
            },
        );
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Ground) -> T + Send + 'static,
        answer: impl FnOnce(Option<T>) -> Answer + Send + 'static,
    ) {
        self.ask_after(Duration::ZERO, question, answer);
    }

    /// One task and at most one blocking thread per open question; `None` after the deadline.
    fn ask_after<T: Send + 'static>(
        &self,
        after: Duration,
        question: impl FnOnce(&Ground) -> T + Send + 'static,
        answer: impl FnOnce(Option<T>) -> Answer + Send + 'static,
    ) {
        let (ground, answers) = (Arc::clone(&self.ground), self.answers.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let asked = tokio::task::spawn_blocking(move || question(&ground));
            let found = tokio::time::timeout(DEADLINE, asked).await;
            let found = found.ok().and_then(Result::ok);
            // The owner may have ended.
            let _ = answers.send(answer(found)).await;
        });
    }
}
