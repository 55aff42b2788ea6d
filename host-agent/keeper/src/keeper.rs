//! The keeper's loop: one poll, then whatever it found, then again.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use host_agent_sys::signals::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Signal, getpid, getrlimit, set_child_subreaper, umask};

use crate::children::{self, Children, MAX_KEPT};
use crate::handover::Handover;
use crate::home::Home;
use crate::line::{FRAMES_PER_TURN, Held};
use crate::log::log;
use crate::protocol::RunKey;
use crate::worker::{Backoff, Fate, Program, STUCK, Worker};
use crate::{KeeperConfig, KeeperError};

/// How long the worker may take to end when asked to. Then it is killed.
const TERMINATE_GRACE: Duration = Duration::from_secs(10);
/// On this signal the keeper becomes the program that now lies in its place.
const UPGRADE: Signal = Signal::USR2;

/// See [`crate::run`].
pub(crate) fn run(config: &KeeperConfig) -> Result<ExitCode, KeeperError> {
    umask(0o022.into());
    let Place {
        home,
        listener,
        fifos,
    } = Place::find(config)?;
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
        UPGRADE,
    ];
    let signals = SignalFd::new(&signals).map_err(at("take signals"))?;
    set_child_subreaper(Some(getpid())).map_err(|e| at("become subreaper")(e.into()))?;
    children::list().map_err(at("list children (the kernel needs CONFIG_PROC_CHILDREN)"))?;
    let program = Program::this(&config.worker_args).map_err(at("open /proc/self/exe"))?;
    let path = std::env::current_exe().map_err(at("look up its own program"))?;
    home.write_pid("keeper", getpid().as_raw_nonzero().get())?;

    let mut held = Held::new(getrlimit(Resource::Nofile).current);
    for (run, fifo) in fifos {
        held.hold(run, Some(fifo));
    }
    let mut keeper = Keeper {
        path,
        children: Children::new(home.records(), MAX_KEPT),
        home,
        program,
        listener,
        worker: None,
        next_start: Instant::now(),
        backoff: Backoff::default(),
        held,
        scan_due: true,
        ending: None,
        upgrading: None,
    };
    while keeper.turn(&signals).map_err(at("wait for events"))? {}
    keeper.home.leave();
    Ok(ExitCode::SUCCESS)
}

/// What a keeper begins with.
struct Place {
    home: Home,
    listener: UnixListener,
    fifos: Vec<(RunKey, OwnedFd)>,
}

impl Place {
    /// What the keeper before left, if this program takes its place; else a home of its own.
    fn find(config: &KeeperConfig) -> Result<Self, KeeperError> {
        match Handover::take() {
            Ok(Some(left)) if left.dirs == config.dirs() => {
                log("took the place of the keeper before; programs ran on");
                return Ok(Self {
                    home: Home::with_locks(config, left.locks)?,
                    listener: left.listener.into(),
                    fifos: left.fifos,
                });
            }
            // What it held is closed here, and with it the old directories are given up.
            Ok(Some(left)) => log(&format!(
                "the keeper before lived in {} and {}: what runs there is left alone",
                left.dirs[0].display(),
                left.dirs[1].display()
            )),
            Ok(None) => {}
            Err(error) => log(&format!(
                "what the keeper before left is not understood: {error}"
            )),
        }
        let home = Home::open(config)?;
        Ok(Self {
            listener: home.listen()?,
            home,
            fifos: Vec::new(),
        })
    }
}

struct Keeper {
    /// Where this program lay when it was started; what lies there later is the next one.
    path: PathBuf,
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
    /// When it was told to become the program that now lies in its place.
    upgrading: Option<Instant>,
}

impl Keeper {
    /// Waits for something and handles it. False when the keeper's work is done.
    fn turn(&mut self, signals: &SignalFd) -> io::Result<bool> {
        if self.worker.is_none() {
            if self.ending.is_some() {
                return Ok(false);
            }
            if self.upgrading.take().is_some() {
                self.upgrade();
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
        let timeout = match &self.worker {
            Some(worker) => {
                fds.extend(worker.poll_fds());
                worker.look_again(self.ending.or(self.upgrading).is_some())
            }
            None => self.next_start.saturating_duration_since(Instant::now()),
        };
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
            self.end_worker();
        }
        if number == UPGRADE.as_raw() && self.ending.or(self.upgrading).is_none() {
            log("told to become a newer program; programs run on");
            self.upgrading = Some(Instant::now());
            self.end_worker();
        }
    }

    fn end_worker(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.terminate_due = true;
        }
    }

    /// Returns only if it failed: then everything goes on as before.
    fn upgrade(&self) {
        let left = Handover {
            dirs: self.home.dirs().clone(),
            locks: self.home.locks().each_ref().map(OwnedFd::as_fd),
            listener: self.listener.as_fd(),
            fifos: self.held.fifos().collect(),
        };
        let args: Vec<_> = std::env::args_os().collect();
        let error = left.execute(&self.path, &args);
        log(&format!(
            "{} can not be executed: {error}; the old program goes on",
            self.path.display()
        ));
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
        let asked = self
            .ending
            .or(self.upgrading)
            .map_or(Duration::ZERO, |at| at.elapsed());
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
