//! The tokio shell around the engine: one task owns it, everyone else holds a [`SupervisorHandle`].
//!
//! Owns the engine, the runs there are (pidfds, trees, FIFOs' names) and the board everybody reads. Must never decide
//! what should happen next (that is the engine's), never wait for a disk, a home or a name service, and never kill by a
//! bare pid.
//!
//! | module | owns |
//! |---|---|
//! | [`core`] | the loop: what happened → engine → effects → board |
//! | [`runs`] | the runs there are and the one epoll descriptor they are waited for with |
//! | [`ends`] | from "its pidfd is readable" to "nothing of it is left" |
//! | [`ended`] | what the next worker should know of instances without a process |
//! | [`restore`] | what a dead worker left: run records, cgroups, FIFOs |
//! | [`queries`] | questions that may take long: users, checks |
//! | [`board`] | the newest state of every daemon, for readers |
//! | [`clock`] | engine time |
//! | [`usage`] | what instances use of CPU and memory |
//! | [`events`] | what happened, until the api-server has it |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::{Action, CommandTarget, DesiredDaemon, Hold, Slot};
use host_agent_engine::time::Time;
use host_agent_engine::view::DaemonView;
use tokio::sync::{mpsc, oneshot, watch};
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::DesiredState;

use self::board::Board;
use crate::journal::{Journal, LedgerHold, NewHold};

mod board;
mod clock;
mod core;
mod ended;
mod ends;
mod events;
mod queries;
mod restore;
mod runs;
mod usage;

pub(crate) use self::core::{Core, Setup};
pub(crate) use self::events::{EventKind, Events, HostEvent};
pub(crate) use self::usage::Usage;

/// Requests on their way to the owner. Full: the asker waits; the owner never does.
const REQUESTS_MAX: usize = 64;

/// One daemon as the host last saw it.
#[derive(Debug, Clone)]
pub(crate) struct DaemonEntry {
    /// The engine's view.
    pub(crate) view: DaemonView,
    /// Its spec (the newest desired one).
    pub(crate) spec: Arc<DaemonSpec>,
    /// What its instances use, by index.
    pub(crate) usage: BTreeMap<u32, Usage>,
    /// The uid its user has here; `None` if there is no such user.
    pub(crate) uid: Option<u32>,
    /// Board version in which it last changed.
    pub(crate) version: u64,
    /// It was deleted and nothing of it is left; kept until [`SupervisorHandle::forget`].
    pub(crate) gone: bool,
}

/// Who asks, for holds and logs.
#[derive(Debug, Clone)]
pub(crate) struct Operator {
    /// For people: `root (uid 0)`, `anna (uid 1001)`, `anna (uid 1001) as root through sudo`.
    pub(crate) name: String,
}

/// Why a local request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The hold could not be written; nothing was done.
    #[error(transparent)]
    Journal(#[from] crate::journal::JournalError),
    /// The worker is ending.
    #[error("the agent is shutting down")]
    ShuttingDown,
}

/// What became of a command's slots.
type Outcomes = Vec<(Slot, CommandOutcome)>;

/// What a handle asks of the owner. An answer that does not come means that the owner is ending.
#[derive(Debug)]
enum Request {
    Desire(Vec<DesiredDaemon>, oneshot::Sender<()>),
    Command {
        action: Action,
        targets: Vec<CommandTarget>,
        hold: Option<Hold>,
        answer: oneshot::Sender<Outcomes>,
    },
    Forget(DaemonId, oneshot::Sender<()>),
    StopDaemons,
}

/// The only door to the engine.
#[derive(Debug, Clone)]
pub(crate) struct SupervisorHandle {
    requests: mpsc::Sender<Request>,
    board: Arc<Board>,
    journal: Journal,
    events: Events,
}

impl SupervisorHandle {
    /// Hands over the complete set, already durable in the ledger.
    pub(crate) async fn desire(&self, set: Vec<DesiredDaemon>) -> Result<(), Refused> {
        self.ask(|answer| Request::Desire(set, answer)).await
    }

    /// Carries out a local request: writes the hold if there is one, acts, and returns when every addressed instance
    /// settled.
    pub(crate) async fn command(
        &self,
        action: Action,
        targets: Vec<CommandTarget>,
        by: Operator,
    ) -> Result<Vec<(Slot, CommandOutcome)>, Refused> {
        let targets: Vec<_> = targets.into_iter().map(|t| self.widened(t)).collect();
        let state = match action {
            Action::Stop => Some(DesiredState::Stopped),
            Action::Start | Action::Restart => Some(DesiredState::Running),
            Action::Signal(_) => None,
        };
        let mut hold = None;
        if let Some(state) = state {
            let mut holds = self.holds(&targets, state, &by);
            hold = holds.first().map(|(_, _, hold)| Hold::from(hold));
            holds.retain(|hold| !self.overrides_nothing(hold));
            if !holds.is_empty() {
                // Persist, then act.
                self.journal.store_holds(holds).await?;
            }
        }
        tracing::info!(by = by.name, ?action, ?targets, "local command");
        self.events.asked(&action, &targets, &by.name);
        self.ask(|answer| Request::Command {
            action,
            targets,
            hold,
            answer,
        })
        .await
    }

    /// All daemons, newest state, ordered by id.
    pub(crate) fn snapshot(&self) -> BTreeMap<DaemonId, Arc<DaemonEntry>> {
        self.board.snapshot()
    }

    /// One daemon.
    pub(crate) fn daemon(&self, id: &DaemonId) -> Option<Arc<DaemonEntry>> {
        self.board.daemon(id)
    }

    /// The board's version: raised with every change; wait on it, then compare entries' versions.
    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.board.version()
    }

    /// What happened on this host.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// The api-server knows that this daemon is gone.
    pub(crate) async fn forget(&self, id: DaemonId) {
        // If the owner is ending there is nobody left who would remember.
        let _ = self.ask(|answer| Request::Forget(id, answer)).await;
    }

    /// Stops every daemon with its own signal and grace and starts none until the worker is started anew. Desired states
    /// and holds stay as they are. Returns at once.
    pub(crate) async fn stop_daemons(&self) {
        // If the owner is ending it is too late, and whoever asked sees that the daemons still run.
        let _ = self.requests.send(Request::StopDaemons).await;
    }

    /// Wall-clock time of an engine time.
    #[expect(
        clippy::unused_self,
        reason = "times come from the engine behind this handle; another one's would mean nothing"
    )]
    pub(crate) fn wall(&self, time: Time) -> SystemTime {
        clock::wall(time)
    }

    /// The only instance of a daemon is the daemon: what is asked of it is asked of all there may ever be.
    fn widened(&self, target: CommandTarget) -> CommandTarget {
        match target {
            CommandTarget::Instance(Slot { daemon, index: 0 })
                if self
                    .daemon(&daemon)
                    .is_some_and(|entry| entry.spec.processes() == 1) =>
            {
                CommandTarget::Daemon(daemon)
            }
            target => target,
        }
    }

    /// The holds that a command writes. One on a whole daemon stands for those on its instances.
    fn holds(&self, targets: &[CommandTarget], state: DesiredState, by: &Operator) -> Vec<NewHold> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let time_ms = now.map_or(0, |since| since.as_millis());
        let whole = |daemon: &DaemonId| targets.contains(&CommandTarget::Daemon(*daemon));
        let held: BTreeSet<(DaemonId, Option<u32>)> = targets
            .iter()
            .map(|target| match target {
                CommandTarget::Daemon(daemon) => (*daemon, None),
                CommandTarget::Instance(slot) if whole(&slot.daemon) => (slot.daemon, None),
                CommandTarget::Instance(slot) => (slot.daemon, Some(slot.index)),
            })
            .collect();
        let hold = |(daemon, index)| {
            let hold = LedgerHold {
                state,
                by: by.name.clone(),
                time_ms: u64::try_from(time_ms).unwrap_or(u64::MAX),
                intent_generation: self.board.intent_generation(&daemon)?,
            };
            Some((daemon, index, hold))
        };
        held.into_iter().filter_map(hold).collect()
    }

    /// Whether a hold would say what is desired anyway, as in the restart of every deploy: it is none then, and the ledger
    /// need not be written (twice) for it. Should an intent or another command come in between, the engine weighs this
    /// hold against it as it weighs any, and the journal hears of each that it ends.
    fn overrides_nothing(&self, (daemon, _, hold): &NewHold) -> bool {
        self.daemon(daemon).is_some_and(|entry| {
            let view = &entry.view;
            let held = view.hold.is_some() || view.instances.iter().any(|one| one.hold.is_some());
            view.desired == hold.state && !held
        })
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Refused> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(request(answer)).await;
        sent.map_err(|_| Refused::ShuttingDown)?;
        answered.await.map_err(|_| Refused::ShuttingDown)
    }
}
