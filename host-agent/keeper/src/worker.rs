//! The worker as a process: starting it, seeing that it is gone, and how soon the next one may come.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use host_agent_sys::process::stat;
use host_agent_sys::spawn::{Child, SpawnWorker, spawn_worker};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::handover::{c_string, environment};
use crate::worker_end::{LINE_FD, LISTENER_FD};

/// A worker that lived this long was not broken from the start: the next one comes at once.
const HEALTHY: Duration = Duration::from_secs(1);
/// First wait after one that was; doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A killed worker may have a thread that can not die (stuck in a dead file system). After this long the next one starts
/// beside it.
pub(crate) const STUCK: Duration = Duration::from_secs(2);
/// How often to look whether a worker's main thread died without the rest of it: nothing tells us. It wakes an idle host.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// And while one may be dying.
const LOOK_CLOSELY: Duration = Duration::from_secs(1);

/// The program that all workers are: opened once, so that an upgrade on disk changes nothing by itself.
#[derive(Debug)]
pub(crate) struct Program {
    exe: OwnedFd,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// This program, to be started with these arguments and the keeper's environment.
    pub(crate) fn this(args: &[OsString]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let exe = rustix::fs::open("/proc/self/exe", flags, Mode::empty())?;
        let name = std::env::args_os().next().unwrap_or("host-agent".into());
        let argv = [&name].into_iter().chain(args);
        let argv = argv.map(|arg| c_string(&[arg])).collect::<Result<_, _>>()?;
        let env = environment()?;
        Ok(Self { exe, argv, env })
    }

    pub(crate) fn start(&self, listener: &UnixListener) -> io::Result<Worker> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (unix, packets) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (line, theirs) = socketpair(unix, packets, flags, None)?;
        let child = spawn_worker(&SpawnWorker {
            exe: self.exe.as_fd(),
            argv: &self.argv,
            env: &self.env,
            fds: &[(theirs.as_fd(), LINE_FD), (listener.as_fd(), LISTENER_FD)],
        })?;
        Ok(Worker::new(child, line))
    }
}

/// A worker that was started and is not known to be gone.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) child: Child,
    /// The keeper's end of the line.
    pub(crate) line: OwnedFd,
    started: Instant,
    leader_looked_at: Option<Instant>,
    leader_gone: Option<Instant>,
    /// It has closed its end, and all it sent has been read.
    pub(crate) line_closed: bool,
    /// It did not read the last thing said.
    pub(crate) line_full: bool,
    /// It said Hello: it may be told of ends.
    pub(crate) greeted: bool,
    /// It has not yet been told that all kept ends were told.
    pub(crate) hello_due: bool,
    /// It has not yet been told to end.
    pub(crate) terminate_due: bool,
}

/// What became of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It runs.
    Alive,
    /// It ended and is reaped.
    Ended,
    /// Its main thread has been dead for [`STUCK`], but some other thread can not end.
    Stuck,
}

impl Worker {
    fn new(child: Child, line: OwnedFd) -> Self {
        Self {
            child,
            line,
            started: Instant::now(),
            leader_looked_at: None,
            leader_gone: None,
            line_closed: false,
            line_full: false,
            greeted: false,
            hello_due: false,
            terminate_due: false,
        }
    }

    /// Looks, and reaps it if it has ended.
    pub(crate) fn fate(&mut self) -> Fate {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(self.child.pidfd.as_fd()), look) {
            Ok(None) if self.is_look_due() => self.leader_fate(),
            Ok(None) => Fate::Alive,
            // An error means that it is no child any more.
            Ok(Some(_)) | Err(_) => Fate::Ended,
        }
    }

    /// Nothing tells of a main thread's end, so it is looked for; not with every word the worker says.
    fn is_look_due(&mut self) -> bool {
        let now = Instant::now();
        let dying = self.leader_gone.is_some();
        let due = dying || (self.leader_looked_at).is_none_or(|last| now - last >= LOOK_EVERY);
        if due {
            self.leader_looked_at = Some(now);
        }
        due
    }

    fn leader_fate(&mut self) -> Fate {
        let gone = stat(self.child.pid).is_ok_and(|stat| matches!(stat.state, 'Z' | 'X'));
        if !gone {
            self.leader_gone = None;
            return Fate::Alive;
        }
        let since = *self.leader_gone.get_or_insert_with(Instant::now);
        if since.elapsed() < STUCK {
            Fate::Alive
        } else {
            Fate::Stuck
        }
    }

    /// How soon to ask for its fate again, if nothing happens before. `asked_to_end`: it may be about to.
    pub(crate) fn look_again(&self, asked_to_end: bool) -> Duration {
        if asked_to_end || self.leader_gone.is_some() {
            LOOK_CLOSELY
        } else {
            LOOK_EVERY
        }
    }

    pub(crate) fn kill(&self) {
        // It fails only if it is gone already.
        let _ = pidfd_send_signal(&self.child.pidfd, Signal::KILL);
    }

    pub(crate) fn lived(&self) -> Duration {
        self.started.elapsed()
    }
}

/// How long to wait before the next worker.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    last: Duration,
}

impl Backoff {
    /// The wait after a worker that lived this long.
    pub(crate) fn after(&mut self, lived: Duration) -> Duration {
        self.last = if lived >= HEALTHY {
            Duration::ZERO
        } else {
            (self.last * 2).clamp(FIRST_WAIT, LONGEST_WAIT)
        };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn a_worker_whose_main_thread_is_dead_but_which_does_not_end_is_given_up() {
        // The kernel shows it as a zombie whose pidfd says nothing. Here the two are two processes.
        let mut alive = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let mut zombie = Command::new("true").spawn().unwrap();
        let (alive_pid, zombie_pid) = (Pid::from_child(&alive), Pid::from_child(&zombie));
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(zombie_pid), look).unwrap();
        let pidfd = pidfd_open(alive_pid, PidfdFlags::empty()).unwrap();
        let line = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
        let mut worker = Worker::new(
            Child {
                pid: alive_pid,
                pidfd,
            },
            line,
        );
        assert_eq!(worker.fate(), Fate::Alive);
        worker.child.pid = zombie_pid;
        assert_eq!(worker.fate(), Fate::Alive);
        assert_eq!(worker.leader_gone, None, "not looked at with every word");
        assert_eq!(worker.look_again(false), LOOK_EVERY);
        worker.leader_looked_at = worker.leader_looked_at.map(|last| last - LOOK_EVERY);
        assert_eq!(worker.fate(), Fate::Alive, "not at once");
        assert_eq!(worker.look_again(false), LOOK_CLOSELY);
        worker.leader_gone = worker.leader_gone.map(|since| since - STUCK);
        assert_eq!(worker.fate(), Fate::Stuck);
        alive.kill().unwrap();
        zombie.wait().unwrap();
        waitid(WaitId::Pid(alive_pid), look).unwrap();
        assert_eq!(worker.fate(), Fate::Ended);
        assert!(alive.wait().is_err(), "reaped");
    }

    #[test]
    fn a_worker_that_never_lives_is_tried_ever_less_often_and_one_that_did_at_once() {
        let mut backoff = Backoff::default();
        let young = Duration::from_millis(999);
        let waits: Vec<u128> = (0..9).map(|_| backoff.after(young).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.after(HEALTHY), Duration::ZERO);
        assert_eq!(backoff.after(young), FIRST_WAIT);
    }
}
