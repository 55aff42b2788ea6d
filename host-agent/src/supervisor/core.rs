//! The owner of the engine: what happened goes in, what to do comes out and is done, what changed is published.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use host_agent_engine::Engine;
use host_agent_engine::effect::Effect;
use host_agent_engine::input::{DesiredDaemon, Input, Run, Ticket};
use host_agent_keeper::protocol::ToWorker;
use rustix::process::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::{DaemonSpec, SpecDraft};

use super::board::Board;
use super::queries::{Answer, Queries};
use super::restore::{self, Found};
use super::runs::{LiveRun, Main, Ready, Runs};
use super::{DaemonEntry, Outcomes, REQUESTS_MAX, Request, SupervisorHandle, clock};
use crate::journal::{Journal, Recovered};
use crate::logs::{LogEvent, Logs, Owner};
use crate::spawn::{Ground, STARTS_MAX, Spawners, StartOrder, Started};

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
    board: Arc<Board>,
    requests: mpsc::Receiver<Request>,
    spawners: Spawners,
    started: mpsc::Receiver<Started>,
    /// Starts the queue had no place for: at most one per slot, as the engine asks for no second before an answer.
    backlog: VecDeque<StartOrder>,
    pub(super) queries: Queries,
    answers: mpsc::Receiver<Answer>,
    pub(super) runs: Runs,
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
            jitter_seed,
        } = setup;
        let (starts, started) = mpsc::channel(STARTS_MAX);
        let spawners = Spawners::start(&ground, &starts)?;
        let (queries, answers) = Queries::new(Arc::clone(&ground));
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let board = Arc::new(Board::new());
        let handle = SupervisorHandle {
            requests,
            board: Arc::clone(&board),
            journal: journal.clone(),
        };
        let runs = Runs::new(std::os::fd::AsFd::as_fd(&*ground.keeper))?;
        let mut core = Self {
            engine: Engine::new(jitter_seed),
            ground,
            logs,
            log_events,
            journal,
            board,
            requests: inbox,
            spawners,
            started,
            backlog: VecDeque::new(),
            queries,
            answers,
            runs,
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
        core.begin(recovered)?;
        Ok((handle, core))
    }

    fn begin(&mut self, recovered: Recovered) -> io::Result<()> {
        let found = restore::find(&self.ground)?;
        if let Ok(desired) = &recovered.desired {
            let specs = desired.daemons.iter();
            self.specs = specs
                .map(|daemon| (daemon.id, Arc::new(daemon.spec.clone())))
                .collect();
        }
        for run in &found {
            self.take_over(run)?;
        }
        if let Err(error) = self.ground.keeper.send_hello() {
            tracing::error!(%error, "the keeper does not answer: ends of adopted instances stay unknown");
        }
        match &recovered.desired {
            Ok(desired) => {
                let set = restore::desired_of(desired, &self.specs);
                self.restore(&found, &recovered, set);
            }
            Err(why) => {
                tracing::error!(
                    why,
                    "the ledger is not usable: what runs is left alone until the api-server sends the configuration anew"
                );
                self.restore = Some(Restore { found, recovered });
            }
        }
        self.settle();
        Ok(())
    }

    fn restore(&mut self, found: &[Found], recovered: &Recovered, set: Vec<DesiredDaemon>) {
        self.know(&set);
        let early = std::mem::take(&mut self.inputs);
        self.inputs
            .push_back(restore::input(found, &recovered.local, set));
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
                Some(LogEvent::Drained(run)) = self.log_events.recv() => self.on_drained(run),
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
        [engine, self.runs.next_wake(), unsent]
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
        Ok(())
    }

    fn on_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Checked {
                daemon,
                revision,
                result,
            } => self.inputs.push_back(Input::Checked {
                daemon,
                revision,
                result,
            }),
            // A look-up that failed takes nothing back: the name service may be away.
            Answer::User { account: None, .. } => {}
            Answer::User {
                name,
                account: Some(account),
            } => self.on_user(&name, &account.owner),
            Answer::Owner { run, uid, account } => self.on_owner(run, uid, account),
        }
    }

    fn on_user(&mut self, name: &str, owner: &Owner) {
        let before = self.uids.insert(name.to_owned(), owner.uid);
        let daemons = self.specs.iter().filter(|(_, spec)| spec.user() == name);
        let daemons: Vec<DaemonId> = daemons.map(|(id, _)| *id).collect();
        for daemon in daemons {
            if before != Some(owner.uid) {
                self.changed.insert(daemon);
            }
            // So that an old log can be read while nothing runs. What runs says itself whose it is.
            if !self.owners.contains_key(&daemon) {
                self.own(daemon, owner.clone());
            }
        }
    }

    /// From now on this daemon's log is this user's.
    pub(super) fn own(&mut self, daemon: DaemonId, owner: Owner) {
        let uid = Some(owner.uid);
        if self.uids.insert(owner.name.clone(), owner.uid) != uid {
            self.changed.insert(daemon);
        }
        if self.owners.get(&daemon) != Some(&owner) {
            self.owners.insert(daemon, owner.clone());
            self.logs.register(daemon, owner);
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            // Dropping the answer says that the agent is ending.
            Request::Desire(..) | Request::Command { .. } if self.stage != Stage::Serving => {}
            Request::Desire(set, answer) => {
                match self.restore.take() {
                    Some(Restore { found, recovered }) => self.restore(&found, &recovered, set),
                    None => {
                        self.know(&set);
                        self.inputs.push_back(Input::Desired(set));
                    }
                }
                self.settle();
                let _ = answer.send(());
            }
            // Without a ledger no daemon is known.
            Request::Command { answer, .. } if self.restore.is_some() => {
                let _ = answer.send(Vec::new());
            }
            Request::Command {
                action,
                targets,
                hold,
                answer,
            } => {
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                self.tickets.insert(ticket, answer);
                self.inputs.push_back(Input::Command {
                    ticket,
                    action,
                    targets,
                    hold,
                });
            }
            Request::Forget(id, answer) => {
                self.forget(id);
                let _ = answer.send(());
            }
            Request::StopDaemons => {
                if self.stage == Stage::Serving {
                    tracing::info!("stopping every daemon, as asked");
                    self.stage = Stage::Stopping;
                    self.inputs
                        .push_back(Input::Shutdown { stop_daemons: true });
                }
            }
        }
    }

    fn forget(&mut self, id: DaemonId) {
        if self.board.daemon(&id).is_some_and(|entry| entry.gone) {
            self.board.remove(&id);
            self.specs.remove(&id);
            self.owners.remove(&id);
            self.logs.forget(id);
            self.journal.forget(id);
        }
    }

    /// Notes what the complete set says besides what the engine notes.
    fn know(&mut self, set: &[DesiredDaemon]) {
        let intents = set.iter().map(|d| (d.id, d.intent_generation)).collect();
        self.board.set_intents(intents);
        let mut users = BTreeSet::new();
        for daemon in set {
            users.insert(daemon.spec.user().to_owned());
            let old = self.specs.insert(daemon.id, Arc::clone(&daemon.spec));
            if old.as_ref() != Some(&daemon.spec) {
                self.changed.insert(daemon.id);
            }
        }
        for user in users {
            self.queries.user(user);
        }
    }

    /// Tells the engine what happened, does what it says, until it has nothing more to say; then publishes.
    fn settle(&mut self) {
        while self.restore.is_none()
            && let Some(input) = self.inputs.pop_front()
        {
            self.engine.handle(clock::now(), input);
            while let Some(effect) = self.engine.poll_effect() {
                self.carry_out(effect);
            }
        }
        self.publish();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn {
                run,
                spec,
                restart_generation,
            } => {
                let order = StartOrder {
                    run,
                    spec,
                    restart_generation,
                };
                if let Err(order) = self.spawners.submit(order) {
                    self.backlog.push_back(order);
                }
            }
            Effect::Signal { run, signal } => {
                if let (Some(live), Some(signal)) = (self.runs.get(&run), known(signal)) {
                    live.signal(signal);
                }
            }
            Effect::SignalTree { run, signal } => {
                if let (Some(live), Some(signal)) = (self.runs.get(&run), known(signal)) {
                    live.tree.signal(signal);
                }
            }
            Effect::KillTree { run } => self.kill_tree(run),
            Effect::Check {
                daemon,
                revision,
                spec,
            } => self.queries.check(daemon, revision, spec),
            Effect::HoldEnded { daemon } => self.journal.hold_ended(daemon),
            Effect::Settled {
                daemon,
                restart_generation,
                outcome,
            } => self.journal.settled(daemon, restart_generation, outcome),
            Effect::Changed { daemon } => {
                self.changed.insert(daemon);
            }
            Effect::Gone { daemon } => self.on_gone(daemon),
            Effect::Reply { ticket, outcomes } => {
                if let Some(answer) = self.tickets.remove(&ticket) {
                    // Whoever asked may have gone.
                    let _ = answer.send(outcomes);
                }
            }
            Effect::Terminated => {
                if self.stage == Stage::Stopping {
                    tracing::info!("every daemon is stopped");
                }
            }
        }
    }

    fn on_gone(&mut self, daemon: DaemonId) {
        self.changed.remove(&daemon);
        self.journal.forget(daemon);
        let Some(entry) = self.board.daemon(&daemon) else {
            return;
        };
        let mut entry = DaemonEntry::clone(&entry);
        entry.view.state = zhylon_shared::state::aggregate([]);
        entry.view.instances.clear();
        entry.view.hold = None;
        entry.view.converged = true;
        entry.gone = true;
        self.board.publish(vec![entry]);
    }

    fn publish(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        let entries = changed.iter().filter_map(|id| {
            let view = self.engine.view(id)?;
            let spec = match self.specs.get(id) {
                Some(spec) => Arc::clone(spec),
                None => unknown_spec()?,
            };
            Some(DaemonEntry {
                uid: self.uids.get(spec.user()).copied(),
                view,
                spec,
                version: 0,
                gone: false,
            })
        });
        self.board.publish(entries.collect());
    }
}

/// What stands for the spec of a daemon that was deleted while no worker ran: its instances are being stopped.
fn unknown_spec() -> Option<Arc<DaemonSpec>> {
    let draft = SpecDraft {
        command: "unknown".to_owned(),
        ..SpecDraft::default()
    };
    DaemonSpec::check(draft).ok().map(Arc::new)
}

/// Signals come from specs and from operators; both were checked.
fn known(signal: i32) -> Option<Signal> {
    let known = Signal::from_named_raw(signal);
    if known.is_none() {
        tracing::warn!(signal, "there is no such signal");
    }
    known
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
