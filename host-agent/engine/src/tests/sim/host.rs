//! The children, and how effects reach them.

use std::time::Duration;

use super::*;

/// How the processes of a daemon behave.
#[derive(Debug, Clone)]
pub(in crate::tests) struct Habit {
    /// How long a spawn takes.
    pub(in crate::tests) spawn_takes: Duration,
    /// Whether and why it can not be spawned.
    pub(in crate::tests) spawn_fails: Option<StartError>,
    /// It ends by itself this long after it was spawned.
    pub(in crate::tests) ends: Option<(Duration, Exit)>,
    /// It ends this long after a signal; `None` ignores all but KILL.
    pub(in crate::tests) obeys: Option<Duration>,
    /// What it leaves behind.
    pub(in crate::tests) orphans: Orphans,
    /// Whether a spec resolves.
    pub(in crate::tests) resolves: Result<(), StartError>,
    /// How long it takes to find that out.
    pub(in crate::tests) check_takes: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tests) enum Orphans {
    None,
    /// End this long after a signal.
    Obey(Duration),
    /// Must be killed.
    Ignore,
}

impl Habit {
    /// Ends by itself this long after each spawn.
    pub(in crate::tests) fn ending(after: Duration, exit: Exit) -> Self {
        Self {
            ends: Some((after, exit)),
            ..Self::default()
        }
    }
}

impl Default for Habit {
    fn default() -> Self {
        Self {
            spawn_takes: Duration::ZERO,
            spawn_fails: None,
            ends: None,
            obeys: Some(Duration::from_millis(100)),
            orphans: Orphans::None,
            resolves: Ok(()),
            check_takes: Duration::from_millis(5),
        }
    }
}

const KILL: i32 = 9;

impl Sim {
    fn habit(&self, daemon: DaemonId) -> Habit {
        self.habits.get(&daemon).cloned().unwrap_or_default()
    }

    /// Ends the main process of the newest run of a slot now.
    pub(in crate::tests) fn end(&mut self, n: u8, index: u32, exit: Exit) {
        let run = self.run(n, index);
        self.deliver(Input::Exited {
            run,
            exit,
            tree_gone: true,
        });
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Spawn {
                run,
                spec,
                restart_generation,
            } => {
                assert!(!self.shut_down, "spawn after shutdown: {run:?}");
                assert!(
                    run.generation > self.newest_generation,
                    "used before: {run:?}"
                );
                let alive = self.children.keys().find(|other| other.slot == run.slot);
                assert_eq!(alive, None, "two runs of a slot");
                self.newest_generation = run.generation;
                let habit = self.habit(run.slot.daemon);
                let orphans = habit.orphans != Orphans::None;
                let (main, started) = (true, self.now);
                let child = Child {
                    spawned: false,
                    main,
                    orphans,
                    started,
                    spec,
                    restart_generation,
                };
                self.children.insert(run, child);
                let pid = i32::try_from(run.generation).unwrap();
                let answer = match habit.spawn_fails {
                    None => Input::Spawned { run, pid },
                    Some(error) => Input::SpawnFailed { run, error },
                };
                self.later(habit.spawn_takes, answer);
            }
            Effect::Signal { run, signal } => {
                let habit = self.habit(run.slot.daemon);
                if signal == KILL {
                    let exit = Exit::Signal(KILL);
                    self.later(
                        Duration::ZERO,
                        Input::Exited {
                            run,
                            exit,
                            tree_gone: false,
                        },
                    );
                } else if let Some(after) = habit.obeys {
                    let exit = Exit::Signal(signal);
                    self.later(
                        after,
                        Input::Exited {
                            run,
                            exit,
                            tree_gone: false,
                        },
                    );
                }
            }
            Effect::SignalTree { run, signal } => match self.habit(run.slot.daemon).orphans {
                Orphans::Obey(after) => self.later(after, Input::TreeGone { run }),
                _ if signal == KILL => self.later(Duration::ZERO, Input::TreeGone { run }),
                Orphans::None | Orphans::Ignore => {}
            },
            Effect::KillTree { run } => {
                let exit = Exit::Signal(KILL);
                self.later(
                    Duration::ZERO,
                    Input::Exited {
                        run,
                        exit,
                        tree_gone: false,
                    },
                );
                self.later(Duration::ZERO, Input::TreeGone { run });
            }
            Effect::Check {
                daemon, revision, ..
            } => {
                let habit = self.habit(daemon);
                let result = habit.resolves;
                self.later(
                    habit.check_takes,
                    Input::Checked {
                        daemon,
                        revision,
                        result,
                    },
                );
            }
            Effect::HoldEnded { daemon, index } => self
                .holds
                .retain(|(of, own), _| *of != daemon || index.is_some() && index != *own),
            Effect::Settled {
                daemon,
                restart_generation,
                outcome,
            } => {
                let newest = self.settled.insert(daemon, (restart_generation, outcome));
                // Only a new epoch counts anew.
                let anew = (self.want.get(&daemon))
                    .is_some_and(|want| matches!(want.claim, Claim::Adopted { .. }));
                assert!(
                    anew || newest.is_none_or(|(old, _)| old < restart_generation),
                    "settled twice"
                );
            }
            Effect::HoldsRebased {
                daemon,
                intent_generation,
            } => {
                let of_it = self.holds.iter_mut().filter(|((of, _), _)| *of == daemon);
                for (_, hold) in of_it {
                    hold.intent_generation = intent_generation;
                }
            }
            Effect::RolloutStopped {
                daemon,
                revision,
                why,
            } => drop(self.stopped.insert(daemon, (revision, why))),
            Effect::Reply { ticket, outcomes } => {
                assert!(
                    self.waiting.remove(&ticket),
                    "{ticket:?} was answered before"
                );
                assert!(outcomes.is_sorted_by_key(|(slot, _)| *slot));
                self.replies.insert(ticket, outcomes);
            }
            Effect::Gone { daemon } => {
                assert!(self.children.keys().all(|run| run.slot.daemon != daemon));
                self.settled.remove(&daemon);
                self.stopped.remove(&daemon);
            }
            Effect::Changed { .. } => {}
            Effect::Terminated => self.terminated = true,
        }
    }

    /// Something happens to a child, if it is still there for it to happen to.
    pub(in crate::tests) fn deliver(&mut self, input: Input) {
        match input {
            Input::Spawned { run, .. } => {
                let Some(child) = self.children.get_mut(&run) else {
                    return;
                };
                child.spawned = true;
                if let Some((after, exit)) = self.habit(run.slot.daemon).ends {
                    self.later(
                        after,
                        Input::Exited {
                            run,
                            exit,
                            tree_gone: false,
                        },
                    );
                }
                self.feed(input);
            }
            Input::SpawnFailed { run, .. } => {
                if self.children.remove(&run).is_some() {
                    self.feed(input);
                }
            }
            Input::Exited { run, exit, .. } => {
                let Some(child) = self.children.get_mut(&run).filter(|child| child.main) else {
                    return;
                };
                child.main = false;
                let tree_gone = !child.orphans;
                if tree_gone {
                    self.children.remove(&run);
                }
                self.feed(Input::Exited {
                    run,
                    exit,
                    tree_gone,
                });
            }
            Input::TreeGone { run } => {
                if self.children.get(&run).is_some_and(|child| !child.main) {
                    self.children.remove(&run);
                    self.feed(input);
                }
            }
            other => self.feed(other),
        }
    }
}
