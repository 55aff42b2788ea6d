//! What is said over the line to the present worker, and the descriptors it entrusts to the keeper.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};

use crate::channel::{self, Received};
use crate::children::Children;
use crate::log::log;
use crate::protocol::{RunKey, ToKeeper, ToWorker};
use crate::worker::Worker;

/// Frames read before signals are looked at again.
pub(crate) const FRAMES_PER_TURN: usize = 64;
/// FIFOs held at most. More are closed at once, and said: their last bytes then depend on the worker alone.
const MAX_HELD: u64 = 16_384;
/// Of the files this process may open, kept for its own: without them no worker could be started any more.
const OWN_FILES: u64 = 64;

/// Read ends of FIFOs: what was written into them stays, even when nobody else has them open.
#[derive(Debug)]
pub(crate) struct Held {
    fifos: HashMap<RunKey, OwnedFd>,
    max: usize,
}

impl Held {
    /// `open_files` is how many files this process may open; `None` for any number.
    pub(crate) fn new(open_files: Option<u64>) -> Self {
        let room = open_files.unwrap_or(u64::MAX).saturating_sub(OWN_FILES);
        Self {
            fifos: HashMap::new(),
            max: room.min(MAX_HELD) as usize,
        }
    }

    /// All that is held, by whose it is.
    pub(crate) fn fifos(&self) -> impl Iterator<Item = (RunKey, BorrowedFd<'_>)> {
        self.fifos.iter().map(|(run, fifo)| (*run, fifo.as_fd()))
    }

    pub(crate) fn hold(&mut self, run: RunKey, fifo: Option<OwnedFd>) {
        let full = self.fifos.len() >= self.max && !self.fifos.contains_key(&run);
        match fifo {
            Some(fifo) if !full => drop(self.fifos.insert(run, fifo)),
            Some(_) => log(&format!(
                "{} FIFOs are held, no more can be; raise the limit of open files",
                self.max
            )),
            None => log("a FIFO to hold did not arrive"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holding_stops_before_no_worker_could_be_started() {
        assert_eq!(Held::new(None).max, 16_384);
        assert_eq!(Held::new(Some(10)).max, 0);
        let mut held = Held::new(Some(OWN_FILES + 2));
        let run = |generation| RunKey {
            daemon: [b'x'; 18],
            index: 0,
            generation,
        };
        let fifo = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        for (generation, count) in [(1, 1), (2, 2), (3, 2), (2, 2)] {
            held.hold(run(generation), Some(fifo()));
            assert_eq!(held.count(), count);
        }
        held.fifos.remove(&run(1));
        held.hold(run(3), Some(fifo()));
        assert!(held.fifos.contains_key(&run(3)));
    }
}
