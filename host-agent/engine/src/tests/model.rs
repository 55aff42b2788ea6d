//! Random histories of a host against a reference so naive that it only knows what should be true in the end.
//!
//! What must hold at every moment (one run per slot, fresh generations, one answer per ticket, no start after a
//! shutdown, announcements, deadlines ahead) is checked by the simulation with every input; see [`super::sim`].

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use zhylon_shared::state::{DesiredState, InstanceState, RestartStrategy};

use super::sim::*;
use crate::input::*;

/// Daemons `1..=DAEMONS`, each with its own habit.
pub(super) const DAEMONS: u8 = 4;

#[derive(Debug, Clone, Default)]
pub(super) struct Reference {
    daemons: BTreeMap<u8, Daemon>,
    over: bool,
}

#[derive(Debug, Clone)]
struct Daemon {
    version: u8,
    processes: u32,
    desired: bool,
    hold: Option<bool>,
    operators: BTreeMap<u32, bool>,
    restarts: i64,
}

impl Daemon {
    fn runs(&self, index: u32) -> bool {
        let held = self.hold.unwrap_or(self.desired);
        self.operators.get(&index).copied().unwrap_or(held)
    }

    fn api(&mut self, desired: bool) {
        (self.desired, self.hold) = (desired, None);
        self.operators.clear();
    }

    fn local(&mut self, wanted: bool) {
        self.hold = (wanted != self.desired).then_some(wanted);
        self.operators.clear();
    }

    fn local_one(&mut self, index: u32, wanted: bool) {
        self.operators.remove(&index);
        if wanted != self.hold.unwrap_or(self.desired) {
            self.operators.insert(index, wanted);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Create(u8),
    Delete(u8),
    /// Version and processes.
    Update(u8, u8, u32),
    ApiStart(u8),
    ApiStop(u8),
    ApiRestart(u8, RestartStrategy),
    Local(u8, Action),
    /// Instances 0 and 1, which are always there.
    LocalOne(u8, u32, Action),
    /// The main process of a slot ends.
    End(u8, u32, i32),
    /// From now on its program can (not) be spawned.
    Spawns(u8, bool),
    /// From now on its spec does (not) resolve.
    Resolves(u8, bool),
    Pass(u64),
    KillWorker,
    /// The host starts anew: no process, no notes.
    Reboot,
    /// An older database is restored; see [`counters`].
    Epoch(u8),
    Shutdown,
}

/// What a restored database says of a daemon: intent generation, restart generation. Sometimes less, sometimes more.
fn counters(seed: u8, n: u8) -> (i64, i64) {
    let (seed, n) = (i64::from(seed), i64::from(n));
    (1 + (seed * 7 + n) % 50, (seed * 3 + n) % 9)
}

pub(super) fn strategy(rolling: bool) -> RestartStrategy {
    match rolling {
        true => RestartStrategy::Rolling,
        false => RestartStrategy::AllAtOnce,
    }
}

fn wants_to_run(action: &Action) -> Option<bool> {
    match action {
        Action::Start | Action::Restart => Some(true),
        Action::Stop => Some(false),
        Action::Signal(_) => None,
    }
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let n = 1..=DAEMONS;
        let action = prop_oneof![
            Just(Action::Start),
            Just(Action::Stop),
            Just(Action::Restart),
            Just(Action::Signal(10)),
        ];
        prop_oneof![
            12 => n.clone().prop_map(Step::Create),
            4 => n.clone().prop_map(Step::Delete),
            12 => (n.clone(), 0..3_u8, 2..5_u32).prop_map(|(n, v, p)| Step::Update(n, v, p)),
            8 => n.clone().prop_map(Step::ApiStart),
            8 => n.clone().prop_map(Step::ApiStop),
            12 => (n.clone(), any::<bool>()).prop_map(|(n, rolling)| Step::ApiRestart(n, strategy(rolling))),
            20 => (n.clone(), action.clone()).prop_map(|(n, a)| Step::Local(n, a)),
            12 => (n.clone(), 0..2_u32, action).prop_map(|(n, i, a)| Step::LocalOne(n, i, a)),
            20 => (n.clone(), 0..4_u32, 0..2_i32).prop_map(|(n, i, c)| Step::End(n, i, c)),
            4 => (n.clone(), any::<bool>()).prop_map(|(n, on)| Step::Spawns(n, on)),
            4 => (n, any::<bool>()).prop_map(|(n, on)| Step::Resolves(n, on)),
            36 => prop_oneof![0..20_u64, 0..3000_u64, 0..90_000_u64].prop_map(Step::Pass),
            4 => Just(Step::KillWorker),
            2 => Just(Step::Reboot),
            2 => any::<u8>().prop_map(Step::Epoch),
            1 => Just(Step::Shutdown),
        ]
        .boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        if let Step::Create(n) = step
            && !state.daemons.contains_key(n)
        {
            let (hold, operators) = (None, BTreeMap::new());
            let new = Daemon {
                version: 0,
                processes: 2,
                desired: true,
                hold,
                operators,
                restarts: 0,
            };
            state.daemons.insert(*n, new);
        }
        let mut with = |n: &u8, change: &dyn Fn(&mut Daemon)| {
            if let Some(daemon) = state.daemons.get_mut(n) {
                change(daemon);
            }
        };
        match step {
            Step::Update(n, version, processes) => {
                with(n, &|d| (d.version, d.processes) = (*version, *processes));
            }
            Step::ApiStart(n) => with(n, &|d| d.api(true)),
            Step::ApiStop(n) => with(n, &|d| d.api(false)),
            Step::ApiRestart(n, _) => with(n, &|d| {
                d.api(true);
                d.restarts += 1;
            }),
            Step::Local(n, action) => {
                if let Some(wanted) = wants_to_run(action) {
                    with(n, &|d| d.local(wanted));
                }
            }
            Step::LocalOne(n, index, action) => {
                if let Some(wanted) = wants_to_run(action) {
                    with(n, &|d| d.local_one(*index, wanted));
                }
            }
            Step::Delete(n) => drop(state.daemons.remove(n)),
            Step::Shutdown => state.over = true,
            Step::Epoch(seed) => {
                for (n, daemon) in &mut state.daemons {
                    daemon.restarts = counters(*seed, *n).1;
                }
            }
            Step::Create(_)
            | Step::End(..)
            | Step::Spawns(..)
            | Step::Resolves(..)
            | Step::Pass(_)
            | Step::KillWorker
            | Step::Reboot => {}
        }
        state
    }
}

fn versioned(version: u8, processes: u32) -> std::sync::Arc<zhylon_shared::spec::DaemonSpec> {
    spec(|d| {
        d.command = format!("serve v{version}");
        d.processes = Some(processes.into());
        d.stop_seconds = Some(2);
    })
}

/// Steps are drawn blindly; those about what is not there are left out.
fn is_possible(sim: &Sim, step: &Step) -> bool {
    match step {
        Step::Create(n) => !sim.want.contains_key(&id(*n)),
        Step::Delete(n)
        | Step::Update(n, _, _)
        | Step::ApiStart(n)
        | Step::ApiStop(n)
        | Step::ApiRestart(n, _) => sim.want.contains_key(&id(*n)),
        Step::LocalOne(n, _, _) | Step::Local(n, _) => {
            !sim.terminated && sim.want.contains_key(&id(*n))
        }
        Step::End(n, _, _) => sim.engine.view(&id(*n)).is_some(),
        Step::KillWorker | Step::Reboot | Step::Epoch(_) => !sim.shut_down,
        Step::Spawns(..) | Step::Resolves(..) | Step::Pass(_) | Step::Shutdown => true,
    }
}

struct Host;

impl StateMachineTest for Host {
    type SystemUnderTest = Sim;
    type Reference = Reference;

    fn init_test(_: &Reference) -> Sim {
        host()
    }

    fn apply(sim: Sim, _: &Reference, step: Step) -> Sim {
        take(sim, step)
    }

    fn teardown(mut sim: Sim, reference: Reference) {
        mend(&mut sim);
        sim.settle();
        resume(&mut sim, &reference);
        sim.settle();
        assert_eq!(sim.engine.next_deadline(), None);
        check(&sim, &reference);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_ends_as_it_should(sequential 1..60 => Host);
}

/// A host whose daemons, once there, behave in four ways.
pub(super) fn host() -> Sim {
    let mut sim = Sim::new();
    let habits = [
        Habit::default(),
        Habit {
            spawn_takes: MS * 700,
            obeys: None,
            ..Habit::default()
        },
        Habit {
            orphans: Orphans::Obey(MS * 300),
            ..Habit::default()
        },
        Habit {
            orphans: Orphans::Ignore,
            obeys: Some(SEC),
            ..Habit::default()
        },
    ];
    for (n, habit) in (1..=DAEMONS).zip(habits) {
        sim.habits.insert(id(n), habit);
    }
    sim
}

/// Carries a step out.
pub(super) fn take(mut sim: Sim, step: Step) -> Sim {
    if !is_possible(&sim, &step) {
        return sim;
    }
    let mut habit = |n: u8, change: &dyn Fn(&mut Habit)| {
        change(sim.habits.get_mut(&id(n)).unwrap());
    };
    match step {
        Step::Create(n) => sim.create(n, versioned(0, 2)),
        Step::Delete(n) => sim.delete(n),
        Step::Update(n, version, processes) => sim.update(n, versioned(version, processes)),
        Step::ApiStart(n) => sim.api_start(n),
        Step::ApiStop(n) => sim.api_stop(n),
        Step::ApiRestart(n, strategy) => sim.api_restart_by(n, strategy),
        Step::Local(n, action) => drop(sim.command(action, &[n])),
        Step::LocalOne(n, index, action) => drop(sim.command_one(action, n, index)),
        Step::End(n, index, code) => {
            if sim
                .view(n)
                .instances
                .iter()
                .any(|i| i.index == index && i.pid != 0)
            {
                sim.end(n, index, Exit::Code(code));
            }
        }
        Step::Spawns(n, true) => habit(n, &|h| h.spawn_fails = None),
        Step::Spawns(n, false) => habit(n, &|h| h.spawn_fails = Some(no_file())),
        Step::Resolves(n, true) => habit(n, &|h| h.resolves = Ok(())),
        Step::Resolves(n, false) => habit(n, &|h| h.resolves = Err(no_file())),
        Step::Pass(ms) => sim.pass(std::time::Duration::from_millis(ms)),
        Step::KillWorker => sim.kill_worker(),
        Step::Reboot => sim.reboot(),
        Step::Epoch(seed) => {
            let of = |n| counters(seed, n);
            sim.new_epoch(1 + i64::from(seed % 20), (1..=DAEMONS).map(|n| (n, of(n))));
        }
        Step::Shutdown => sim.feed(Input::Shutdown { stop_daemons: true }),
    }
    sim
}

/// Whatever was broken works.
pub(super) fn mend(sim: &mut Sim) {
    for habit in sim.habits.values_mut() {
        (habit.spawn_fails, habit.resolves) = (None, Ok(()));
    }
}

/// What a rollout left behind stays so until the daemon is written again.
pub(super) fn resume(sim: &mut Sim, reference: &Reference) {
    for n in reference.daemons.keys().filter(|_| !reference.over) {
        if sim.view(*n).message.starts_with("rollout stopped") {
            sim.write(*n, |_| {});
        }
    }
}

/// What should be true in the end is.
pub(super) fn check(sim: &Sim, reference: &Reference) {
    assert_eq!(sim.unanswered(), 0, "unanswered");
    if reference.over {
        assert!(sim.terminated && sim.children.is_empty());
        return;
    }
    assert_eq!(sim.engine.daemons().count(), reference.daemons.len());
    for (n, daemon) in &reference.daemons {
        let view = sim.view(*n);
        assert!(view.converged, "{view:#?}");
        let expected: Vec<InstanceState> = (0..daemon.processes)
            .map(|index| match daemon.runs(index) {
                true => InstanceState::Running,
                false => InstanceState::Stopped,
            })
            .collect();
        assert_eq!(sim.states(*n), expected, "daemon {n}");
        let running = |state| state == DesiredState::Running;
        assert_eq!(view.hold.map(|hold| running(hold.state)), daemon.hold);
        let ledger = |index| {
            sim.holds
                .get(&(id(*n), index))
                .map(|hold| running(hold.state))
        };
        assert_eq!(ledger(None), daemon.hold, "the ledger's hold");
        for index in 0..4 {
            let own = daemon.operators.get(&index).copied();
            assert_eq!(ledger(Some(index)), own, "the ledger's hold on {index}");
        }
        assert_eq!(view.settled_restart_generation, daemon.restarts);
    }
    for (run, child) in &sim.children {
        let n = (1..=DAEMONS).find(|n| id(*n) == run.slot.daemon).unwrap();
        let command = format!("serve v{}", reference.daemons[&n].version);
        assert_eq!(child.spec.command(), command);
    }
}
