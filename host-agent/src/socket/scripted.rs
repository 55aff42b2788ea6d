//! A scripted door: daemons that do as told, for tests and fuzz targets.

#![expect(clippy::unwrap_used, reason = "never part of a program")]

mod log;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::{Action, CommandTarget, Exit, Slot};
use host_agent_engine::time::Time;
use host_agent_engine::view::{DaemonView, InstanceView, LastExit};
use tokio::sync::watch;
use zhylon_shared::id::DaemonId;
use zhylon_shared::name;
use zhylon_shared::spec::{DaemonSpec, SpecDraft};
use zhylon_shared::state::{DesiredState, InstanceState, aggregate};

use self::log::ScriptedLog;
use super::admission::Admission;
use super::localtime::Zone;
use super::peer::{Peer, Rights};
use super::session::Session;
use crate::own_log::OwnLog;
use crate::socket::door::Door;
use crate::supervisor::{DaemonEntry, Operator, Refused};

pub(crate) fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

/// An id that starts with `text`.
pub(crate) fn id(text: &str) -> DaemonId {
    DaemonId::from_bare(&format!("{text:0<18}")).unwrap()
}

/// The daemons and what they do.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) daemons: BTreeMap<DaemonId, Scripted>,
    /// What was asked, by whom.
    pub(crate) asked: Vec<(Action, Vec<CommandTarget>, String)>,
    /// Commands are refused.
    pub(crate) shutting_down: bool,
    /// Of all logs together.
    pub(crate) bytes_read: usize,
    pids: i32,
}

/// One daemon.
#[derive(Debug, Clone)]
pub(crate) struct Scripted {
    pub(crate) entry: DaemonEntry,
    /// What a start comes to instead of running.
    pub(crate) fails: Option<CommandOutcome>,
    /// Commands take effect and are never answered.
    pub(crate) hangs: bool,
    /// Commands take no effect and are never answered.
    pub(crate) deaf: bool,
    pub(crate) log: Option<Vec<u8>>,
    /// Bytes of the log that are gone.
    pub(crate) lost: u64,
    /// Clearing its log fails.
    pub(crate) stuck: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    pub(crate) own_log: OwnLog,
    changes: watch::Sender<u64>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            world: Arc::default(),
            own_log: OwnLog::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// Adds a daemon of this process' own user, all instances in `state`.
    pub(crate) fn add(&self, name: &str, processes: u32, state: InstanceState) -> DaemonId {
        let id = id(name);
        let instances = (0..processes)
            .map(|index| InstanceView {
                index,
                generation: u64::from(state != InstanceState::Stopped),
                pid: 0,
                state,
                since: Time::ZERO,
                started: (state != InstanceState::Stopped).then_some(Time::ZERO),
                restart_count: 0,
                last_exit: None,
                next_start: None,
                hold: None,
            })
            .collect();
        let spec = DaemonSpec::check(SpecDraft {
            command: "/bin/server --port 1".into(),
            processes: Some(processes.into()),
            user: Some("anna".into()),
            stop_seconds: Some(0),
            start_seconds: Some(0),
            ..SpecDraft::default()
        });
        let scripted = Scripted {
            entry: DaemonEntry {
                usage: Default::default(),
                view: DaemonView {
                    id,
                    state,
                    desired: DesiredState::Running,
                    hold: None,
                    revision: 1,
                    converged: true,
                    settled_restart_generation: 0,
                    restart_outcome: None,
                    message: String::new(),
                    instances,
                },
                spec: Arc::new(spec.unwrap()),
                uid: Some(own_uid()),
                version: 1,
                gone: false,
            },
            fails: None,
            hangs: false,
            deaf: false,
            log: None,
            lost: 0,
            stuck: false,
        };
        self.change(|world| {
            world.daemons.insert(id, scripted);
            let pids = &mut world.pids;
            for instance in &mut world.daemons.get_mut(&id).unwrap().entry.view.instances {
                if state.has_process() {
                    *pids += 1;
                    instance.pid = 40_000 + *pids;
                }
            }
        });
        id
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.world());
        self.changes.send_modify(|version| *version += 1);
        result
    }

    /// A peer of this process' own user.
    pub(crate) fn session(&self) -> Session<Self> {
        let uid = own_uid();
        let rights = match uid {
            0 => Rights::All,
            uid => Rights::Of(uid),
        };
        let peer = Peer {
            uid,
            rights,
            name: None,
        };
        Session {
            door: self.clone(),
            peer: Rc::new(peer),
            zone: Rc::new(Zone::default()),
            commands: Admission::new(16, 256, 64),
        }
    }

    /// Changes one daemon.
    pub(crate) fn edit(&self, id: DaemonId, change: impl FnOnce(&mut Scripted)) {
        self.change(|world| change(world.daemons.get_mut(&id).unwrap()));
    }
}

impl World {
    fn act(&mut self, action: &Action, slot: Slot) -> CommandOutcome {
        let Some(daemon) = self.daemons.get_mut(&slot.daemon) else {
            return CommandOutcome::BadName;
        };
        daemon.entry.version += 1;
        let (fails, view) = (daemon.fails, &mut daemon.entry.view);
        let Some(one) = view
            .instances
            .iter_mut()
            .find(|one| one.index == slot.index)
        else {
            return CommandOutcome::BadName;
        };
        use InstanceState::{Backoff, Fatal, Running, Starting, Stopped};
        let up = matches!(one.state, Running | Starting | Backoff);
        let outcome = match (action, up) {
            (Action::Signal(_), _) if !one.state.has_process() => CommandOutcome::NotRunning,
            (Action::Signal(_), _) => return CommandOutcome::Done,
            (Action::Start, true) => CommandOutcome::AlreadyStarted,
            (Action::Stop, false) => CommandOutcome::NotRunning,
            (Action::Stop, true) => {
                one.state = Stopped;
                one.pid = 0;
                one.last_exit = Some(LastExit {
                    exit: Some(Exit::Signal(15)),
                    killed_after_grace: false,
                    time: Time::ZERO,
                    message: "signal 15".into(),
                });
                CommandOutcome::Done
            }
            (Action::Start | Action::Restart, _) => match fails {
                Some(outcome) => {
                    // As with Supervisor: what can not be started at all is not even tried.
                    if outcome == CommandOutcome::SpawnError {
                        one.state = Fatal;
                    }
                    outcome
                }
                None => {
                    self.pids += 1;
                    one.pid = 40_000 + self.pids;
                    one.state = Running;
                    one.generation += 1;
                    one.started = Some(Time::ZERO);
                    CommandOutcome::Done
                }
            },
        };
        view.state = aggregate(view.instances.iter().map(|one| one.state));
        outcome
    }

    fn is_deaf(&self, targets: &[CommandTarget]) -> bool {
        let slots = self.slots(targets);
        slots.iter().any(|slot| self.daemons[&slot.daemon].deaf)
    }

    fn slots(&self, targets: &[CommandTarget]) -> Vec<Slot> {
        let all = |daemon: DaemonId| {
            let indexes = self.daemons[&daemon].entry.view.instances.iter();
            indexes.map(move |one| Slot {
                daemon,
                index: one.index,
            })
        };
        targets
            .iter()
            .flat_map(|target| match target {
                CommandTarget::Daemon(id) => all(*id).collect(),
                CommandTarget::Instance(slot) => vec![*slot],
            })
            .collect()
    }
}

impl Door for Fake {
    type Log = ScriptedLog;

    fn log_rotation(&self) -> crate::logs::Rotation {
        crate::logs::Rotation::default()
    }

    fn own_log(&self) -> OwnLog {
        self.own_log.clone()
    }

    fn daemons(&self) -> BTreeMap<DaemonId, Arc<DaemonEntry>> {
        let world = self.world();
        let entries = world.daemons.iter();
        entries
            .map(|(id, one)| (*id, Arc::new(one.entry.clone())))
            .collect()
    }

    fn daemon(&self, id: &DaemonId) -> Option<Arc<DaemonEntry>> {
        let world = self.world();
        world.daemons.get(id).map(|one| Arc::new(one.entry.clone()))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn wall(&self, _time: Time) -> SystemTime {
        SystemTime::now() - Duration::from_secs(6)
    }

    async fn command(
        &self,
        action: Action,
        targets: Vec<CommandTarget>,
        by: Operator,
    ) -> Result<Vec<(Slot, CommandOutcome)>, Refused> {
        if self.world().is_deaf(&targets) {
            std::future::pending::<()>().await;
        }
        let (outcomes, hangs) = self.change(|world| {
            world.asked.push((action.clone(), targets.clone(), by.name));
            if world.shutting_down {
                return Err(Refused::ShuttingDown);
            }
            let slots = world.slots(&targets);
            let hangs = slots.iter().any(|slot| world.daemons[&slot.daemon].hangs);
            let outcomes = slots
                .into_iter()
                .map(|slot| (slot, world.act(&action, slot)));
            Ok((outcomes.collect(), hangs))
        })?;
        if hangs {
            std::future::pending::<()>().await;
        }
        Ok(outcomes)
    }

    fn log_file(&self, daemon: &DaemonId) -> Option<PathBuf> {
        Some(Path::new("/home/anna/.zhylon").join(name::log_file(daemon)))
    }

    async fn clear_log(&self, daemon: DaemonId) -> io::Result<()> {
        self.change(|world| {
            let one = world.daemons.get_mut(&daemon).unwrap();
            if one.stuck {
                return Err(io::Error::other("stuck"));
            }
            one.lost = one.log.as_ref().map_or(0, Vec::len) as u64;
            Ok(())
        })
    }

    async fn log(&self, daemon: DaemonId) -> io::Result<Option<ScriptedLog>> {
        let has_log = self.world().daemons[&daemon].log.is_some();
        Ok(has_log.then(|| ScriptedLog::new(self.clone(), daemon, self.changes.subscribe())))
    }
}
