//! One instance of a daemon: one `match` over where it is and what happened, one door through which that changes.
//!
//! It knows nothing of its daemon but its orders (what a spawn is made of) and its goal. It never starts a run while
//! anything of an older one is left.

use std::sync::Arc;
use std::time::Duration;

use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::state::{DesiredState, InstanceState};

use crate::ctx::Ctx;
use crate::effect::{CommandOutcome, Effect};
use crate::input::{Adopted, Exit, Run, Slot, StartError, StartErrorKind};
use crate::phase::{Ending, Live, Phase};
use crate::plan::Goal;
use crate::policy::{End, Record, Verdict};
use crate::ticket::{Awaited, Waiter};
use crate::view::{InstanceView, LastExit};

mod waiting;

/// What is left of a tree after an unasked end has at most this long: nobody asked for a pause, so it must be short.
const LEFTOVER_GRACE: Duration = Duration::from_secs(5);

/// What a spawn is made of.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) spec: Arc<DaemonSpec>,
    /// Raised with every spec that makes another process.
    pub(crate) epoch: u64,
    pub(crate) restart_generation: i64,
}

/// What can happen to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A request: what does not run is tried at once.
    Start,
    /// A request: nothing of it shall be left.
    Stop,
    /// A request: a new run takes the place of whatever is there.
    Replace,
    Spawned {
        pid: i32,
    },
    SpawnFailed(StartError),
    Exited {
        exit: Exit,
        tree_gone: bool,
    },
    TreeGone,
    Deadline,
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Instance {
    slot: Slot,
    goal: Goal,
    /// A local operator's intent for this instance alone.
    pub(crate) operator: Option<DesiredState>,
    phase: Phase,
    since: crate::time::Time,
    /// Newest spawn; 0 if there was none.
    generation: u64,
    /// What its newest spawn was made of: [`Order::epoch`].
    pub(crate) epoch: u64,
    /// What its newest spawn was made for.
    pub(crate) restart_generation: i64,
    record: Record,
    restart_count: u64,
    last_exit: Option<LastExit>,
    /// What a command is told if the newest run failed.
    fault: CommandOutcome,
    waiters: Vec<Waiter>,
}

impl Instance {
    /// One that never ran.
    pub(crate) fn new(ctx: &mut Ctx, slot: Slot) -> Self {
        ctx.out.changed(slot.daemon);
        Self {
            slot,
            goal: Goal::Stop,
            operator: None,
            phase: Phase::Stopped,
            since: ctx.now,
            generation: 0,
            epoch: 0,
            restart_generation: 0,
            record: Record::default(),
            restart_count: 0,
            last_exit: None,
            fault: CommandOutcome::SpawnError,
            waiters: Vec::new(),
        }
    }

    /// One that was found alive. `start_seconds`, `epoch`: see [`Live::adopted`], [`Order::epoch`].
    pub(crate) fn adopt(ctx: &mut Ctx, found: &Adopted, start_seconds: u32, epoch: u64) -> Self {
        let live = Live::adopted(found, start_seconds, ctx.now);
        let mut adopted = Self {
            goal: Goal::Run,
            generation: found.run.generation,
            epoch,
            restart_generation: found.restart_generation,
            ..Self::new(ctx, found.run.slot)
        };
        let until = ctx.now + live.start.saturating_sub(found.ran_for);
        if until > ctx.now {
            adopted.set(ctx, Phase::Starting { live, until });
            adopted.since = live.started;
        } else {
            // Less what it took to get there; not before the origin.
            let since = ctx.now - found.ran_for.saturating_sub(live.start);
            adopted.set(ctx, Phase::Running { live, since });
            adopted.since = since;
        }
        adopted
    }

    pub(crate) fn goal(&self) -> Goal {
        self.goal
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(crate) fn state(&self) -> InstanceState {
        self.phase.state()
    }

    pub(crate) fn last_exit(&self) -> Option<&LastExit> {
        self.last_exit.as_ref()
    }

    /// Something happened. Whether it belongs to the newest run was checked by the caller.
    pub(crate) fn handle(&mut self, ctx: &mut Ctx, order: Option<&Order>, event: Event) {
        match (self.phase, event) {
            // Requests where nothing is there.
            (
                Phase::Stopped | Phase::Exited | Phase::Fatal | Phase::Waiting { .. },
                Event::Replace,
            )
            | (
                Phase::Stopped | Phase::Exited | Phase::Fatal | Phase::Waiting { failed: true, .. },
                Event::Start,
            ) => self.start(ctx, order),
            (Phase::Exited | Phase::Fatal | Phase::Waiting { .. }, Event::Stop) => {
                self.set(ctx, Phase::Stopped);
            }

            // Requests where a run is there.
            (Phase::Spawning(live), Event::Stop | Event::Replace) => {
                self.set(ctx, stopping(live, Ending::Spawn, None));
            }
            (
                Phase::Starting { live, .. } | Phase::Running { live, .. },
                Event::Stop | Event::Replace,
            ) => self.ask_to_end(ctx, live),
            // Its tree has been asked already and keeps the grace it has.
            (Phase::Leftover { live, kill_at, .. }, Event::Stop | Event::Replace)
            | (
                Phase::Leftover {
                    live,
                    kill_at,
                    next: Verdict::Backoff(_) | Verdict::Exited | Verdict::Fatal,
                },
                Event::Start,
            ) => self.set(ctx, stopping(live, Ending::Tree, kill_at)),

            // A spawn is answered.
            (Phase::Spawning(live), Event::Spawned { pid }) => {
                let live = Live {
                    pid,
                    started: ctx.now,
                    ..live
                };
                if live.start.is_zero() {
                    self.set(
                        ctx,
                        Phase::Running {
                            live,
                            since: ctx.now,
                        },
                    );
                } else {
                    let until = ctx.now + live.start;
                    self.set(ctx, Phase::Starting { live, until });
                }
            }
            (
                Phase::Stopping {
                    live,
                    ending: Ending::Spawn,
                    ..
                },
                Event::Spawned { pid },
            ) => {
                self.ask_to_end(
                    ctx,
                    Live {
                        pid,
                        started: ctx.now,
                        ..live
                    },
                );
            }
            (Phase::Spawning(live), Event::SpawnFailed(error)) => {
                self.note_start_error(ctx, error);
                let verdict = self.judge(
                    ctx,
                    order,
                    End {
                        exit: None,
                        ran: None,
                        started: live.started,
                    },
                );
                self.follow(ctx, order, verdict);
            }
            (
                Phase::Stopping {
                    ending: Ending::Spawn,
                    ..
                },
                Event::SpawnFailed(error),
            ) => {
                self.note_start_error(ctx, error);
                self.stopped(ctx, order);
            }

            // The main process ended unasked.
            (Phase::Starting { live, until }, event @ Event::Exited { .. }) if until <= ctx.now => {
                // It had made it; only the deadline was not handed in yet.
                self.set(ctx, Phase::Running { live, since: until });
                self.handle(ctx, order, event);
            }
            (
                Phase::Spawning(live) | Phase::Starting { live, .. },
                Event::Exited { exit, tree_gone },
            ) => self.ended(ctx, order, live, exit, None, tree_gone),
            (Phase::Running { live, since }, Event::Exited { exit, tree_gone }) => {
                self.ended(
                    ctx,
                    order,
                    live,
                    exit,
                    Some(ctx.now.since(since)),
                    tree_gone,
                );
            }

            // The main process ended as asked.
            (
                Phase::Stopping {
                    live,
                    ending: Ending::Spawn | Ending::Main,
                    kill_at,
                    killed,
                },
                Event::Exited { exit, tree_gone },
            ) => {
                self.note_exit(ctx, exit, killed);
                if tree_gone || live.tree_gone {
                    return self.stopped(ctx, order);
                }
                if !killed {
                    self.signal_tree(ctx, &live);
                }
                let kill_at = kill_at.or((!killed).then(|| ctx.now + live.grace));
                let live = Live { pid: 0, ..live };
                self.set(
                    ctx,
                    Phase::Stopping {
                        live,
                        ending: Ending::Tree,
                        kill_at,
                        killed,
                    },
                );
            }

            // Nothing of a run is left.
            (
                Phase::Stopping {
                    ending: Ending::Tree,
                    ..
                },
                Event::TreeGone,
            ) => {
                self.stopped(ctx, order);
            }
            (Phase::Leftover { next, .. }, Event::TreeGone) => self.follow(ctx, order, next),
            // The end of the main process is told after the tree's.
            (
                Phase::Spawning(_)
                | Phase::Starting { .. }
                | Phase::Running { .. }
                | Phase::Stopping {
                    ending: Ending::Spawn | Ending::Main,
                    ..
                },
                Event::TreeGone,
            ) => {
                if let Some(live) = self.phase.live_mut() {
                    live.tree_gone = true;
                }
            }

            // Time.
            (Phase::Waiting { .. }, Event::Deadline) => self.respawn(ctx, order),
            (Phase::Starting { live, .. }, Event::Deadline) => {
                self.set(
                    ctx,
                    Phase::Running {
                        live,
                        since: ctx.now,
                    },
                );
            }
            (
                Phase::Stopping {
                    live,
                    ending,
                    kill_at: Some(_),
                    ..
                },
                Event::Deadline,
            ) => {
                self.kill(ctx, &live, ending == Ending::Tree);
                self.set(
                    ctx,
                    Phase::Stopping {
                        live,
                        ending,
                        kill_at: None,
                        killed: true,
                    },
                );
            }
            (
                Phase::Leftover {
                    live,
                    kill_at: Some(_),
                    next,
                },
                Event::Deadline,
            ) => {
                self.kill(ctx, &live, true);
                self.set(
                    ctx,
                    Phase::Leftover {
                        live,
                        kill_at: None,
                        next,
                    },
                );
            }

            // Already so, or on its way; the goal decides what follows.
            (Phase::Stopped, Event::Stop)
            | (Phase::Stopping { .. }, Event::Start | Event::Stop | Event::Replace)
            | (
                Phase::Spawning(_)
                | Phase::Starting { .. }
                | Phase::Running { .. }
                | Phase::Waiting { .. }
                | Phase::Leftover { .. },
                Event::Start,
            ) => {}

            // Told twice, or of a run that is over.
            (_, Event::Spawned { .. } | Event::SpawnFailed(_) | Event::Exited { .. })
            | (_, Event::TreeGone | Event::Deadline) => {}
        }
    }

    /// What people see of it.
    pub(crate) fn view(&self) -> InstanceView {
        InstanceView {
            index: self.slot.index,
            generation: self.generation,
            pid: self.phase.live().map_or(0, |live| live.pid),
            state: self.state(),
            since: self.since,
            restart_count: self.restart_count,
            last_exit: self.last_exit.clone(),
            next_start: self.phase.next_start(),
        }
    }

    /// The one door: every change of phase goes through here, is timed, announced, and told to those who wait.
    fn set(&mut self, ctx: &mut Ctx, phase: Phase) {
        if self.phase.state() != phase.state() {
            self.since = ctx.now;
        }
        self.phase = phase;
        let timer = crate::timer::Timer::Instance(self.slot);
        ctx.timers.set(timer, phase.deadline());
        ctx.out.changed(self.slot.daemon);
        match phase.state() {
            InstanceState::Running => self.answer(ctx, Awaited::Started, CommandOutcome::Done),
            InstanceState::Backoff | InstanceState::Exited | InstanceState::Fatal => {
                self.answer(ctx, Awaited::Started, self.fault);
            }
            InstanceState::Stopped => self.answer(ctx, Awaited::Stopped, CommandOutcome::Done),
            InstanceState::Starting | InstanceState::Stopping | InstanceState::Unknown => {}
        }
    }

    /// A start on request: its past is forgiven.
    fn start(&mut self, ctx: &mut Ctx, order: Option<&Order>) {
        self.record = Record::default();
        self.restart_count = 0;
        self.spawn(ctx, order);
    }

    /// A start nobody asked for.
    fn respawn(&mut self, ctx: &mut Ctx, order: Option<&Order>) {
        self.restart_count += 1;
        self.spawn(ctx, order);
    }

    fn spawn(&mut self, ctx: &mut Ctx, order: Option<&Order>) {
        let Some(order) = order.filter(|_| !ctx.halted) else {
            return self.set(ctx, Phase::Stopped);
        };
        let live = Live::new(ctx.generation(), &order.spec, ctx.now);
        self.generation = live.generation;
        self.epoch = order.epoch;
        self.restart_generation = order.restart_generation;
        ctx.out.act(Effect::Spawn {
            run: self.run(&live),
            spec: Arc::clone(&order.spec),
            restart_generation: order.restart_generation,
        });
        self.set(ctx, Phase::Spawning(live));
    }

    fn ask_to_end(&mut self, ctx: &mut Ctx, live: Live) {
        let (run, signal) = (self.run(&live), live.stop_signal.number());
        ctx.out.act(Effect::Signal { run, signal });
        self.set(
            ctx,
            stopping(live, Ending::Main, Some(ctx.now + live.grace)),
        );
    }

    /// The main process ended unasked, after `ran` of RUNNING.
    fn ended(
        &mut self,
        ctx: &mut Ctx,
        order: Option<&Order>,
        live: Live,
        exit: Exit,
        ran: Option<Duration>,
        tree_gone: bool,
    ) {
        self.note_exit(ctx, exit, false);
        let end = End {
            exit: Some(exit),
            ran,
            started: live.started,
        };
        let next = self.judge(ctx, order, end);
        if tree_gone || live.tree_gone {
            return self.follow(ctx, order, next);
        }
        self.signal_tree(ctx, &live);
        let kill_at = Some(ctx.now + live.grace.min(LEFTOVER_GRACE));
        self.set(
            ctx,
            Phase::Leftover {
                live: Live { pid: 0, ..live },
                kill_at,
                next,
            },
        );
    }

    fn judge(&mut self, ctx: &mut Ctx, order: Option<&Order>, end: End) -> Verdict {
        match order {
            Some(order) => self
                .record
                .judge(ctx.now, &order.spec, &end, &mut ctx.jitter),
            // Nobody wants it any more.
            None => Verdict::Exited,
        }
    }

    /// Nothing of a run that ended unasked is left.
    fn follow(&mut self, ctx: &mut Ctx, order: Option<&Order>, verdict: Verdict) {
        match verdict {
            Verdict::Respawn(at) | Verdict::Backoff(at) if at <= ctx.now => {
                self.respawn(ctx, order)
            }
            Verdict::Respawn(until) => self.set(
                ctx,
                Phase::Waiting {
                    until,
                    failed: false,
                },
            ),
            Verdict::Backoff(until) => self.set(
                ctx,
                Phase::Waiting {
                    until,
                    failed: true,
                },
            ),
            Verdict::Exited => self.set(ctx, Phase::Exited),
            Verdict::Fatal => self.set(ctx, Phase::Fatal),
        }
    }

    /// Nothing of a run that was asked to end is left.
    fn stopped(&mut self, ctx: &mut Ctx, order: Option<&Order>) {
        match self.goal {
            Goal::Run => self.start(ctx, order),
            Goal::Stop => self.set(ctx, Phase::Stopped),
        }
    }

    fn signal_tree(&mut self, ctx: &mut Ctx, live: &Live) {
        let (run, signal) = (self.run(live), live.stop_signal.number());
        ctx.out.act(Effect::SignalTree { run, signal });
    }

    /// The grace is over. `main_ended`: the main process kept within it, the rest of its tree did not.
    fn kill(&mut self, ctx: &mut Ctx, live: &Live, main_ended: bool) {
        ctx.out.act(Effect::KillTree {
            run: self.run(live),
        });
        if main_ended
            && !asked_by_kill(live)
            && let Some(last) = &mut self.last_exit
        {
            last.killed_after_grace = true;
            last.message
                .push_str(" (the rest of its tree was killed after its grace)");
        }
    }

    fn note_exit(&mut self, ctx: &mut Ctx, exit: Exit, killed: bool) {
        let killed_after_grace = killed && !self.phase.live().is_some_and(asked_by_kill);
        let how = match exit {
            Exit::Code(code) => format!("exit code {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
            Exit::Unknown => "unknown (adopted)".to_owned(),
        };
        let grace = if killed_after_grace {
            " (killed after its grace)"
        } else {
            ""
        };
        self.fault = CommandOutcome::SpawnError;
        self.last_exit = Some(LastExit {
            exit: Some(exit),
            killed_after_grace,
            time: ctx.now,
            message: how + grace,
        });
    }

    fn note_start_error(&mut self, ctx: &mut Ctx, error: StartError) {
        self.fault = match error.kind {
            StartErrorKind::NoFile => CommandOutcome::NoFile,
            StartErrorKind::NotExecutable => CommandOutcome::NotExecutable,
            StartErrorKind::Other => CommandOutcome::SpawnError,
        };
        self.last_exit = Some(LastExit {
            exit: None,
            killed_after_grace: false,
            time: ctx.now,
            message: error.message,
        });
    }

    fn run(&self, live: &Live) -> Run {
        Run {
            slot: self.slot,
            generation: live.generation,
        }
    }
}

fn stopping(live: Live, ending: Ending, kill_at: Option<crate::time::Time>) -> Phase {
    Phase::Stopping {
        live,
        ending,
        kill_at,
        killed: false,
    }
}

/// Then the kill is what was asked for, not what came after the grace.
fn asked_by_kill(live: &Live) -> bool {
    live.stop_signal == zhylon_shared::signal::StopSignal::Kill
}

#[cfg(test)]
mod tests;
