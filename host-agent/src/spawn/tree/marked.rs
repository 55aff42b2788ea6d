//! A tree without cgroup: found by what its processes inherit, each of which a process may shed, but hardly all at once:
//! the session, a mark in the environment, the log pipe, a parent. Who was found once is not lost again.
//!
//! Must never take another run's process for one of its own: every sign names this run or this instance alone. What sheds
//! them all before it is first looked at (a daemon that clears its environment, closes its output and leaves its parent)
//! is not found; only a cgroup holds that.

use std::collections::{HashMap, HashSet};
use std::fs::{read, read_dir, read_link};
use std::path::Path;

use host_agent_engine::input::Slot;
use host_agent_sys::process::{start_time, stat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use zhylon_shared::name;

use super::MARKER;
use crate::spawn::record::pid_of;

/// Looks in a row that must find nothing before the tree counts as gone: a process that forks while we walk can hide once.
const SCANS_UNTIL_GONE: u32 = 2;
/// Walks through the processes that came since the walk before, at most. A machine that starts a process with each of our
/// walks is busy, or a chain of processes runs away from us: with each walk it gets likelier that one of them is met.
const WALKS: usize = 4;
/// Rounds of stopping before all are killed. A tree that forks faster than we stop it is stopped further the next time.
const STOP_ROUNDS: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Marked {
    main: Pid,
    /// Of the main process: once it is gone its pid, and with it a session of that number, can be a stranger's.
    start_time: Option<u64>,
    marker: Vec<u8>,
    /// `<directory>/<file>`, the end of the FIFO's path.
    fifo: String,
    /// Found before, with the start time that tells them from later ones of the same number. Only those that still live.
    known: HashMap<Pid, u64>,
    empty_scans: u32,
}

impl Marked {
    pub(super) fn new(main: Pid, start_time: Option<u64>, slot: &Slot, fifo: &str) -> Self {
        let marker = format!("{MARKER}={}", name::instance(&slot.daemon, slot.index));
        Self {
            main,
            start_time,
            marker: marker.into_bytes(),
            fifo: format!("fifo/{fifo}"),
            known: HashMap::new(),
            empty_scans: 0,
        }
    }

    pub(super) fn remember(&mut self) {
        self.scan(|_| ());
    }

    pub(super) fn is_gone(&mut self) -> bool {
        self.scan(|_| ());
        self.empty_scans = if self.known.is_empty() {
            self.empty_scans + 1
        } else {
            0
        };
        self.empty_scans >= SCANS_UNTIL_GONE
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        self.scan(|_| ());
        self.known.iter().for_each(|one| send(one, signal));
    }

    /// Stops each as soon as it is found: what is stopped forks no more. Kills when no more are found.
    pub(super) fn kill(&mut self) {
        for _ in 0..STOP_ROUNDS {
            let before = self.known.clone();
            let mut more = false;
            self.scan(|one| {
                // One that was known had the time to fork before it was stopped.
                more |= before.get(one.0) != Some(one.1);
                send(one, Signal::STOP);
            });
            if !more {
                break;
            }
        }
        self.known.iter().for_each(|one| send(one, Signal::KILL));
    }

    /// Makes `known` who belongs to it and lives, and tells of each at once. Zombies do not count: they run no more, and
    /// their parents may take their time.
    ///
    /// Looks for processes that are new until there are none: one that forks and ends while we walk has left a successor.
    fn scan(&mut self, mut found_one: impl FnMut((&Pid, &u64))) {
        let mut found = HashMap::new();
        let mut others: Vec<Process> = Vec::new();
        let mut seen = HashSet::new();
        let session = self.session();
        for _ in 0..WALKS {
            let new: Vec<Pid> = pids().into_iter().filter(|pid| seen.insert(*pid)).collect();
            if new.is_empty() {
                break;
            }
            let all = new.into_iter().filter_map(process);
            for process in all.filter(|process| self.is_young_enough(process)) {
                if self.is_member(&process, session) {
                    found_one((&process.pid, &process.start_time));
                    found.insert(process.pid, process.start_time);
                } else {
                    others.push(process);
                }
            }
            // Children of members, and theirs.
            loop {
                let before = found.len();
                others.retain(|process| {
                    let inside = (process.parent).is_some_and(|parent| found.contains_key(&parent));
                    if inside {
                        found_one((&process.pid, &process.start_time));
                        found.insert(process.pid, process.start_time);
                    }
                    !inside
                });
                if found.len() == before {
                    break;
                }
            }
        }
        self.known = found;
    }

    /// The session of the main process, if its number is not a stranger's by now.
    fn session(&self) -> Option<Pid> {
        let now = start_time(self.main);
        let then = self.start_time;
        let is_a_strangers = now.is_ok_and(|now| then.is_some_and(|then| then != now));
        (!is_a_strangers).then_some(self.main)
    }

    /// Who was there before the main process is nobody's child in its tree: most of a host's processes cost one look at
    /// their start time, and neither their environment nor their descriptors are read.
    fn is_young_enough(&self, process: &Process) -> bool {
        self.start_time
            .is_none_or(|then| process.start_time >= then)
    }

    fn is_member(&self, process: &Process, session: Option<Pid>) -> bool {
        let pid = process.pid;
        (session.is_some() && process.session == session)
            || self.known.get(&pid) == Some(&process.start_time)
            || read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|b| *b == 0).any(|entry| entry == self.marker))
            || [1, 2].iter().any(|fd| {
                // Only the link is read: nothing is opened that could hang.
                read_link(format!("/proc/{pid}/fd/{fd}"))
                    .is_ok_and(|to| to.ends_with(Path::new(&self.fifo)))
            })
    }
}

fn send((pid, start_time): (&Pid, &u64), signal: Signal) {
    let Ok(pidfd) = pidfd_open(*pid, PidfdFlags::empty()) else {
        return;
    };
    // Its number may have become a stranger's before the pidfd was open.
    if process(*pid).is_some_and(|now| now.start_time == *start_time) {
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}

/// A process that is no zombie.
struct Process {
    pid: Pid,
    /// `None`: outside of our pid namespace, as of the session.
    parent: Option<Pid>,
    session: Option<Pid>,
    start_time: u64,
}

fn pids() -> Vec<Pid> {
    let Ok(entries) = read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| pid_of(entry.file_name().to_str()?))
        .collect()
}

fn process(pid: Pid) -> Option<Process> {
    let stat = stat(pid).ok()?;
    if matches!(stat.state, 'Z' | 'X') {
        return None;
    }
    Some(Process {
        pid,
        parent: stat.parent,
        session: stat.session,
        start_time: stat.start_time,
    })
}

#[cfg(test)]
mod tests;
