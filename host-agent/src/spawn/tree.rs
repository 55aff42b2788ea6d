//! Everything that lives because of one run. By cgroup where there is one; else by what processes inherit, which a hostile
//! tree can shed: that is why the cgroup comes first.

use host_agent_engine::input::Slot;
use rustix::process::{Pid, Signal};

use self::marked::Marked;
use super::cgroup::Leaf;
use super::record::RunRecord;

mod marked;

/// The variable that marks a process as one of an instance's. Only one run of a slot lives at a time.
pub(crate) const MARKER: &str = "SUPERVISOR_PROCESS_NAME";

/// One run's tree.
#[derive(Debug)]
pub(crate) enum Tree {
    /// All in a cgroup of their own.
    Leaf(Leaf),
    /// All that can be known by what it inherited.
    Marked(Marked),
}

impl Tree {
    /// The tree of a recorded run.
    pub(crate) fn of(record: &RunRecord) -> Self {
        match &record.facts.cgroup {
            Some(path) => Self::Leaf(Leaf::at(path.clone())),
            None => {
                let (slot, fifo) = (&record.facts.run.slot, &record.facts.fifo);
                Self::marked(record.pid, Some(record.start_time), slot, fifo)
            }
        }
    }

    /// The tree of a run that has no cgroup. `fifo` is the file name of its FIFO.
    pub(crate) fn marked(main: Pid, start_time: Option<u64>, slot: &Slot, fifo: &str) -> Self {
        Self::Marked(Marked::new(main, start_time, slot, fifo))
    }

    /// Remembers who belongs to it now, before its main process is asked to end: an orphan's parent tells nothing more.
    /// A cgroup needs no memory.
    pub(crate) fn remember(&mut self) {
        if let Self::Marked(marked) = self {
            marked.remember();
        }
    }

    /// Whether nothing of it is left. Without a cgroup it takes two looks to say so.
    pub(crate) fn is_gone(&mut self) -> bool {
        match self {
            Self::Leaf(leaf) => leaf.is_empty(),
            Self::Marked(marked) => marked.is_gone(),
        }
    }

    /// Sends a signal to all of it.
    pub(crate) fn signal(&mut self, signal: Signal) {
        match self {
            Self::Leaf(leaf) => leaf.signal(signal),
            Self::Marked(marked) => marked.signal(signal),
        }
    }

    /// Kills all of it that is there now. Without a cgroup something may fork away: look again, kill again.
    pub(crate) fn kill(&mut self) {
        match self {
            Self::Leaf(leaf) => leaf.kill(),
            Self::Marked(marked) => marked.kill(),
        }
    }
}
