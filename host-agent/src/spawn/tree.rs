//! Everything that lives because of one run. By cgroup where there is one; else by session and environment, which a
//! hostile tree can outrun: that is why the cgroup comes first.

use host_agent_engine::input::Slot;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use zhylon_shared::name;

use super::cgroup::Leaf;
use super::record::{RunRecord, pid_of};

/// The variable that marks a process as one of an instance's. Only one run of a slot lives at a time.
pub(crate) const MARKER: &str = "SUPERVISOR_PROCESS_NAME";
/// Looks in a row that must find nothing before a tree without cgroup counts as gone.
const SCANS_UNTIL_GONE: u32 = 2;

/// One run's tree.
#[derive(Debug)]
pub(crate) enum Tree {
    /// All in a cgroup of their own.
    Leaf(Leaf),
    /// All in the main process's session, or marked by their environment.
    Marked {
        main: Pid,
        /// Of the main process: once it is gone its pid, and with it a session of that number, can be a stranger's.
        start_time: Option<u64>,
        marker: Vec<u8>,
        /// How often in a row nothing was found: a process that forks while we walk can hide once.
        empty_scans: u32,
    },
}

impl Tree {
    /// The tree of a recorded run.
    pub(crate) fn of(record: &RunRecord) -> Self {
        match &record.facts.cgroup {
            Some(path) => Self::Leaf(Leaf::at(path.clone())),
            None => Self::marked(record.pid, Some(record.start_time), &record.facts.run.slot),
        }
    }

    /// The tree of a run that has no cgroup.
    pub(crate) fn marked(main: Pid, start_time: Option<u64>, slot: &Slot) -> Self {
        let marker = format!("{MARKER}={}", name::instance(&slot.daemon, slot.index));
        Self::Marked {
            main,
            start_time,
            marker: marker.into_bytes(),
            empty_scans: 0,
        }
    }

    /// Whether nothing of it is left. Without a cgroup it takes two looks to say so.
    pub(crate) fn is_gone(&mut self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.is_empty(),
            Self::Marked {
                main,
                start_time,
                marker,
                empty_scans,
            } => {
                if members(session(*main, *start_time), marker).is_empty() {
                    *empty_scans += 1;
                } else {
                    *empty_scans = 0;
                }
                *empty_scans >= SCANS_UNTIL_GONE
            }
        }
    }

    /// Sends a signal to all of it.
    pub(crate) fn signal(&self, signal: Signal) {
        match self {
            Self::Leaf(leaf) => leaf.signal(signal),
            Self::Marked {
                main,
                start_time,
                marker,
                ..
            } => signal_members(session(*main, *start_time), marker, signal),
        }
    }

    /// Kills all of it that is there now. Without a cgroup something may fork away: look again, kill again.
    pub(crate) fn kill(&self) {
        match self {
            Self::Leaf(leaf) => leaf.kill(),
            Self::Marked { .. } => self.signal(Signal::KILL),
        }
    }
}

/// The session of the main process, if its number is not a stranger's by now.
fn session(main: Pid, start_time: Option<u64>) -> Option<Pid> {
    let now = host_agent_sys::process::start_time(main);
    let is_a_strangers = now.is_ok_and(|now| start_time.is_some_and(|then| then != now));
    (!is_a_strangers).then_some(main)
}

fn signal_members(session: Option<Pid>, marker: &[u8], signal: Signal) {
    for pid in members(session, marker) {
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        // Its pid may have become a stranger's before the pidfd was open.
        if is_member(pid, session, marker) {
            let _ = pidfd_send_signal(&pidfd, signal);
        }
    }
}

fn members(session: Option<Pid>, marker: &[u8]) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| pid_of(entry.file_name().to_str()?))
        .filter(|pid| is_member(*pid, session, marker))
        .collect()
}

/// Zombies are no members: they run no more, and their parents may take their time.
fn is_member(pid: Pid, session: Option<Pid>, marker: &[u8]) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let Some((state, own)) = state_and_session(&stat) else {
        return false;
    };
    if matches!(state, 'Z' | 'X') {
        return false;
    }
    session.is_some_and(|session| session.as_raw_nonzero().get() == own)
        || std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|b| *b == 0).any(|entry| entry == marker))
}

/// Fields 3 and 6. The name in field 2 may hold anything: only what follows the last `)` counts.
fn state_and_session(stat: &[u8]) -> Option<(char, i32)> {
    let close = stat.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(2)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_grandchild_in_a_session_of_its_own_is_found_by_its_mark() {
        let slot = Slot {
            daemon: zhylon_shared::id::DaemonId::random().unwrap(),
            index: 0,
        };
        let name = name::instance(&slot.daemon, 0);
        let mut main = Command::new("sh")
            .args(["-c", "setsid sleep 1000 & exec sleep 1000"])
            .env(MARKER, &name)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&main);
        let mut tree = Tree::marked(pid, None, &slot);
        let Tree::Marked { marker, .. } = &tree else {
            unreachable!()
        };
        let marker = marker.clone();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while members(Some(pid), &marker).len() < 2 {
            assert!(std::time::Instant::now() < deadline, "both are members");
            std::thread::yield_now();
        }
        assert!(!tree.is_gone());
        tree.kill();
        main.wait().unwrap();
        while !tree.is_gone() {
            assert!(std::time::Instant::now() < deadline, "both are killed");
        }
        let stranger = Slot {
            daemon: zhylon_shared::id::DaemonId::random().unwrap(),
            index: 0,
        };
        let mut none = Tree::marked(pid, None, &stranger);
        assert!(!none.is_gone(), "one look is not enough");
        assert!(none.is_gone());
    }
}
