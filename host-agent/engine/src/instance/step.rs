//! The one `match` over where an instance is and what happened to it. `matrix.md` is this match as a table.

use crate::ctx::Ctx;
use crate::instance::{Event as E, Instance, Order};
use crate::phase::Phase as P;
use crate::policy::Verdict;

impl Instance {
    /// Something happened. That it belongs to the run that is there was checked by the caller.
    pub(crate) fn handle(&mut self, ctx: &mut Ctx, order: Option<&Order>, event: E) {
        match (self.phase, event) {
            // Requests while nothing is there. A recycle is on its way already; only a new run is news to it.
            (P::Stopped | P::Exited | P::Fatal | P::Backoff(_), E::Start | E::Replace)
            | (P::Pausing(_), E::Replace) => self.start(ctx, order),
            (P::Exited | P::Fatal | P::Pausing(_) | P::Backoff(_), E::Stop) => {
                self.set(ctx, P::Stopped);
            }

            // Requests while a run is there.
            (P::Spawning(live), E::Stop | E::Replace) => self.set(ctx, P::Aborting(live)),
            (P::Starting(live) | P::Running(live), E::Stop | E::Replace) => {
                self.ask_to_end(ctx, live);
            }
            // Its tree has been asked already and keeps the grace it has.
            (P::Leftover(live, _), E::Stop | E::Replace)
            | (
                P::Leftover(live, Verdict::Backoff(_) | Verdict::Exited | Verdict::Fatal),
                E::Start,
            ) => self.set(ctx, P::Clearing(live)),

            // Requests that are fulfilled or under way; the goal decides what follows.
            (P::Stopped, E::Stop) => {}
            (P::Aborting(_) | P::Stopping(_) | P::Clearing(_), E::Start | E::Stop | E::Replace) => {
            }
            (P::Pausing(_) | P::Spawning(_) | P::Starting(_) | P::Running(_), E::Start) => {}
            (P::Leftover(_, Verdict::Respawn(_)), E::Start) => {}

            // The spawn is answered.
            (P::Spawning(live), E::Spawned { pid }) => {
                let live = live.spawned(pid, ctx.now);
                let at_once = live.start.is_zero();
                self.set(
                    ctx,
                    if at_once {
                        P::Running(live)
                    } else {
                        P::Starting(live)
                    },
                );
            }
            (P::Aborting(live), E::Spawned { pid }) => {
                self.ask_to_end(ctx, live.spawned(pid, ctx.now));
            }
            (P::Spawning(live), E::SpawnFailed(error)) => {
                self.not_started(ctx, order, live, error);
            }
            (P::Aborting(_), E::SpawnFailed(error)) => {
                self.note_start_error(ctx, error);
                self.stopped(ctx, order);
            }

            // The main process ended.
            (
                P::Spawning(live) | P::Starting(live) | P::Running(live),
                E::Exited { exit, tree_gone },
            ) => self.ended_unasked(ctx, order, live, exit, tree_gone),
            (P::Aborting(live) | P::Stopping(live), E::Exited { exit, tree_gone }) => {
                self.ended_as_asked(ctx, order, live, exit, tree_gone);
            }

            // Nothing of the run is left. Before the end of its main process is told, that is still to come.
            (P::Clearing(_), E::TreeGone) => self.stopped(ctx, order),
            (P::Leftover(_, verdict), E::TreeGone) => self.follow(ctx, order, verdict),
            (P::Spawning(live), E::TreeGone) => self.phase = P::Spawning(live.without_tree()),
            (P::Starting(live), E::TreeGone) => self.phase = P::Starting(live.without_tree()),
            (P::Running(live), E::TreeGone) => self.phase = P::Running(live.without_tree()),
            (P::Aborting(live), E::TreeGone) => self.phase = P::Aborting(live.without_tree()),
            (P::Stopping(live), E::TreeGone) => self.phase = P::Stopping(live.without_tree()),

            // Its time has come.
            (P::Pausing(_) | P::Backoff(_), E::Deadline) => self.respawn(ctx, order),
            (P::Starting(live), E::Deadline) => self.set(ctx, P::Running(live)),
            (P::Stopping(live), E::Deadline) => {
                let live = self.kill(ctx, live);
                self.set(ctx, P::Stopping(live));
            }
            (P::Clearing(live), E::Deadline) => {
                let live = self.kill_rest(ctx, live);
                self.set(ctx, P::Clearing(live));
            }
            (P::Leftover(live, verdict), E::Deadline) => {
                let live = self.kill_rest(ctx, live);
                self.set(ctx, P::Leftover(live, verdict));
            }

            // Told twice, or of what is over.
            (P::Stopped | P::Exited | P::Fatal, E::TreeGone | E::Deadline) => {}
            (P::Pausing(_) | P::Backoff(_), E::TreeGone) => {}
            (P::Spawning(_) | P::Running(_) | P::Aborting(_), E::Deadline) => {}
            (
                P::Starting(_) | P::Running(_) | P::Stopping(_),
                E::Spawned { .. } | E::SpawnFailed(_),
            ) => {}
            (
                P::Stopped
                | P::Exited
                | P::Fatal
                | P::Pausing(_)
                | P::Backoff(_)
                | P::Clearing(_)
                | P::Leftover(..),
                E::Spawned { .. } | E::SpawnFailed(_) | E::Exited { .. },
            ) => {}
        }
    }
}
