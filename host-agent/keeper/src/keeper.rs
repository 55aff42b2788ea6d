//! The keeper's loop: one poll, then whatever it found, then again.

use std::io;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use host_agent_sys::signals::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Signal, getpid, getrlimit, set_child_subreaper, umask};

use crate::children::{self, Children, MAX_KEPT};
use crate::home::Home;
use crate::line::{FRAMES_PER_TURN, Held};
use crate::log::log;
use crate::worker::{Backoff, Fate, Program, STUCK, Worker};
use crate::{KeeperConfig, KeeperError};

/// How long the worker may take to end when asked to. Then it is killed.
const TERMINATE_GRACE: Duration = Duration::from_secs(10);
/// How often to look whether a worker's main thread died without the rest of it: nothing tells us.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// See [`crate::run`].
pub(crate) fn run(config: &KeeperConfig) -> Result<ExitCode, KeeperError> {
    umask(0o022.into());
    let home = Home::open(config)?;
    let at = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| KeeperError::Io { what, source }
    };
    // SIGHUP and SIGPIPE are read and forgotten; SIGCHLD wakes the loop.
    let signals = [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::PIPE,
        Signal::CHILD,
    ];
    let signals = SignalFd::new(&signals).map_err(at("take signals"))?;
    set_child_subreaper(Some(getpid())).map_err(|e| at("become subreaper")(e.into()))?;
    children::list().map_err(at("list children (the kernel needs CONFIG_PROC_CHILDREN)"))?;
    let program = Program::this(&config.worker_args).map_err(at("open /proc/self/exe"))?;
    let listener = home.listen()?;
    home.write_pid("keeper", getpid().as_raw_nonzero().get())?;

    let mut keeper = Keeper {
        children: Children::new(home.records(), MAX_KEPT),
        home,
        program,
        listener,
        worker: None,
        next_start: Instant::now(),
        backoff: Backoff::default(),
        held: Held::new(getrlimit(Resource::Nofile).current),
        scan_due: true,
        ending: None,
    };
    while keeper.turn(&signals).map_err(at("wait for events"))? {}
    keeper.home.leave();
    Ok(ExitCode::SUCCESS)
}

struct Keeper {
    home: Home,
    program: Program,
    listener: UnixListener,
    worker: Option<Worker>,
    next_start: Instant,
    backoff: Backoff,
    children: Children,
    held: Held,
    /// Some child may have ended since they were looked at.
    scan_due: bool,
    /// When the keeper was told to end.
    ending: Option<Instant>,
}

impl Keeper {
    /// Waits for something and handles it. False when the keeper's work is done.
    fn turn(&mut self, signals: &SignalFd) -> io::Result<bool> {
        if self.worker.is_none() {
            if self.ending.is_some() {
                return Ok(false);
            }
            if self.next_start <= Instant::now() {
                self.start_worker();
            }
        }
        self.wait(signals)?;
        while let Some(number) = signals.next()? {
            self.on_signal(number);
        }
        if let Some(worker) = &mut self.worker {
            worker.read_line(&mut self.held, &mut self.children, FRAMES_PER_TURN);
        }
        self.look_after_worker();
        if std::mem::take(&mut self.scan_due) {
            self.scan();
        }
        if let Some(worker) = &mut self.worker {
            worker.tell(&self.held, &mut self.children);
        }
        Ok(true)
    }

    fn wait(&self, signals: &SignalFd) -> io::Result<()> {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        let mut timeout = LOOK_EVERY;
        match &self.worker {
            Some(worker) => fds.extend(worker.poll_fds()),
            None => timeout = self.next_start.saturating_duration_since(Instant::now()),
        }
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn on_signal(&mut self, number: i32) {
        if number == Signal::CHILD.as_raw() {
            self.scan_due = true;
        }
        let end = number == Signal::TERM.as_raw() || number == Signal::INT.as_raw();
        if end && self.ending.is_none() {
            log("told to end; programs run on");
            self.ending = Some(Instant::now());
            if let Some(worker) = &mut self.worker {
                worker.terminate_due = true;
            }
        }
    }

    fn start_worker(&mut self) {
        match self.program.start(&self.listener) {
            Ok(worker) => {
                let pid = worker.child.pid.as_raw_nonzero().get();
                self.worker = Some(worker);
                if let Err(error) = self.home.write_pid("worker", pid) {
                    log(&error.to_string());
                }
            }
            Err(error) => {
                let wait = self.backoff.after(Duration::ZERO);
                self.next_start = Instant::now() + wait;
                log(&format!(
                    "the worker could not be started: {error}; again in {wait:?}"
                ));
            }
        }
    }

    fn look_after_worker(&mut self) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        let asked = self.ending.map_or(Duration::ZERO, |at| at.elapsed());
        if asked >= TERMINATE_GRACE {
            worker.kill();
        }
        let fate = match worker.fate() {
            Fate::Alive if asked >= TERMINATE_GRACE + STUCK => Fate::Stuck,
            fate => fate,
        };
        if fate == Fate::Alive {
            return;
        }
        // What it sent before it died counts.
        worker.read_line(&mut self.held, &mut self.children, usize::MAX);
        let (pid, lived) = (worker.child.pid, worker.lived());
        let wait = self.backoff.after(lived);
        let stuck = match fate {
            Fate::Stuck => ", but a thread of it can not end",
            _ => "",
        };
        log(&format!("worker {pid} ended after {lived:.1?}{stuck}"));
        self.worker = None;
        self.next_start = Instant::now() + wait;
        self.children.forget_told();
        self.scan_due = true;
    }

    fn scan(&mut self) {
        let worker = self.worker.as_ref().map(|worker| worker.child.pid);
        match self.children.scan(worker) {
            Ok(None) => {}
            Ok(Some(lost)) => log(&format!(
                "no worker recorded the ends of programs for too long: {lost} given up so far"
            )),
            Err(error) => log(&format!("children could not be listed: {error}")),
        }
    }
}
