//! Those who want something: the api-server and the local operators, and a worker that is killed.

use super::*;

impl Sim {
    /// A host with one daemon.
    pub(in crate::tests) fn with(spec: Arc<DaemonSpec>) -> Self {
        Self::behaving(spec, Habit::default())
    }

    /// A host with one daemon whose processes behave like this.
    pub(in crate::tests) fn behaving(spec: Arc<DaemonSpec>, habit: Habit) -> Self {
        let mut sim = Self::new();
        sim.habits.insert(id(1), habit);
        sim.create(1, spec);
        sim
    }

    pub(in crate::tests) fn create(&mut self, n: u8, spec: Arc<DaemonSpec>) {
        let state = DesiredState::Running;
        let (intent_generation, restart_generation, revision) = (1, 0, 0);
        let id = id(n);
        self.settled.remove(&id);
        self.want.insert(
            id,
            DesiredDaemon {
                id,
                spec,
                state,
                intent_generation,
                restart_generation,
                restart_strategy: RestartStrategy::AllAtOnce,
                revision,
                claim: Claim::Written,
            },
        );
        self.write(n, |_| {});
    }

    /// One transaction of the api-server.
    pub(in crate::tests) fn write(&mut self, n: u8, change: impl FnOnce(&mut DesiredDaemon)) {
        self.revision += 1;
        let daemon = self.want.get_mut(&id(n)).unwrap();
        daemon.revision = self.revision;
        daemon.claim = Claim::Written;
        change(daemon);
        self.desire();
    }

    /// The first configuration of a new epoch, as the ledger has it.
    pub(in crate::tests) fn restored(&mut self, n: u8, change: impl FnOnce(&mut DesiredDaemon)) {
        change(self.want.get_mut(&id(n)).unwrap());
        self.desire();
    }

    pub(in crate::tests) fn desire(&mut self) {
        self.feed(Input::Desired(self.want.values().cloned().collect()));
    }

    pub(in crate::tests) fn update(&mut self, n: u8, spec: Arc<DaemonSpec>) {
        self.write(n, |daemon| daemon.spec = spec);
    }

    pub(in crate::tests) fn api_stop(&mut self, n: u8) {
        self.intend(n, DesiredState::Stopped, 0);
    }

    pub(in crate::tests) fn api_start(&mut self, n: u8) {
        self.intend(n, DesiredState::Running, 0);
    }

    pub(in crate::tests) fn api_restart(&mut self, n: u8) {
        self.api_restart_by(n, RestartStrategy::AllAtOnce);
    }

    pub(in crate::tests) fn api_restart_by(&mut self, n: u8, strategy: RestartStrategy) {
        self.want.get_mut(&id(n)).unwrap().restart_strategy = strategy;
        self.intend(n, DesiredState::Running, 1);
    }

    fn intend(&mut self, n: u8, state: DesiredState, restarts: i64) {
        self.write(n, |daemon| {
            daemon.state = state;
            daemon.intent_generation += 1;
            daemon.restart_generation += restarts;
        });
    }

    pub(in crate::tests) fn delete(&mut self, n: u8) {
        self.want.remove(&id(n));
        self.holds.retain(|(of, _), _| *of != id(n));
        self.desire();
    }

    /// A local command on whole daemons, with its hold in the ledger first.
    pub(in crate::tests) fn command(&mut self, action: Action, daemons: &[u8]) -> Ticket {
        let mut hold = None;
        for n in daemons {
            if let Some(written) = self.hold(&action, *n) {
                self.holds.retain(|(of, _), _| *of != id(*n));
                self.holds.insert((id(*n), None), written.clone());
                hold = Some(written);
            }
        }
        let targets = daemons
            .iter()
            .map(|n| CommandTarget::Daemon(id(*n)))
            .collect();
        self.request(action, targets, hold)
    }

    /// A local command on one instance, with its hold in the ledger first.
    pub(in crate::tests) fn command_one(&mut self, action: Action, n: u8, index: u32) -> Ticket {
        let hold = self.hold(&action, n);
        if let Some(written) = &hold {
            self.holds.insert((id(n), Some(index)), written.clone());
        }
        self.request(action, vec![CommandTarget::Instance(slot(n, index))], hold)
    }

    fn hold(&self, action: &Action, n: u8) -> Option<Hold> {
        Some(Hold {
            state: match action {
                Action::Stop => DesiredState::Stopped,
                Action::Start | Action::Restart => DesiredState::Running,
                Action::Signal(_) => return None,
            },
            by: "root".to_owned(),
            time_ms: 7,
            intent_generation: self.want.get(&id(n))?.intent_generation,
        })
    }

    pub(in crate::tests) fn request(
        &mut self,
        action: Action,
        targets: Vec<CommandTarget>,
        hold: Option<Hold>,
    ) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.waiting.insert(ticket);
        self.feed(Input::Command {
            ticket,
            action,
            targets,
            hold,
        });
        ticket
    }

    /// Kills the worker and starts the next one: what it knows is in the ledger and in the run records.
    pub(in crate::tests) fn kill_worker(&mut self) {
        // The notes of this boot.
        let past: Vec<Past> = self
            .engine
            .daemons()
            .flat_map(|daemon| self.engine.past(&daemon))
            .collect();
        self.kill_worker_with(past);
    }

    /// The host starts anew: what the ledger says is all there is.
    pub(in crate::tests) fn reboot(&mut self) {
        self.children.clear();
        self.agenda.clear();
        (self.shut_down, self.terminated) = (false, false);
        self.kill_worker_with(Vec::new());
    }

    /// An older database was restored: it is at this revision, and counts every daemon's intents and restarts so.
    pub(in crate::tests) fn new_epoch(
        &mut self,
        revision: i64,
        counters: impl Iterator<Item = (u8, (i64, i64))>,
    ) {
        self.revision = revision;
        for (n, (intent, restart)) in counters {
            if let Some(daemon) = self.want.get_mut(&id(n)) {
                (daemon.intent_generation, daemon.restart_generation) = (intent, restart);
                daemon.restart_strategy = RestartStrategy::AllAtOnce;
                (daemon.revision, daemon.claim) = (revision, Claim::Adopted { differs: false });
            }
        }
        self.desire();
    }

    /// The same with these notes.
    pub(in crate::tests) fn kill_worker_with(&mut self, past: Vec<Past>) {
        self.engine = Engine::new(2);
        self.waiting.clear();
        self.agenda
            .retain(|_, input| matches!(input, Input::Exited { .. } | Input::TreeGone { .. }));
        // What was being spawned runs; its helper needs no worker any more.
        let adopted = self.children.iter().map(|(run, child)| Adopted {
            run: *run,
            spec_hash: child.spec.instance_hash(),
            restart_generation: child.restart_generation,
            stop_signal: child.spec.stop_signal(),
            stop_seconds: child.spec.stop_seconds(),
            ran_for: self.now.since(child.started),
            pid: i32::try_from(run.generation).unwrap(),
        });
        let restore = Input::Restore {
            desired: self.want.values().cloned().collect(),
            holds: self
                .holds
                .iter()
                .map(|((id, index), hold)| (*id, *index, hold.clone()))
                .collect(),
            settled: self
                .settled
                .iter()
                .map(|(id, (g, outcome))| (*id, *g, *outcome))
                .collect(),
            stopped: self
                .stopped
                .iter()
                .map(|(id, (revision, why))| (*id, *revision, why.clone()))
                .collect(),
            adopted: adopted.collect(),
            past,
            first_generation: self.newest_generation + 1000,
        };
        let headless = self.children.iter().filter(|(_, child)| !child.main);
        let headless: Vec<Run> = headless.map(|(run, _)| *run).collect();
        self.feed(restore);
        for run in headless {
            self.feed(Input::Exited {
                run,
                exit: Exit::Unknown,
                tree_gone: false,
            });
        }
    }
}
