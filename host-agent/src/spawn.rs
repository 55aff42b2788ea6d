//! Starting processes: users, policy, FIFO, cgroup, orders, `zhylon-exec`. Two threads do it, so that neither the engine
//! nor another start waits for a disk or a name service.
//!
//! Owns everything between "this run shall start" and "its process exists", and what run records and cgroups say about
//! processes. Must never decide what starts, stops or starts again.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use host_agent_engine::input::{Run, StartError};
use host_agent_keeper::WorkerEnd;
use host_agent_keeper::protocol::RunKey;
use host_agent_sys::fail_point::fail_point;
use host_agent_sys::orders::{StartFailure, StartStep};
use host_agent_sys::spawn::Seats;
use rustix::process::{Pid, Resource, Rlimit};
use tokio::sync::mpsc;
use zhylon_shared::spec::DaemonSpec;

use self::cgroup::Cgroups;
use self::fifo::Fifos;
pub(crate) use self::helper::Helper;
use self::parked::Parked;
use self::record::Records;
use self::tree::Tree;
use self::users::Users;
use crate::config::Policy;
use crate::logs::Owner;

pub(crate) mod cgroup;
mod environment;
pub(crate) mod fifo;
mod helper;
mod limits;
mod parked;
pub(crate) mod program;
pub(crate) mod record;
mod start;
pub(crate) mod tree;
pub(crate) mod users;

pub(crate) use self::start::hold;

/// Threads that start processes: a thousand starts are a third faster with two than with one, and not with more.
const SPAWNERS: usize = 2;
/// Starts handed to the threads. Full: the owner keeps the rest, at most one per slot, and hands them on as these end.
pub(crate) const STARTS_MAX: usize = 64;

/// What every start stands on.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) helper: Helper,
    pub(crate) records: Records,
    pub(crate) fifos: Fifos,
    /// `None`: this host (or this user) has none.
    pub(crate) cgroups: Option<Cgroups>,
    /// In force from the next start on; what runs is left alone.
    pub(crate) policy: RwLock<Arc<Policy>>,
    pub(crate) users: Arc<Users>,
    pub(crate) boot_id: String,
    /// Limit of open files of every daemon: what the agent was born with.
    pub(crate) nofile: Option<(u64, u64)>,
    pub(crate) keeper: Arc<WorkerEnd>,
}

impl Ground {
    /// The host's policy as it is now.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another policy in force.
    pub(crate) fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}

/// One start to make.
#[derive(Debug)]
pub(crate) struct StartOrder {
    pub(crate) run: Run,
    pub(crate) spec: Arc<DaemonSpec>,
    pub(crate) restart_generation: i64,
}

/// What became of a start.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) run: Run,
    /// Boxed: an error is all there is in the worst of times, when there are many.
    pub(crate) result: Result<Box<Born>, StartError>,
}

/// A process that exists; its helper runs.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    /// End of file: it became the program. Else a `StartFailure`.
    pub(crate) status: OwnedFd,
    /// Read end of its FIFO, non-blocking.
    pub(crate) fifo: OwnedFd,
    pub(crate) fifo_name: String,
    pub(crate) tree: Tree,
    pub(crate) owner: Owner,
    pub(crate) attempt: Attempt,
}

/// What a start tries, to say which part of it failed.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) program: String,
    pub(crate) directory: PathBuf,
}

impl Attempt {
    /// A helper's failure in words.
    pub(crate) fn failed(&self, failure: StartFailure) -> StartError {
        let error = io::Error::from_raw_os_error(failure.errno);
        match failure.step {
            StartStep::Exec => program::exec_error(&self.program, &error),
            StartStep::Chdir => {
                program::other(format!("chdir {}: {error}", self.directory.display()))
            }
            step => program::other(format!("{}: {error}", step.words())),
        }
    }
}

/// The threads.
#[derive(Debug, Clone)]
pub(crate) struct Spawners {
    queue: Sender<StartOrder>,
}

impl Spawners {
    /// Starts the threads; what becomes of each start goes to `done`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn start(ground: &Arc<Ground>, done: &mpsc::Sender<Started>) -> io::Result<Self> {
        // Each start wakes one thread, which a receiver behind a lock would not.
        let (queue, inbox) = bounded(STARTS_MAX);
        let parked = Arc::new(Parked::new(queue.clone()));
        for _ in 0..SPAWNERS {
            let (ground, inbox, done) = (Arc::clone(ground), inbox.clone(), done.clone());
            let parked = Arc::clone(&parked);
            let seats = Seats::take()?;
            crate::vital::spawn("spawner", move || {
                work(&ground, seats, &inbox, &parked, &done);
            })?;
        }
        Ok(Self { queue })
    }

    /// Hands over a start. Gives it back when the queue is full.
    pub(crate) fn submit(&self, order: StartOrder) -> Result<(), StartOrder> {
        self.queue.try_send(order).map_err(|error| match error {
            TrySendError::Full(order) | TrySendError::Disconnected(order) => order,
        })
    }
}

fn work(
    ground: &Arc<Ground>,
    mut seats: Option<Seats>,
    inbox: &Receiver<StartOrder>,
    parked: &Arc<Parked>,
    done: &mpsc::Sender<Started>,
) {
    for order in inbox {
        let Some(order) = parked.pass(ground, order) else {
            continue;
        };
        let result = start::start(ground, seats.as_mut(), &order).map(Box::new);
        fail_point(ground.records.dir(), "start-done");
        let run = order.run;
        if done.blocking_send(Started { run, result }).is_err() {
            return;
        }
    }
}

/// Raises the agent's own limit of open files as far as it goes (it needs a few per daemon). Returns what it was.
pub(crate) fn raise_open_files() -> Option<(u64, u64)> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    // `None` of rustix means unlimited, which the kernel never allows for open files.
    before.current.zip(before.maximum)
}

/// The keeper's word for a run.
pub(crate) fn key(run: &Run) -> RunKey {
    let mut daemon = [0; zhylon_shared::id::BARE_LEN];
    daemon.copy_from_slice(run.slot.daemon.bare().as_bytes());
    RunKey {
        daemon,
        index: run.slot.index,
        generation: run.generation,
    }
}
