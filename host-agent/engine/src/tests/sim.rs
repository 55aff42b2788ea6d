//! A host in a box: the engine, children that are only habits, an api-server that is only counters, and virtual time.
//!
//! Whatever a test is about, every input checks what must hold always: see [`Sim::feed`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::{DaemonSpec, SpecDraft};
use zhylon_shared::state::{DesiredState, InstanceState, RestartOutcome, RestartStrategy};

use crate::Engine;
use crate::effect::{CommandOutcome, Effect};
use crate::input::*;
use crate::time::Time;
use crate::view::DaemonView;

mod host;
mod world;

pub(super) use host::{Habit, Orphans};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SEC: Duration = Duration::from_secs(1);

pub(super) fn id(n: u8) -> DaemonId {
    DaemonId::from_bare(&format!("{n:0>18}")).unwrap()
}

pub(super) fn slot(n: u8, index: u32) -> Slot {
    Slot {
        daemon: id(n),
        index,
    }
}

pub(super) fn spec(change: impl FnOnce(&mut SpecDraft)) -> Arc<DaemonSpec> {
    let mut draft = SpecDraft {
        command: "serve".to_owned(),
        ..SpecDraft::default()
    };
    change(&mut draft);
    Arc::new(DaemonSpec::check(draft).unwrap())
}

pub(super) fn no_file() -> StartError {
    let message = "exec /srv/serve: No such file or directory (os error 2)".to_owned();
    StartError {
        message,
        kind: StartErrorKind::NoFile,
    }
}

/// A run with anything of it left.
#[derive(Debug, Clone)]
pub(super) struct Child {
    pub(super) spawned: bool,
    pub(super) main: bool,
    pub(super) orphans: bool,
    pub(super) started: Time,
    pub(super) spec: Arc<DaemonSpec>,
    pub(super) restart_generation: i64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sim {
    pub(super) engine: Engine,
    pub(super) now: Time,
    /// What the api-server wants; changed by the methods of `world`.
    pub(super) want: BTreeMap<DaemonId, DesiredDaemon>,
    pub(super) revision: i64,
    /// The ledger's other half.
    pub(super) holds: BTreeMap<(DaemonId, Option<u32>), Hold>,
    pub(super) settled: BTreeMap<DaemonId, (i64, RestartOutcome)>,
    pub(super) stopped: BTreeMap<DaemonId, (i64, String)>,
    pub(super) habits: BTreeMap<DaemonId, Habit>,
    pub(super) children: BTreeMap<Run, Child>,
    agenda: BTreeMap<(Time, u64), Input>,
    entries: u64,
    newest_generation: u64,
    pub(super) shut_down: bool,
    pub(super) terminated: bool,
    next_ticket: u64,
    waiting: BTreeSet<Ticket>,
    replies: BTreeMap<Ticket, Vec<(Slot, CommandOutcome)>>,
    /// Everything the engine asked for, and when.
    pub(super) effects: Vec<(Time, Effect)>,
}

impl Sim {
    pub(super) fn new() -> Self {
        Self {
            engine: Engine::new(1),
            // Not the origin: an adopted run started before the worker.
            now: Time::new(Duration::from_secs(10_000)),
            want: BTreeMap::new(),
            revision: 0,
            holds: BTreeMap::new(),
            settled: BTreeMap::new(),
            stopped: BTreeMap::new(),
            habits: BTreeMap::new(),
            children: BTreeMap::new(),
            agenda: BTreeMap::new(),
            entries: 0,
            newest_generation: 0,
            shut_down: false,
            terminated: false,
            next_ticket: 0,
            waiting: BTreeSet::new(),
            replies: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// One input, its effects carried out, and what must hold always:
    /// effects come persist, act, announce; a view that changed is announced once, one that did not may be; the next
    /// deadline is in the future; nothing follows `Terminated`; without a request at most one running instance of a
    /// daemon is taken away at a time.
    pub(super) fn feed(&mut self, input: Input) {
        let before: BTreeMap<DaemonId, DaemonView> = self.views();
        let was_terminated = self.terminated;
        if matches!(input, Input::Shutdown { .. }) {
            self.shut_down = true;
        }
        let asked = !matches!(
            input,
            Input::Spawned { .. }
                | Input::SpawnFailed { .. }
                | Input::Exited { .. }
                | Input::TreeGone { .. }
                | Input::DeadlineReached
        );
        self.engine.handle(self.now, input);
        let mut announced = BTreeSet::new();
        let mut lane = 0;
        while let Some(effect) = self.engine.poll_effect() {
            assert!(!was_terminated, "after Terminated: {effect:?}");
            let this = rank(&effect);
            assert!(this >= lane, "out of order: {effect:?}");
            lane = this;
            if let Effect::Changed { daemon } | Effect::Gone { daemon } = &effect {
                assert!(announced.insert(*daemon), "announced twice: {effect:?}");
            }
            self.effects.push((self.now, effect.clone()));
            self.carry_out(effect);
        }
        let after = self.views();
        for daemon in before.keys().chain(after.keys()) {
            if before.get(daemon) != after.get(daemon) {
                assert!(
                    announced.contains(daemon),
                    "{daemon} changed and was not announced"
                );
            }
        }
        for (daemon, before) in before.iter().filter(|_| !asked) {
            let states = |view: &DaemonView| -> BTreeMap<u32, InstanceState> {
                let instances = view.instances.iter();
                instances.map(|one| (one.index, one.state)).collect()
            };
            let now = after.get(daemon).map(states).unwrap_or_default();
            let taken = states(before).into_iter().filter(|(index, state)| {
                *state == InstanceState::Running && now.get(index) == Some(&InstanceState::Stopping)
            });
            assert!(
                taken.count() <= 1,
                "{daemon} loses several at once: {now:?}"
            );
        }
        for view in after.values() {
            assert_eq!(view.converged, view.message.is_empty(), "{view:?}");
        }
        if let Some(deadline) = self.engine.next_deadline() {
            assert!(
                deadline > self.now,
                "deadline {deadline:?} at {:?}",
                self.now
            );
        }
    }

    /// Lets this much time pass.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.step(next);
        }
        self.now = end;
    }

    /// Lets time pass until nothing more would happen, or for 200 000 s.
    pub(super) fn settle(&mut self) {
        let end = self.now + SEC * 200_000;
        let mut steps = 0;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.step(next);
            steps += 1;
            assert!(
                steps < 20_000,
                "it never comes to rest: {:#?}",
                self.views()
            );
        }
    }

    /// Lets the next thing happen.
    pub(super) fn step_one(&mut self) {
        if let Some(next) = self.next() {
            self.step(next);
        }
    }

    fn next(&self) -> Option<Time> {
        let agenda = self.agenda.first_key_value().map(|((at, _), _)| *at);
        agenda.into_iter().chain(self.engine.next_deadline()).min()
    }

    fn step(&mut self, next: Time) {
        self.now = self.now.max(next);
        match self.agenda.first_key_value() {
            Some(((at, _), _)) if *at <= self.now => {
                let (_, input) = self.agenda.pop_first().unwrap();
                self.deliver(input);
            }
            _ => self.feed(Input::DeadlineReached),
        }
    }

    fn later(&mut self, after: Duration, input: Input) {
        self.entries += 1;
        self.agenda.insert((self.now + after, self.entries), input);
    }

    fn views(&self) -> BTreeMap<DaemonId, DaemonView> {
        self.engine
            .daemons()
            .map(|daemon| (daemon, self.engine.view(&daemon).unwrap()))
            .collect()
    }

    // What tests look at.

    pub(super) fn view(&self, n: u8) -> DaemonView {
        self.engine.view(&id(n)).expect("the daemon is there")
    }

    pub(super) fn states(&self, n: u8) -> Vec<InstanceState> {
        self.view(n)
            .instances
            .iter()
            .map(|instance| instance.state)
            .collect()
    }

    pub(super) fn state(&self, n: u8) -> InstanceState {
        self.view(n).state
    }

    pub(super) fn pids(&self, n: u8) -> Vec<i32> {
        self.view(n)
            .instances
            .iter()
            .map(|instance| instance.pid)
            .collect()
    }

    /// The newest run of a slot.
    pub(super) fn run(&self, n: u8, index: u32) -> Run {
        let view = self.view(n);
        let instance = view.instances.iter().find(|i| i.index == index).unwrap();
        Run {
            slot: slot(n, index),
            generation: instance.generation,
        }
    }

    /// The answer to a command, if there is one yet.
    pub(super) fn answer(&self, ticket: Ticket) -> Option<Vec<CommandOutcome>> {
        let reply = self.replies.get(&ticket)?;
        Some(reply.iter().map(|(_, outcome)| *outcome).collect())
    }

    pub(super) fn unanswered(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out the effects so far, without the announcements.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        let effects = std::mem::take(&mut self.effects)
            .into_iter()
            .map(|(_, effect)| effect);
        effects
            .filter(|effect| !matches!(effect, Effect::Changed { .. }))
            .collect()
    }

    /// When the spawns were asked for, since the first of them.
    pub(super) fn spawn_times(&self) -> Vec<Duration> {
        let spawns = self
            .effects
            .iter()
            .filter(|(_, e)| matches!(e, Effect::Spawn { .. }));
        let times: Vec<Time> = spawns.map(|(at, _)| *at).collect();
        times.iter().map(|at| at.since(times[0])).collect()
    }

    /// The pauses between the starts.
    pub(super) fn pauses(&self) -> Vec<Duration> {
        let pairs = self.spawn_times();
        pairs.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    pub(super) fn outcome(&self, n: u8) -> Option<(i64, RestartOutcome)> {
        let view = self.view(n);
        Some((view.settled_restart_generation, view.restart_outcome?))
    }

    pub(super) fn desired_state(&self, n: u8) -> DesiredState {
        self.want[&id(n)].state
    }
}

/// Persist, act, announce, answer.
fn rank(effect: &Effect) -> u8 {
    match effect {
        Effect::HoldEnded { .. }
        | Effect::HoldsRebased { .. }
        | Effect::RolloutStopped { .. }
        | Effect::Settled { .. } => 0,
        Effect::Spawn { .. }
        | Effect::Signal { .. }
        | Effect::SignalTree { .. }
        | Effect::KillTree { .. }
        | Effect::Check { .. } => 1,
        Effect::Changed { .. } => 2,
        Effect::Gone { .. } => 3,
        Effect::Reply { .. } => 4,
        Effect::Terminated => 5,
    }
}
