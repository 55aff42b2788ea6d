//! The deadline table: at most one deadline per instance, per pending check and per rollout.
//!
//! It never decides anything; whoever owns a deadline replaces it whenever its state changes.

use std::collections::{BTreeMap, BTreeSet};

use zhylon_shared::id::DaemonId;

use crate::input::Slot;
use crate::time::Time;

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// What an instance waits for: its next start, counting as started, its kill.
    Instance(Slot),
    /// The next try of a failed check.
    Check(DaemonId),
    /// When a restart, or a step of a rollout, counts as failed.
    Step(DaemonId),
}

/// All deadlines that are set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeMap<Timer, Time>,
    order: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Sets, moves or clears one deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Time>) {
        let old = match at {
            Some(at) => self.set.insert(timer, at),
            None => self.set.remove(&timer),
        };
        if let Some(old) = old {
            self.order.remove(&(old, timer));
        }
        if let Some(at) = at {
            self.order.insert((at, timer));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out the earliest deadline if its time has come.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.set(timer, None);
        Some(timer)
    }

    /// Forgets all deadlines.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
