//! The children a dead worker left, and how they ended.
//!
//! An end is looked at without reaping and kept until a worker has recorded it: as long as the process is a zombie its pid
//! names nobody else. What has no run record is nobody's and reaped at once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use host_agent_sys::process::start_time;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::protocol::ExitStatus;

/// Ends kept for a worker. When full, the oldest is reaped unseen: its run then ends as `unknown (adopted)`.
pub(crate) const MAX_KEPT: usize = 4096;
/// Bytes of a run record that are read: the helper's two lines come first.
const RECORD_HEAD: u64 = 4096;

/// One end nobody has recorded yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) start_time: u64,
    pub(crate) status: ExitStatus,
    /// The present worker has been told.
    pub(crate) told: bool,
    /// Order of arrival.
    number: u64,
}

/// All children but the worker.
#[derive(Debug)]
pub(crate) struct Children {
    records: PathBuf,
    max_kept: usize,
    kept: HashMap<i32, Kept>,
    next_number: u64,
    lost: u64,
}

impl Children {
    /// `records` is where run records lie; `max_kept` is [`MAX_KEPT`] but in tests.
    pub(crate) fn new(records: PathBuf, max_kept: usize) -> Self {
        Self {
            records,
            max_kept,
            kept: HashMap::new(),
            next_number: 0,
            lost: 0,
        }
    }

    /// Looks at every child but `worker`. Returns how many ends had to be given up in all, if that number rose.
    pub(crate) fn scan(&mut self, worker: Option<Pid>) -> io::Result<Option<u64>> {
        let lost = self.lost;
        for pid in list()? {
            let seen = self.kept.contains_key(&pid.as_raw_nonzero().get());
            if Some(pid) == worker || seen {
                continue;
            }
            if let Some(status) = ended(pid) {
                self.keep_or_reap(pid, status);
            }
        }
        Ok((self.lost != lost).then_some(self.lost))
    }

    /// The next end the worker has not been told.
    pub(crate) fn untold(&mut self) -> Option<(i32, &mut Kept)> {
        let untold = self.kept.iter_mut().filter(|(_, kept)| !kept.told);
        untold.map(|(pid, kept)| (*pid, kept)).next()
    }

    /// A new worker knows nothing yet.
    pub(crate) fn forget_told(&mut self) {
        self.kept.values_mut().for_each(|kept| kept.told = false);
    }

    /// The worker has recorded this end.
    pub(crate) fn acknowledge(&mut self, pid: i32, start_time: u64) {
        let known = self.kept.get(&pid);
        if known.is_some_and(|kept| kept.start_time == start_time) {
            self.kept.remove(&pid);
            reap(pid);
        }
    }

    fn keep_or_reap(&mut self, pid: Pid, status: ExitStatus) {
        let number = pid.as_raw_nonzero().get();
        let recorded = start_time(pid)
            .ok()
            .filter(|start_time| self.has_record(number, *start_time));
        let Some(start_time) = recorded else {
            reap(number);
            return;
        };
        if self.kept.len() >= self.max_kept {
            self.give_up_oldest();
        }
        self.next_number += 1;
        let kept = Kept {
            start_time,
            status,
            told: false,
            number: self.next_number,
        };
        self.kept.insert(number, kept);
    }

    fn has_record(&self, pid: i32, start_time: u64) -> bool {
        let mut head = String::new();
        let open = File::open(self.records.join(pid.to_string()));
        let read = open.and_then(|file| file.take(RECORD_HEAD).read_to_string(&mut head));
        let line = head.lines().find_map(|l| l.strip_prefix("start_time="));
        read.is_ok() && line == Some(&start_time.to_string())
    }

    fn give_up_oldest(&mut self) {
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.number);
        if let Some(pid) = oldest.map(|(pid, _)| *pid) {
            self.kept.remove(&pid);
            reap(pid);
            self.lost += 1;
        }
    }
}

/// The kernel's own list of this thread's children, zombies included.
pub(crate) fn list() -> io::Result<Vec<Pid>> {
    let list = std::fs::read_to_string("/proc/thread-self/children")?;
    let numbers = list.split_ascii_whitespace();
    Ok(numbers
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect())
}

/// How a child ended, without reaping it; `None` while it lives.
fn ended(pid: Pid) -> Option<ExitStatus> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(pid), look).ok()??;
    let signal = status.terminating_signal().map(ExitStatus::Signal);
    signal.or_else(|| status.exit_status().map(ExitStatus::Code))
}

fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It fails only if it is no child any more, and then there is nothing to reap.
        let _ = waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
    }
}

#[cfg(test)]
mod tests;
