//! The owner of the engine: what happened goes in, what to do comes out and is done, what changed is published.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use host_agent_engine::Engine;
use host_agent_engine::input::{DesiredDaemon, Input, Past, Run, Ticket};
use host_agent_keeper::protocol::ToWorker;
use host_agent_sys::fail_point::fail_point;
use rustix::process::Pid;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;

use super::board::Board;
use super::ended::Ended;
use super::ends::End;
use super::events::Events;
use super::queries::{Answer, Queries};
use super::restore::{self, Found};
use super::runs::{LiveRun, Main, Ready, Runs};
use super::usage::Usages;
use super::{Outcomes, REQUESTS_MAX, Request, SupervisorHandle, clock};
use crate::journal::{Journal, Recovered};
use crate::logs::{LogEvent, Logs, Owner};
use crate::spawn::{Ground, STARTS_MAX, Spawners, StartOrder, Started};

mod effects;
mod requests;

/// How long a helper may take to become the program. Then it is killed and the start has failed.
pub(super) const START_DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the owner is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) ground: Arc<Ground>,
    pub(crate) logs: Logs,
    pub(crate) log_events: mpsc::Receiver<LogEvent>,
    pub(crate) journal: Journal,
    pub(crate) recovered: Recovered,
    pub(crate) events: Events,
    /// Where is noted what the next worker should know of instances without a process.
    pub(crate) ended: PathBuf,
    /// Decides how delays are spread.
    pub(crate) jitter_seed: u64,
}

/// The owner. Runs on the main thread, in one task.
#[derive(Debug)]
pub(crate) struct Core {
    engine: Engine,
    pub(super) ground: Arc<Ground>,
    pub(super) logs: Logs,
    log_events: mpsc::Receiver<LogEvent>,
    journal: Journal,
    pub(super) events: Events,
    ended: Ended,
    /// What the former worker noted of daemons that were not published yet.
    past: BTreeMap<DaemonId, Vec<Past>>,
    /// What the engine has just heard of and is not done with.
    pub(super) ends: Vec<End>,
    /// Runs of which nothing is left but their records.
    pub(super) over: Vec<(Pid, Run)>,
    board: Arc<Board>,
    requests: mpsc::Receiver<Request>,
    spawners: Spawners,
    started: mpsc::Receiver<Started>,
    /// Starts the queue had no place for: at most one per slot, as the engine asks for no second before an answer.
    backlog: VecDeque<StartOrder>,
    pub(super) queries: Queries,
    answers: mpsc::Receiver<Answer>,
    pub(super) runs: Runs,
    pub(super) usages: Usages,
    /// What the engine has not heard yet.
    pub(super) inputs: VecDeque<Input>,
    /// Until the ledger can be trusted, the engine hears nothing: it would stop what it does not know.
    restore: Option<Restore>,
    pub(super) specs: BTreeMap<DaemonId, Arc<DaemonSpec>>,
    uids: BTreeMap<String, u32>,
    /// Whose log file each daemon's is.
    owners: BTreeMap<DaemonId, Owner>,
    tickets: HashMap<Ticket, oneshot::Sender<Outcomes>>,
    next_ticket: u64,
    changed: BTreeSet<DaemonId>,
    /// What the keeper did not take at once: at most two frames per run.
    pub(super) unsent: Vec<Unsent>,
    stage: Stage,
}

/// A frame for the keeper.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unsent {
    Ack { pid: i32, start_time: u64 },
    Drop(Run),
}

#[derive(Debug)]
struct Restore {
    found: Vec<Found>,
    recovered: Recovered,
    past: Vec<Past>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// Every daemon is being stopped, or is.
    Stopping,
    /// The engine has said its last word.
    Ended,
}

impl Core {
    /// Finds what a former worker left, lets the log threads and the keeper know, and gives every daemon its due. Only
    /// afterwards are commands heard. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the kernel's part (epoll, threads, records) is not to be had.
    pub(crate) fn start(setup: Setup) -> io::Result<(SupervisorHandle, Self)> {
        let Setup {
            ground,
            logs,
            log_events,
            journal,
            recovered,
            events,
            ended,
            jitter_seed,
        } = setup;
        let (ended, past) = Ended::start(&ended, &ground)?;
        let (starts, started) = mpsc::channel(STARTS_MAX);
        let spawners = Spawners::start(&ground, &starts)?;
        let (queries, answers) = Queries::new(Arc::clone(&ground));
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let board = Arc::new(Board::new());
        let handle = SupervisorHandle {
            requests,
            board: Arc::clone(&board),
            journal: journal.clone(),
            events: events.clone(),
        };
        let runs = Runs::new(std::os::fd::AsFd::as_fd(&*ground.keeper))?;
        let mut core = Self {
            engine: Engine::new(jitter_seed),
            ground,
            logs,
            log_events,
            journal,
            events,
            ended,
            past: BTreeMap::new(),
            ends: Vec::new(),
            over: Vec::new(),
            board,
            requests: inbox,
            spawners,
            started,
            backlog: VecDeque::new(),
            queries,
            answers,
            runs,
            usages: Usages::default(),
            inputs: VecDeque::new(),
            restore: None,
            specs: BTreeMap::new(),
            uids: BTreeMap::new(),
            owners: BTreeMap::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            changed: BTreeSet::new(),
            unsent: Vec::new(),
            stage: Stage::Serving,
        };
        core.begin(recovered, past)?;
        Ok((handle, core))
    }

    fn begin(&mut self, recovered: Recovered, past: Vec<Past>) -> io::Result<()> {
        for one in &past {
            let of_daemon = self.past.entry(one.slot.daemon).or_default();
            of_daemon.push(one.clone());
        }
        let found = restore::find(&self.ground)?;
        let set = (recovered.desired.as_ref()).map_or_else(|_| Vec::new(), |set| set.for_engine());
        let specs = set
            .iter()
            .map(|daemon| (daemon.id, Arc::clone(&daemon.spec)));
        self.specs = specs.collect();
        for run in &found {
            self.take_over(run)?;
        }
        if let Err(error) = self.ground.keeper.send_hello() {
            tracing::error!(%error, "the keeper does not answer: ends of adopted instances stay unknown");
        }
        match &recovered.desired {
            Ok(_) => self.restore(
                Restore {
                    found,
                    recovered,
                    past,
                },
                set,
            ),
            Err(why) => {
                tracing::error!(
                    why,
                    "the ledger is not usable: what runs is left alone until the api-server sends the configuration anew"
                );
                self.restore = Some(Restore {
                    found,
                    recovered,
                    past,
                });
            }
        }
        self.settle();
        Ok(())
    }

    fn restore(&mut self, restore: Restore, set: Vec<DesiredDaemon>) {
        let Restore {
            found,
            recovered,
            past,
        } = restore;
        self.know(&set);
        let early = std::mem::take(&mut self.inputs);
        let local = &recovered.local;
        self.inputs
            .push_back(restore::input(&found, local, past, set));
        self.inputs.extend(early);
    }

    /// Runs until `end`, or until the keeper says so.
    ///
    /// # Errors
    /// When there is nothing left to wait with.
    pub(crate) async fn run(mut self, end: CancellationToken) -> io::Result<()> {
        while self.stage != Stage::Ended {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = end.cancelled(), if self.stage == Stage::Serving => {
                    self.inputs.push_back(Input::Shutdown { stop_daemons: false });
                    self.stage = Stage::Ended;
                }
                () = end.cancelled(), if self.stage == Stage::Stopping => self.stage = Stage::Ended,
                ready = self.runs.ready() => {
                    ready?;
                    for ready in self.runs.read_ready()? {
                        if self.on_ready(ready)? {
                            end.cancel();
                        }
                    }
                }
                Some(started) = self.started.recv() => self.on_started(started)?,
                Some(event) = self.log_events.recv() => match event {
                    LogEvent::Drained(run) => self.on_drained(run),
                    LogEvent::Gap(daemon, why) => self.events.log_gap(daemon, &why),
                },
                Some(answer) = self.answers.recv() => self.on_answer(answer),
                Some(request) = self.requests.recv() => self.on_request(request),
                () = sleep_until(wake) => self.on_time(),
            }
            self.settle();
        }
        Ok(())
    }

    fn next_wake(&self) -> Option<Instant> {
        let engine = self
            .engine
            .next_deadline()
            .filter(|_| self.restore.is_none());
        let engine = engine.map(|at| Instant::now() + at.since(clock::now()));
        let unsent = (!self.unsent.is_empty()).then(|| Instant::now() + super::ends::RESEND);
        [engine, self.runs.next_wake(), unsent, self.usages.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// True when the worker shall end.
    fn on_ready(&mut self, ready: Ready) -> io::Result<bool> {
        match ready {
            Ready::Status(run) => self.on_status(run),
            Ready::Ended(run) => self.on_ended(run),
            Ready::Keeper => loop {
                match self.ground.keeper.recv() {
                    Ok(None) => break,
                    Ok(Some(ToWorker::Exited {
                        pid,
                        start_time,
                        status,
                    })) => self.on_told(pid, start_time, status),
                    Ok(Some(ToWorker::HelloDone { held })) => {
                        tracing::debug!(held, "the keeper has told all it kept");
                    }
                    Ok(Some(ToWorker::Terminate)) => return Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                        tracing::warn!("the keeper said something that was not understood");
                    }
                    Err(error) => return Err(error),
                }
            },
        }
        Ok(false)
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        while let Some(run) = self.runs.pop_due(now) {
            self.on_wake(run);
        }
        self.resend();
        let news = self.usages.look(now, self.runs.living());
        self.changed.extend(news);
        self.inputs.push_back(Input::DeadlineReached);
    }

    fn on_started(&mut self, started: Started) -> io::Result<()> {
        if let Some(order) = self.backlog.pop_front()
            && let Err(order) = self.spawners.submit(order)
        {
            self.backlog.push_front(order);
        }
        let Started { run, result } = started;
        let born = match result {
            Ok(born) => *born,
            Err(error) => {
                self.inputs.push_back(Input::SpawnFailed { run, error });
                return Ok(());
            }
        };
        fail_point(self.ground.records.dir(), "spawned");
        // Its number may have been another's, whose log is not written out yet.
        self.ground.records.remove_exit(born.pid);
        let main = Main::Starting {
            pidfd: born.pidfd,
            status: born.status,
            attempt: born.attempt,
        };
        let mut live = LiveRun::new(born.pid, None, main, born.tree, born.fifo_name);
        live.attached = true;
        // A process that can not be watched is left to the next worker, which is there in an instant.
        self.runs.insert(run, live)?;
        self.runs
            .wake_at(&run, Some(Instant::now() + START_DEADLINE));
        self.own(run.slot.daemon, born.owner);
        self.logs.attach(run, born.fifo);
        fail_point(self.ground.records.dir(), "spawned-watched");
        Ok(())
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
