//! What is said over the line to the present worker, and the descriptors it entrusts to the keeper.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};

use crate::channel::{self, Received};
use crate::children::Children;
use crate::log::log;
use crate::protocol::{RunKey, ToKeeper, ToWorker};
use crate::worker::Worker;

/// Frames read before signals are looked at again.
pub(crate) const FRAMES_PER_TURN: usize = 64;
/// FIFOs held at most. More are closed at once, and said: their last bytes then depend on the worker alone.
const MAX_HELD: usize = 16_384;

/// Read ends of FIFOs: what was written into them stays, even when nobody else has them open.
#[derive(Debug, Default)]
pub(crate) struct Held {
    fifos: HashMap<RunKey, OwnedFd>,
}

impl Held {
    fn hold(&mut self, run: RunKey, fifo: Option<OwnedFd>) {
        let full = self.fifos.len() >= MAX_HELD && !self.fifos.contains_key(&run);
        match fifo {
            Some(fifo) if !full => drop(self.fifos.insert(run, fifo)),
            Some(_) => log("too many FIFOs to hold one more"),
            // The kernel drops it when this process may not open one more file.
            None => log("a FIFO to hold did not arrive; is the limit of open files too low?"),
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.fifos.len()).unwrap_or(u32::MAX)
    }
}

impl Worker {
    /// What to wait for: its end, its words, and room for ours if there was none.
    pub(crate) fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let mut fds = vec![PollFd::new(&self.child.pidfd, PollFlags::IN)];
        if !self.line_closed {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, self.line_full);
            fds.push(PollFd::new(&self.line, flags));
        }
        fds
    }

    /// Reads up to `frames` frames and does what they say.
    pub(crate) fn read_line(&mut self, held: &mut Held, children: &mut Children, frames: usize) {
        for _ in 0..frames {
            match channel::receive(self.line.as_fd()) {
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => {
                    self.line_closed = true;
                    return;
                }
                Ok(Received::Frame { bytes, fd }) => match ToKeeper::decode(&bytes) {
                    Some(message) => self.obey(message, fd, held, children),
                    None => log("the worker said something that is not understood"),
                },
                Err(error) => {
                    log(&format!("the line to the worker: {error}"));
                    return;
                }
            }
        }
    }

    fn obey(
        &mut self,
        message: ToKeeper,
        fd: Option<OwnedFd>,
        held: &mut Held,
        children: &mut Children,
    ) {
        match message {
            ToKeeper::Hello => {
                self.greeted = true;
                self.hello_due = true;
            }
            ToKeeper::Hold { run } => held.hold(run, fd),
            ToKeeper::Drop { run } => drop(held.fifos.remove(&run)),
            ToKeeper::Ack { pid, start_time } => children.acknowledge(pid, start_time),
        }
    }

    /// Says what is due, as far as there is room.
    pub(crate) fn tell(&mut self, held: &Held, children: &mut Children) {
        self.line_full = false;
        if self.terminate_due {
            self.terminate_due = !self.say(ToWorker::Terminate);
        }
        if !self.greeted {
            return;
        }
        while let Some((pid, kept)) = children.untold() {
            let exited = ToWorker::Exited {
                pid,
                start_time: kept.start_time,
                status: kept.status,
            };
            if !self.say(exited) {
                return;
            }
            kept.told = true;
        }
        if self.hello_due {
            let held = held.count();
            self.hello_due = !self.say(ToWorker::HelloDone { held });
        }
    }

    /// False when there is no room. A worker that is gone counts as told: the next one is told again.
    fn say(&mut self, message: ToWorker) -> bool {
        match channel::send(self.line.as_fd(), &message.encode(), None) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.line_full = true;
                false
            }
            _ => true,
        }
    }
}
