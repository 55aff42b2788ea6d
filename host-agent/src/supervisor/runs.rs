//! The runs there are, and the one epoll descriptor they are all waited for with: a pidfd each, the helper's status pipe
//! while it starts, and the line to the keeper.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use host_agent_engine::input::{Run, StartError};
use host_agent_sys::readiness::Readiness;
use rustix::event::{Timespec, epoll};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::spawn::Attempt;
use crate::spawn::tree::Tree;

/// Events read at once. More wait for the next read.
const EVENTS_PER_READ: usize = 64;
/// The keeper's line; runs have the numbers from 1.
const KEEPER: u64 = 0;

/// One run, from its process's birth until nothing of it is left.
#[derive(Debug)]
pub(super) struct LiveRun {
    pub(super) pid: Pid,
    /// Of a process this worker did not start: what the keeper knows it by.
    pub(super) start_time: Option<u64>,
    pub(super) main: Main,
    pub(super) tree: Tree,
    /// File name of its FIFO.
    pub(super) fifo: String,
    /// Why it never became the program.
    pub(super) start_error: Option<StartError>,
    /// The engine knows its process: it hears of a start once it is known how that went.
    pub(super) announced: bool,
    /// It was told to be killed: whatever of its tree shows up is killed too.
    pub(super) kill: bool,
    /// Nothing of its tree is left.
    pub(super) gone: bool,
    /// Nothing of its log is left in the FIFO.
    pub(super) drained: bool,
    /// The log threads have its FIFO.
    pub(super) attached: bool,
    /// Time between two looks at a tree that outlives its main process.
    pub(super) look_wait: Duration,
    token: u64,
    wake: Option<Instant>,
}

/// The main process of a run.
#[derive(Debug)]
pub(super) enum Main {
    /// Our child; its helper runs.
    Starting {
        pidfd: OwnedFd,
        status: OwnedFd,
        attempt: Attempt,
    },
    /// Our child; it became the program.
    Child { pidfd: OwnedFd },
    /// Started by a former worker.
    Adopted { pidfd: OwnedFd },
    /// Started by a former worker and ended; the keeper may say how.
    Awaited,
    /// Ended, recorded and reaped.
    Ended,
}

impl Main {
    fn pidfd(&self) -> Option<&OwnedFd> {
        match self {
            Self::Starting { pidfd, .. } | Self::Child { pidfd } | Self::Adopted { pidfd } => {
                Some(pidfd)
            }
            Self::Awaited | Self::Ended => None,
        }
    }
}

/// What is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// The keeper said something.
    Keeper,
    /// A helper's status pipe has news.
    Status(Run),
    /// A main process ended.
    Ended(Run),
}

/// All runs.
#[derive(Debug)]
pub(super) struct Runs {
    all: BTreeMap<Run, LiveRun>,
    by_token: HashMap<u64, Run>,
    next_token: u64,
    wakes: BTreeSet<(Instant, Run)>,
    epoll: Readiness,
}

impl LiveRun {
    pub(super) fn new(
        pid: Pid,
        start_time: Option<u64>,
        main: Main,
        tree: Tree,
        fifo: String,
    ) -> Self {
        Self {
            pid,
            start_time,
            main,
            tree,
            fifo,
            start_error: None,
            announced: start_time.is_some(),
            kill: false,
            gone: false,
            drained: false,
            attached: false,
            look_wait: Duration::ZERO,
            token: 0,
            wake: None,
        }
    }

    /// Sends a signal to the main process. One that has ended is no error.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pidfd) = self.main.pidfd() {
            let _ = pidfd_send_signal(pidfd, signal);
        }
    }
}

impl Runs {
    /// Waits for `keeper` too. Needs a tokio runtime.
    pub(super) fn new(keeper: BorrowedFd<'_>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            keeper,
            epoll::EventData::new_u64(KEEPER),
            epoll::EventFlags::IN,
        )?;
        Ok(Self {
            all: BTreeMap::new(),
            by_token: HashMap::new(),
            next_token: 1,
            wakes: BTreeSet::new(),
            epoll: Readiness::new(epoll)?,
        })
    }

    /// Returns when something is ready. Cancel safe.
    pub(super) async fn ready(&self) -> io::Result<()> {
        self.epoll.readable().await
    }

    /// Reads what is ready, at most a batch.
    pub(super) fn read_ready(&self) -> io::Result<Vec<Ready>> {
        let mut events = Vec::with_capacity(EVENTS_PER_READ);
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, Some(&now)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(events
            .iter()
            .filter_map(|event| self.meaning(event.data.u64()))
            .collect())
    }

    /// Pidfds have even numbers, status pipes odd ones.
    fn meaning(&self, data: u64) -> Option<Ready> {
        if data == KEEPER {
            return Some(Ready::Keeper);
        }
        let run = *self.by_token.get(&(data / 2))?;
        Some(match data % 2 {
            0 => Ready::Ended(run),
            _ => Ready::Status(run),
        })
    }

    /// Begins to wait for a run.
    pub(super) fn insert(&mut self, run: Run, mut live: LiveRun) -> io::Result<()> {
        live.token = self.next_token;
        self.next_token += 1;
        if let Some(pidfd) = live.main.pidfd() {
            self.wait_for(pidfd.as_fd(), live.token * 2)?;
        }
        if let Main::Starting { status, .. } = &live.main {
            self.wait_for(status.as_fd(), live.token * 2 + 1)?;
        }
        self.by_token.insert(live.token, run);
        self.all.insert(run, live);
        Ok(())
    }

    fn wait_for(&self, fd: BorrowedFd<'_>, data: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(data);
        Ok(epoll::add(&self.epoll, fd, data, epoll::EventFlags::IN)?)
    }

    pub(super) fn get(&self, run: &Run) -> Option<&LiveRun> {
        self.all.get(run)
    }

    pub(super) fn get_mut(&mut self, run: &Run) -> Option<&mut LiveRun> {
        self.all.get_mut(run)
    }

    /// The runs whose main process lives (or is not reaped), with that process.
    pub(super) fn living(&self) -> impl Iterator<Item = (&Run, Pid, &Tree)> {
        let lives = |live: &LiveRun| matches!(live.main, Main::Child { .. } | Main::Adopted { .. });
        let living = self.all.iter().filter(move |(_, live)| lives(live));
        living.map(|(run, live)| (run, live.pid, &live.tree))
    }

    /// The run whose main process the keeper tells of.
    pub(super) fn adopted_by(&self, pid: i32, start_time: u64) -> Option<Run> {
        let is_it = |live: &LiveRun| {
            live.start_time == Some(start_time)
                && live.pid.as_raw_nonzero().get() == pid
                && matches!(live.main, Main::Adopted { .. } | Main::Awaited)
        };
        let mut runs = self.all.iter();
        runs.find(|(_, live)| is_it(live)).map(|(run, _)| *run)
    }

    /// Changes what is known of the main process; the descriptors that go with the former state are closed, which also
    /// ends waiting for them, where nobody else has a copy. Other starts may have one (before Linux 5.9), until they are
    /// through, and starts come in crowds: waiting for a status pipe is ended in so many words.
    pub(super) fn set_main(&mut self, run: &Run, change: impl FnOnce(Main) -> Main) {
        let Some(live) = self.all.get_mut(run) else {
            return;
        };
        let old = std::mem::replace(&mut live.main, Main::Ended);
        if let Main::Starting { status, .. } = &old {
            // One that is not waited for is nothing to forget.
            let _ = epoll::delete(&self.epoll, status);
        }
        live.main = change(old);
    }

    /// Nothing of it is left.
    pub(super) fn remove(&mut self, run: &Run) -> Option<LiveRun> {
        self.wake_at(run, None);
        let live = self.all.remove(run)?;
        self.by_token.remove(&live.token);
        Some(live)
    }

    /// When to look at this run again; it takes the place of an earlier wish.
    pub(super) fn wake_at(&mut self, run: &Run, at: Option<Instant>) {
        let Some(live) = self.all.get_mut(run) else {
            return;
        };
        if let Some(old) = std::mem::replace(&mut live.wake, at) {
            self.wakes.remove(&(old, *run));
        }
        if let Some(at) = at {
            self.wakes.insert((at, *run));
        }
    }

    /// The earliest such time.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// A run whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Run> {
        let (at, run) = *self.wakes.first()?;
        if at > now {
            return None;
        }
        self.wake_at(&run, None);
        Some(run)
    }
}
