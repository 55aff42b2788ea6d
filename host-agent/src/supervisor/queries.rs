//! Questions that may take long (a name service, a home on a network): asked off the main thread, with a deadline, and
//! answered to the owner. A question that hangs keeps a thread of the runtime's blocking pool, never the owner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use host_agent_engine::input::{Run, StartError};
use tokio::sync::{Semaphore, mpsc};
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;

use crate::spawn::Ground;
use crate::spawn::program::{check, other};
use crate::spawn::users::{Account, Who};

/// Longest wait for an answer. A user look-up gives up earlier by itself.
const DEADLINE: Duration = Duration::from_secs(10);
/// Checks of one user's directories at a time: a home that hangs keeps these threads and no more. Full: further ones of that
/// user wait, and are answered "no answer" by their own deadline.
const CHECKS_PER_USER: usize = 2;
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
    /// Places for checks, by user; of those only who has one open.
    places: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Queries {
    pub(super) fn new(ground: Arc<Ground>) -> (Self, mpsc::Receiver<Answer>) {
        let (answers, inbox) = mpsc::channel(ANSWERS_MAX);
        let places = Mutex::default();
        let queries = Self {
            ground,
            answers,
            places,
        };
        (queries, inbox)
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
        let place = self.place(spec.user());
        self.ask(
            Duration::ZERO,
            Some(place),
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

    fn place(&self, user: &str) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits or checks has one of its own.
        places.retain(|_, place| Arc::strong_count(place) > 1);
        let place = places
            .entry(user.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(CHECKS_PER_USER)));
        Arc::clone(place)
    }

    /// The account of a user by name.
    pub(super) fn user(&self, name: String) {
        let who = Who::Name(name.clone());
        self.ask(
            Duration::ZERO,
            None,
            move |ground| ground.users.find(&who).ok(),
            move |account| Answer::User {
                name,
                account: account.flatten(),
            },
        );
    }

    /// The account of a run's user: by name if that still has this uid (several names may share one), else by uid.
    pub(super) fn owner(&self, run: Run, name: Option<String>, uid: u32, after: Duration) {
        self.ask(
            after,
            None,
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

    /// One task and at most one blocking thread per open question; `None` after the deadline. A question waits for its
    /// place within that, and keeps it for as long as it takes.
    fn ask<T: Send + 'static>(
        &self,
        after: Duration,
        place: Option<Arc<Semaphore>>,
        question: impl FnOnce(&Ground) -> T + Send + 'static,
        answer: impl FnOnce(Option<T>) -> Answer + Send + 'static,
    ) {
        let (ground, answers) = (Arc::clone(&self.ground), self.answers.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let asked = async {
                let place = match place {
                    Some(place) => place.acquire_owned().await.ok(),
                    None => None,
                };
                let question = move || (question(&ground), place).0;
                tokio::task::spawn_blocking(question).await
            };
            let found = tokio::time::timeout(DEADLINE, asked).await;
            let found = found.ok().and_then(Result::ok);
            // The owner may have ended.
            let _ = answers.send(answer(found)).await;
        });
    }
}
