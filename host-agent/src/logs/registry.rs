//! Which logs there are, and whose thread has them. Everything here is quick: the threads are only written to.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use zhylon_shared::id::DaemonId;

use super::desk::Identity;
use super::inbox::{Closing, Command, Inbox};
use super::log::{Book, Estate};
use super::segment::Published;
use super::thread;
use super::{LogEvent, Owner, Rules, index};

/// File threads at most: one per user with daemons. The logs of further users are not written; their output is dropped and
/// counted, so that their daemons run on.
pub(super) const THREADS_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Room {
    index_dir: PathBuf,
    pub(super) rules: watch::Sender<Rules>,
    pub(super) events: mpsc::Sender<LogEvent>,
    pub(super) threads_alive: Arc<AtomicUsize>,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) logs: HashMap<DaemonId, Registered>,
    threads: HashMap<Identity, Arc<Inbox>>,
}

#[derive(Debug)]
pub(super) struct Registered {
    owner: Owner,
    pub(super) identity: Identity,
    pub(super) inbox: Arc<Inbox>,
    pub(super) published: watch::Receiver<Published>,
    /// For readers; `None` while the index cannot be opened.
    pub(super) index: Option<Arc<File>>,
    /// The other end of `published`, until the index could be opened.
    publisher: Option<watch::Sender<Published>>,
}

impl Registered {
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }
}

impl Room {
    pub(super) fn new(index_dir: PathBuf, rules: Rules, events: mpsc::Sender<LogEvent>) -> Self {
        Self {
            index_dir,
            rules: watch::Sender::new(rules),
            events,
            threads_alive: Arc::default(),
            registry: Mutex::default(),
        }
    }

    pub(super) fn register(&self, daemon: DaemonId, owner: Owner) {
        let mut registry = self.registry();
        if let Some(known) = registry.logs.get_mut(&daemon)
            && known.owner == owner
        {
            return self.find_index(daemon, known);
        }
        let (identity, inbox) = match self.inbox(&mut registry, &owner) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%daemon, user = owner.name, %error, "no thread for a log: it is not written");
                return;
            }
        };
        let before = match registry.logs.entry(daemon) {
            Place::Vacant(place) => {
                let (publisher, published) = watch::channel(Published::default());
                let mut new = Registered {
                    owner: owner.clone(),
                    identity,
                    inbox,
                    published,
                    index: None,
                    publisher: Some(publisher),
                };
                new.inbox.push(Command::Open(daemon, owner));
                self.find_index(daemon, &mut new);
                if new.publisher.is_some() {
                    let empty = Command::Inherit(daemon, Box::default());
                    new.inbox.push(empty);
                }
                place.insert(new);
                return;
            }
            Place::Occupied(mut place) => {
                let known = place.get_mut();
                let hand_over = Command::HandOver(daemon, Arc::clone(&inbox));
                let open = Command::Open(daemon, owner.clone());
                // What is handed over must find the log that takes it open.
                if Arc::ptr_eq(&known.inbox, &inbox) {
                    inbox.push_together([hand_over, open]);
                } else {
                    inbox.push(open);
                    known.inbox.push(hand_over);
                }
                known.owner = owner;
                known.inbox = inbox;
                std::mem::replace(&mut known.identity, identity)
            }
        };
        registry.retire(&before);
    }

    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread of a user; started if it is not there.
    fn inbox(&self, registry: &mut Registry, owner: &Owner) -> io::Result<(Identity, Arc<Inbox>)> {
        let mut identity = Identity::of(owner);
        if !registry.threads.contains_key(&identity)
            && self.threads_alive.load(Ordering::Relaxed) >= THREADS_MAX
        {
            tracing::error!(
                user = owner.name,
                max = THREADS_MAX,
                "too many users have daemons here: this user's logs are not written, its output is dropped"
            );
            identity = Identity::Nobody;
        }
        if let Some(inbox) = registry.threads.get(&identity) {
            return Ok((identity, Arc::clone(inbox)));
        }
        let inbox = Arc::new(Inbox::new(self.events.clone())?);
        thread::start(
            &owner.name,
            identity.clone(),
            Arc::clone(&inbox),
            self.rules.subscribe(),
            self.events.clone(),
            Arc::clone(&self.threads_alive),
        )?;
        registry
            .threads
            .insert(identity.clone(), Arc::clone(&inbox));
        Ok((identity, inbox))
    }

    /// Opens the index with the agent's own identity, and hands it to the thread. Tried at every occasion until it works.
    pub(super) fn find_index(&self, daemon: DaemonId, known: &mut Registered) {
        let Some(publisher) = known.publisher.take() else {
            return;
        };
        match index::open(&self.index_dir, &daemon) {
            Ok((writer, reader)) => {
                known.index = Some(Arc::new(reader));
                let estate = Estate::new(Some(Book::new(writer, publisher)));
                let inherit = Command::Inherit(daemon, Box::new(estate));
                known.inbox.push(inherit);
            }
            Err(error) => {
                tracing::error!(%daemon, %error, "a log's index cannot be opened: output waits");
                known.publisher = Some(publisher);
            }
        }
    }
}

impl Registry {
    /// A thread whose user has no more logs ends.
    pub(super) fn retire(&mut self, identity: &Identity) {
        if self.logs.values().all(|known| known.identity != *identity)
            && let Some(inbox) = self.threads.remove(identity)
        {
            inbox.close(Closing::WhenEmpty);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for inbox in self.registry().threads.values() {
            inbox.close(Closing::Now);
        }
    }
}
