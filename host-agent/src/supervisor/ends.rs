//! From "its pidfd is readable" to "nothing of it is left": seen, told to the engine, recorded, reaped, its tree gone, its
//! log written out, and only then its FIFO, cgroup and record removed.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use host_agent_engine::input::{Exit, Input, Run};
use host_agent_keeper::protocol::ExitStatus;
use host_agent_sys::fail_point::fail_point;
use host_agent_sys::orders::{StartFailure, StartStep};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::core::{Core, START_DEADLINE, Unsent};
use super::runs::Main;
use crate::spawn::key;
use crate::spawn::program::other;
use crate::spawn::tree::Tree;

/// How long the keeper may take to say how a process ended that a former worker started. Longer than it ever needs; a
/// respawn after both died waits that long once.
const KEEPER_ANSWER: Duration = Duration::from_millis(100);
/// First look at a tree that outlives its main process; the time doubles with each look.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// Longest time between two looks: a tree may take its whole grace.
const LONGEST_LOOK: Duration = Duration::from_millis(100);
/// When to try again what the keeper did not take.
pub(super) const RESEND: Duration = Duration::from_millis(200);

impl Core {
    /// The helper's status pipe has news: end of file means that the program runs.
    pub(super) fn on_status(&mut self, run: Run) {
        let Some(live) = self.runs.get(&run) else {
            return;
        };
        let Main::Starting {
            status, attempt, ..
        } = &live.main
        else {
            return;
        };
        let failure = match read_status(status) {
            Status::Pending => return,
            Status::Runs => None,
            Status::Failed(failure) => Some(attempt.failed(failure)),
        };
        self.runs.wake_at(&run, None);
        self.runs.set_main(&run, |main| match main {
            Main::Starting { pidfd, .. } => Main::Child { pidfd },
            main => main,
        });
        if let Some(live) = self.runs.get_mut(&run) {
            live.start_error = live.start_error.take().or(failure);
            if live.start_error.is_none() {
                self.announce(run);
            }
        }
    }

    /// Tells the engine, once, that the run has its process.
    fn announce(&mut self, run: Run) {
        if let Some(live) = self.runs.get_mut(&run)
            && !std::mem::replace(&mut live.announced, true)
        {
            fail_point(self.ground.records.dir(), "spawned-runs");
            let pid = live.pid.as_raw_nonzero().get();
            self.usages.began(Instant::now());
            self.inputs.push_back(Input::Spawned { run, pid });
        }
    }

    /// The main process of a run ended.
    pub(super) fn on_ended(&mut self, run: Run) {
        // What the helper said last is still in the pipe.
        self.on_status(run);
        let Some(live) = self.runs.get(&run) else {
            return;
        };
        let pidfd = match &live.main {
            Main::Starting { pidfd, .. } | Main::Child { pidfd } => pidfd,
            Main::Adopted { .. } => return self.await_keeper(run),
            Main::Awaited | Main::Ended => return,
        };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let exit = match waitid(WaitId::PidFd(pidfd.as_fd()), look | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => {
                let signal = status.terminating_signal().map(Exit::Signal);
                let code = || status.exit_status().map(Exit::Code);
                signal.or_else(code).unwrap_or(Exit::Unknown)
            }
            Ok(None) => return,
            // Somebody else reaped our child. It can not be, but it is no reason to hang.
            Err(error) => {
                tracing::error!(%error, ?run, "the end of a process was missed");
                Exit::Unknown
            }
        };
        fail_point(self.ground.records.dir(), "ended-seen");
        self.main_ended(run, exit, Reaper::Us);
    }

    /// An adopted process ended; the keeper may say how.
    pub(super) fn await_keeper(&mut self, run: Run) {
        self.runs.set_main(&run, |_| Main::Awaited);
        let until = Instant::now() + KEEPER_ANSWER;
        self.runs.wake_at(&run, Some(until));
    }

    /// The keeper tells how a process ended that a former worker started.
    pub(super) fn on_told(&mut self, pid: i32, start_time: u64, status: ExitStatus) {
        let exit = match status {
            ExitStatus::Code(code) => Exit::Code(code),
            ExitStatus::Signal(signal) => Exit::Signal(signal),
        };
        let run = self.runs.adopted_by(pid, start_time);
        if let Some(live) = run.and_then(|run| self.runs.get(&run))
            && let Err(error) = self.ground.records.write_exit(live.pid, exit)
        {
            tracing::error!(%error, ?run, "an end could not be recorded");
        }
        self.send(Unsent::Ack { pid, start_time });
        if let Some(run) = run {
            self.main_ended(run, exit, Reaper::Keeper);
        }
    }

    /// Lets the engine know; what is left to do of this end is done once it has answered ([`Core::finish_ends`]).
    pub(super) fn main_ended(&mut self, run: Run, exit: Exit, reaper: Reaper) {
        self.runs.wake_at(&run, None);
        let Some(live) = self.runs.get_mut(&run) else {
            return;
        };
        let main = std::mem::replace(&mut live.main, Main::Ended);
        let start_error = live.start_error.take();
        let (pid, ran) = (live.pid, start_error.is_none());
        // A helper has no children.
        let tree_gone = !ran || live.tree.is_gone();
        match start_error {
            Some(error) => self.inputs.push_back(Input::SpawnFailed { run, error }),
            None => {
                self.announce(run);
                self.inputs.push_back(Input::Exited {
                    run,
                    exit,
                    tree_gone,
                });
            }
        }
        self.ends.push(End {
            run,
            pid,
            main,
            exit,
            reaper,
            ran,
            tree_gone,
        });
    }

    /// Records and reaps, and goes on with what is left of each run. The next process is on its way by now: nothing of
    /// this holds it up, and before it is done nothing else is heard.
    pub(super) fn finish_ends(&mut self) {
        for end in std::mem::take(&mut self.ends) {
            let run = end.run;
            if end.reaper == Reaper::Us {
                self.record_and_reap(&end);
            }
            drop(end.main);
            let Some(live) = self.runs.get_mut(&run) else {
                continue;
            };
            if end.ran {
                self.usages.ended(&run, &live.tree);
            }
            if end.tree_gone {
                self.tree_gone(run);
                continue;
            }
            live.look_wait = FIRST_LOOK;
            if live.kill {
                live.tree.kill();
            }
            self.runs.wake_at(&run, Some(Instant::now() + FIRST_LOOK));
        }
    }

    /// Recorded, and only then reaped: whoever is killed in between, the end is known once.
    fn record_and_reap(&self, end: &End) {
        let records = &self.ground.records;
        if let Err(error) = records.write_exit(end.pid, end.exit) {
            tracing::error!(%error, run = ?end.run, "an end could not be recorded");
        }
        fail_point(records.dir(), "ended-recorded");
        let _ = waitid(
            WaitId::Pid(end.pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
        fail_point(records.dir(), "ended-reaped");
    }

    /// A run asked to be looked at.
    pub(super) fn on_wake(&mut self, run: Run) {
        let Some(live) = self.runs.get_mut(&run) else {
            return;
        };
        match &live.main {
            Main::Starting { .. } => {
                let seconds = START_DEADLINE.as_secs();
                let text = format!("the program did not start within {seconds} s");
                live.start_error = Some(other(text));
                live.signal(Signal::KILL);
            }
            Main::Awaited => self.main_ended(run, Exit::Unknown, Reaper::Keeper),
            Main::Ended if !live.gone => {
                if live.tree.is_gone() {
                    self.inputs.push_back(Input::TreeGone { run });
                    return self.tree_gone(run);
                }
                if live.kill {
                    live.tree.kill();
                }
                live.look_wait = (live.look_wait * 2).min(LONGEST_LOOK);
                let at = Instant::now() + live.look_wait;
                self.runs.wake_at(&run, Some(at));
            }
            Main::Ended | Main::Child { .. } | Main::Adopted { .. } => {}
        }
    }

    pub(super) fn kill_tree(&mut self, run: Run) {
        let Some(live) = self.runs.get_mut(&run) else {
            return;
        };
        live.kill = true;
        live.signal(Signal::KILL);
        live.tree.kill();
        if matches!(live.main, Main::Ended) && !live.gone {
            live.look_wait = FIRST_LOOK;
            self.runs.wake_at(&run, Some(Instant::now() + FIRST_LOOK));
        }
    }

    fn tree_gone(&mut self, run: Run) {
        if let Some(live) = self.runs.get_mut(&run) {
            live.gone = true;
            if live.attached {
                self.logs.ended(run);
            }
        }
        self.clean_up(run);
    }

    pub(super) fn on_drained(&mut self, run: Run) {
        if let Some(live) = self.runs.get_mut(&run) {
            live.drained = true;
        }
        self.clean_up(run);
    }

    /// Removes what a run leaves, once nothing of it is left.
    fn clean_up(&mut self, run: Run) {
        let over = |live: &super::runs::LiveRun| live.gone && live.drained;
        if !self.runs.get(&run).is_some_and(over) {
            return;
        }
        let Some(live) = self.runs.remove(&run) else {
            return;
        };
        fail_point(self.ground.records.dir(), "over");
        self.ground.fifos.remove(&live.fifo);
        self.send(Unsent::Drop(run));
        if let Tree::Leaf(leaf) = &live.tree {
            leaf.remove();
        }
        fail_point(self.ground.records.dir(), "over-removed");
        self.over.push((live.pid, run));
    }

    /// Sends a frame to the keeper, now or later.
    fn send(&mut self, frame: Unsent) {
        self.unsent.push(frame);
        self.resend();
    }

    /// Sends what the keeper did not take before.
    pub(super) fn resend(&mut self) {
        let keeper = &self.ground.keeper;
        let mut waits = false;
        self.unsent.retain(|frame| {
            waits = waits
                || match frame {
                    Unsent::Ack { pid, start_time } => keeper.send_ack(*pid, *start_time),
                    Unsent::Drop(run) => keeper.send_drop(&key(run)),
                }
                // With the keeper gone this worker is about to be, too.
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
            waits
        });
    }
}

/// An end the engine has heard of, with what is left to do.
#[derive(Debug)]
pub(super) struct End {
    run: Run,
    pid: Pid,
    /// What it was known by: given up only now, as closing takes its time.
    main: Main,
    exit: Exit,
    reaper: Reaper,
    /// It became its program.
    ran: bool,
    tree_gone: bool,
}

/// Whose child it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reaper {
    Us,
    Keeper,
}

enum Status {
    Pending,
    Runs,
    Failed(StartFailure),
}

fn read_status(status: &OwnedFd) -> Status {
    let mut bytes = [0; StartFailure::BYTES + 1];
    match rustix::io::read(status, &mut bytes) {
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Status::Pending,
        Ok(0) => Status::Runs,
        Ok(len) => {
            let unknown = StartFailure {
                step: StartStep::Orders,
                errno: rustix::io::Errno::PROTO.raw_os_error(),
            };
            Status::Failed(StartFailure::decode(&bytes[..len]).unwrap_or(unknown))
        }
        Err(error) => Status::Failed(StartFailure {
            step: StartStep::Orders,
            errno: error.raw_os_error(),
        }),
    }
}
