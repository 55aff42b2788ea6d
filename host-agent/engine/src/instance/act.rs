//! What an instance does in a step: effects, notes, and the phase that follows.

use std::sync::Arc;
use std::time::Duration;

use zhylon_shared::signal::StopSignal;
use zhylon_shared::spec::DaemonSpec;

use crate::ctx::Ctx;
use crate::effect::{CommandOutcome, Effect};
use crate::input::{Exit, Run, StartError, StartErrorKind};
use crate::instance::{Instance, Order};
use crate::phase::{Live, Phase};
use crate::plan::Goal;
use crate::policy::{End, Record, Verdict};
use crate::view::LastExit;

/// What is left of a tree after an unasked end has at most this long: nobody asked for a pause, so it must be short.
const LEFTOVER_GRACE: Duration = Duration::from_secs(5);

impl Instance {
    /// A start on request: its past is forgiven.
    pub(super) fn start(&mut self, ctx: &mut Ctx, order: Option<&Order>) {
        self.record = Record::default();
        self.restart_count = 0;
        self.spec = order.map(|order| Arc::clone(&order.spec));
        self.spawn(ctx, order);
    }

    /// A start nobody asked for.
    pub(super) fn respawn(&mut self, ctx: &mut Ctx, order: Option<&Order>) {
        self.restart_count += 1;
        self.spawn(ctx, order);
    }

    /// Asks the main process to end.
    pub(super) fn ask_to_end(&mut self, ctx: &mut Ctx, live: Live) {
        let (run, signal) = (self.run(&live), live.stop_signal.number());
        ctx.out.act(Effect::Signal { run, signal });
        let kill_at = Some(ctx.now + live.grace);
        self.set(ctx, Phase::Stopping(Live { kill_at, ..live }));
    }

    /// It never became the program.
    pub(super) fn not_started(
        &mut self,
        ctx: &mut Ctx,
        order: Option<&Order>,
        live: Live,
        error: StartError,
    ) {
        self.note_start_error(ctx, error);
        let end = End {
            exit: None,
            ran: None,
            started: live.started,
        };
        let verdict = self.judge(ctx, order, end);
        self.follow(ctx, order, verdict);
    }

    /// The main process ended by itself.
    pub(super) fn ended_unasked(
        &mut self,
        ctx: &mut Ctx,
        order: Option<&Order>,
        live: Live,
        exit: Exit,
        tree_gone: bool,
    ) {
        if matches!(self.phase, Phase::Starting(_)) && live.running_at <= ctx.now {
            // It had made it; only the deadline was not handed in yet.
            self.set(ctx, Phase::Running(live));
        }
        let ran = matches!(self.phase, Phase::Running(_)).then(|| ctx.now.since(live.running_at));
        self.note_exit(ctx, exit, &live);
        let verdict = self.judge(
            ctx,
            order,
            End {
                exit: Some(exit),
                ran,
                started: live.started,
            },
        );
        if tree_gone || live.tree_gone {
            return self.follow(ctx, order, verdict);
        }
        self.signal_tree(ctx, &live);
        let kill_at = Some(ctx.now + live.grace.min(LEFTOVER_GRACE));
        self.set(
            ctx,
            Phase::Leftover(
                Live {
                    pid: 0,
                    kill_at,
                    ..live
                },
                verdict,
            ),
        );
    }

    /// The main process ended on request; the rest of its tree has the rest of the grace.
    pub(super) fn ended_as_asked(
        &mut self,
        ctx: &mut Ctx,
        order: Option<&Order>,
        live: Live,
        exit: Exit,
        tree_gone: bool,
    ) {
        self.note_exit(ctx, exit, &live);
        if tree_gone || live.tree_gone {
            return self.stopped(ctx, order);
        }
        let mut live = Live { pid: 0, ..live };
        if !live.killed {
            self.signal_tree(ctx, &live);
            live.kill_at.get_or_insert(ctx.now + live.grace);
        }
        self.set(ctx, Phase::Clearing(live));
    }

    /// Nothing of a run that was asked to end is left.
    pub(super) fn stopped(&mut self, ctx: &mut Ctx, order: Option<&Order>) {
        match self.goal {
            Goal::Run => self.start(ctx, order),
            Goal::Stop => self.set(ctx, Phase::Stopped),
        }
    }

    /// Nothing of a run that ended unasked is left.
    pub(super) fn follow(&mut self, ctx: &mut Ctx, order: Option<&Order>, verdict: Verdict) {
        match verdict {
            Verdict::Respawn(at) | Verdict::Backoff(at) if at <= ctx.now => {
                self.respawn(ctx, order);
            }
            Verdict::Respawn(at) => self.set(ctx, Phase::Pausing(at)),
            Verdict::Backoff(at) => self.set(ctx, Phase::Backoff(at)),
            Verdict::Exited => self.set(ctx, Phase::Exited),
            Verdict::Fatal => self.set(ctx, Phase::Fatal),
        }
    }

    /// The grace is over.
    pub(super) fn kill(&self, ctx: &mut Ctx, live: Live) -> Live {
        ctx.out.act(Effect::KillTree {
            run: self.run(&live),
        });
        Live {
            kill_at: None,
            killed: true,
            ..live
        }
    }

    /// The grace is over; the main process kept within it, the rest of its tree did not.
    pub(super) fn kill_rest(&mut self, ctx: &mut Ctx, live: Live) -> Live {
        let live = self.kill(ctx, live);
        if let Some(last) = self.last_exit.as_mut().filter(|_| is_after_grace(&live)) {
            last.killed_after_grace = true;
            last.message
                .push_str(" (the rest of its tree was killed after its grace)");
        }
        live
    }

    /// Remembers why it could not be started.
    pub(super) fn note_start_error(&mut self, ctx: &mut Ctx, error: StartError) {
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

    pub(super) fn run(&self, live: &Live) -> Run {
        Run {
            slot: self.slot,
            generation: live.generation,
        }
    }

    fn spawn(&mut self, ctx: &mut Ctx, order: Option<&Order>) {
        let Some(order) = order else {
            return self.set(ctx, Phase::Stopped);
        };
        let spec = self.spec_in_force(order);
        let live = Live::new(ctx.generation(), &spec, ctx.now);
        self.generation = live.generation;
        self.ran = false;
        self.restart_generation = order.restart_generation;
        ctx.out.act(Effect::Spawn {
            run: self.run(&live),
            spec: Arc::clone(&spec),
            restart_generation: order.restart_generation,
        });
        self.spec = Some(spec);
        self.set(ctx, Phase::Spawning(live));
    }

    /// What it is made of. The orders' spec where that is not known, or makes the same process.
    fn spec_in_force(&self, order: &Order) -> Arc<DaemonSpec> {
        let own = self.spec.as_ref();
        let own = own.filter(|_| !self.is_made_of(&order.spec));
        Arc::clone(own.unwrap_or(&order.spec))
    }

    fn judge(&mut self, ctx: &mut Ctx, order: Option<&Order>, end: End) -> Verdict {
        match order {
            Some(order) => {
                let spec = self.spec_in_force(order);
                self.record.judge(ctx.now, &spec, &end, &mut ctx.jitter)
            }
            // Nobody wants it any more.
            None => Verdict::Exited,
        }
    }

    fn signal_tree(&self, ctx: &mut Ctx, live: &Live) {
        let (run, signal) = (self.run(live), live.stop_signal.number());
        ctx.out.act(Effect::SignalTree { run, signal });
    }

    fn note_exit(&mut self, ctx: &mut Ctx, exit: Exit, live: &Live) {
        let killed_after_grace = is_after_grace(live);
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
}

/// With KILL as its stop signal the kill is what was asked for, not what came after the grace.
fn is_after_grace(live: &Live) -> bool {
    live.killed && live.stop_signal != StopSignal::Kill
}
