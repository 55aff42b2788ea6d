//! What instances use: CPU and memory, looked at all together and seldom.
//!
//! Owns the samples and when the next look is due. A look may cost at most a ten-thousandth of the time: the more there is
//! to look at, the seldomer it happens. Must never wake the host for one instance alone, and never have a state told
//! anew because of what a person would not see.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use host_agent_engine::input::{Run, Slot};
use rustix::process::Pid;
use zhylon_shared::id::DaemonId;

use crate::spawn::tree::Tree;

/// From one look to the next, at least. Each look may be one more status for the api-server to store.
const EVERY: Duration = Duration::from_secs(30);
/// From the start of a process to the first look at it: long enough for a program to have become itself.
const FIRST: Duration = Duration::from_secs(2);
/// A look that took this long is followed by this many times as long without one.
const REST: u32 = 10_000;
/// CPU time that is worth telling.
const CPU_STEP: Duration = Duration::from_millis(100);
/// A change of memory by more than one part in so many is worth telling.
const MEMORY_PARTS: u64 = 16;

/// What an instance used when it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// CPU time of its process or tree since it began, and memory in bytes; `None` while nothing runs and before the
    /// first look.
    pub(crate) now: Option<Sample>,
    /// The kernel killed something of the run that ended last, for want of memory.
    pub(crate) oom_killed: bool,
}

/// CPU and memory of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// CPU time since it began.
    pub(crate) cpu: Duration,
    /// Memory, bytes.
    pub(crate) memory: u64,
}

#[derive(Debug, Default)]
struct Seen {
    usage: Usage,
    /// The generation that `usage.now` and `newest` are about.
    generation: u64,
    /// As last looked at, told or not.
    newest: Option<Sample>,
}

/// See the module. Bounded by the slots there are.
#[derive(Debug, Default)]
pub(super) struct Usages {
    slots: BTreeMap<Slot, Seen>,
    due: Option<Instant>,
    /// No look before this time, whatever is due.
    rest_until: Option<Instant>,
}

impl Usages {
    /// A process began (or was found): it will be looked at.
    pub(super) fn began(&mut self, now: Instant) {
        let first = now + FIRST;
        self.due = Some(self.due.map_or(first, |due| due.min(first)));
    }

    /// A run's main process ended. True when the kernel killed something of it for want of memory.
    pub(super) fn ended(&mut self, run: &Run, tree: &Tree) {
        let oom_killed = matches!(tree, Tree::Leaf(leaf) if leaf.oom_kills() > 0);
        let seen = self.slots.entry(run.slot).or_default();
        // A late end of an older generation says nothing about a newer one.
        if seen.generation <= run.generation {
            *seen = Seen {
                usage: Usage {
                    now: None,
                    oom_killed,
                },
                generation: run.generation,
                newest: None,
            };
        }
    }

    /// The daemon is gone.
    pub(super) fn forget(&mut self, daemon: &DaemonId) {
        self.slots.retain(|slot, _| slot.daemon != *daemon);
    }

    /// What is told of a daemon's instances, by index.
    pub(super) fn of(&self, daemon: &DaemonId) -> BTreeMap<u32, Usage> {
        let slot = |index| Slot {
            daemon: *daemon,
            index,
        };
        self.slots
            .range(slot(0)..=slot(u32::MAX))
            .map(|(slot, seen)| (slot.index, seen.usage))
            .collect()
    }

    /// When the next look is due; `None` while nothing runs.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.max(self.due.and(self.rest_until))
    }

    /// Looks at all runs, if that is due. Returns the daemons of which there is something new to tell.
    pub(super) fn look<'a>(
        &mut self,
        now: Instant,
        runs: impl Iterator<Item = (&'a Run, Pid, &'a Tree)>,
    ) -> Vec<DaemonId> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut news = Vec::new();
        let mut any = false;
        for (run, pid, tree) in runs {
            any = true;
            let seen = self.slots.entry(run.slot).or_default();
            if seen.generation != run.generation {
                seen.generation = run.generation;
                (seen.newest, seen.usage.now) = (None, None);
            }
            seen.newest = sample(pid, tree, seen.newest);
            if worth_telling(seen.usage.now, seen.newest) {
                seen.usage.now = seen.newest;
                news.push(run.slot.daemon);
            }
        }
        let rest = now.elapsed() * REST;
        self.rest_until = Some(now + rest);
        self.due = any.then(|| now + EVERY);
        news
    }
}

/// Of the whole tree by its cgroup where that has figures, else of the main process alone. A process that has not run
/// since the last look has the memory it had.
fn sample(pid: Pid, tree: &Tree, last: Option<Sample>) -> Option<Sample> {
    let leaf = match tree {
        Tree::Leaf(leaf) => Some(leaf),
        Tree::Marked(_) => None,
    };
    let whole = leaf.and_then(|leaf| leaf.cpu_time());
    let cpu = whole.or_else(|| host_agent_sys::usage::cpu_time(pid).ok())?;
    if let Some(last) = last.filter(|last| last.cpu == cpu) {
        return Some(last);
    }
    let whole = leaf.and_then(|leaf| leaf.memory());
    let memory = whole.or_else(|| resident(pid))?;
    Some(Sample { cpu, memory })
}

/// The second field of `statm`, in pages.
fn resident(pid: Pid) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

fn worth_telling(told: Option<Sample>, newest: Option<Sample>) -> bool {
    match (told, newest) {
        (Some(told), Some(newest)) => {
            newest.cpu.saturating_sub(told.cpu) >= CPU_STEP
                || newest.memory.abs_diff(told.memory) > told.memory / MEMORY_PARTS
        }
        (told, newest) => told != newest,
    }
}

#[cfg(test)]
mod tests;
