//! The effects of one input, put into the order in which the shell must carry them out.
//!
//! What must be durable comes first, then what acts on processes, then what announces, then answers: persist, act,
//! announce. Within a lane the order is that of the decisions.

use std::collections::{BTreeSet, VecDeque};

use zhylon_shared::id::DaemonId;

use crate::effect::Effect;

/// Lanes of the current input, and the queue of what is ready for the shell.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    persist: Vec<Effect>,
    act: Vec<Effect>,
    changed: BTreeSet<DaemonId>,
    gone: BTreeSet<DaemonId>,
    replies: Vec<Effect>,
    terminated: bool,
    ready: VecDeque<Effect>,
}

impl Outbox {
    /// Something for the ledger.
    pub(crate) fn persist(&mut self, effect: Effect) {
        self.persist.push(effect);
    }

    /// Something done to a process, or a check.
    pub(crate) fn act(&mut self, effect: Effect) {
        self.act.push(effect);
    }

    /// The daemon's view is another one; said once per input.
    pub(crate) fn changed(&mut self, daemon: DaemonId) {
        self.changed.insert(daemon);
    }

    /// Nothing of the daemon is left; there is no view to announce any more.
    pub(crate) fn gone(&mut self, daemon: DaemonId) {
        self.changed.remove(&daemon);
        self.gone.insert(daemon);
    }

    /// An answer to a command.
    pub(crate) fn reply(&mut self, effect: Effect) {
        self.replies.push(effect);
    }

    /// The last word.
    pub(crate) fn terminated(&mut self) {
        self.terminated = true;
    }

    /// Ends the input: its effects become ready, lane by lane.
    pub(crate) fn flush(&mut self) {
        self.ready.extend(self.persist.drain(..));
        self.ready.extend(self.act.drain(..));
        let changed = std::mem::take(&mut self.changed);
        let gone = std::mem::take(&mut self.gone);
        self.ready
            .extend(changed.into_iter().map(|daemon| Effect::Changed { daemon }));
        self.ready
            .extend(gone.into_iter().map(|daemon| Effect::Gone { daemon }));
        self.ready.extend(self.replies.drain(..));
        if std::mem::take(&mut self.terminated) {
            self.ready.push_back(Effect::Terminated);
        }
    }

    /// The next effect to carry out.
    pub(crate) fn pop(&mut self) -> Option<Effect> {
        self.ready.pop_front()
    }
}
