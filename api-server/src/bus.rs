//! Floor 2: what rooms of this process tell each other without asking. Carries hints, never facts: whoever hears one
//! reads the store, and a lost hint costs seconds.

mod hints;
pub(crate) mod log_broker;
mod presence;

pub(crate) use hints::{Hint, Hints};
pub(crate) use presence::{Connection, Presence};

use crate::clock::Clock;

/// The hints and the presence of agents in this process.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    hints: Hints,
    presence: Presence,
}

impl Bus {
    /// An empty bus. The presence of agents counts from now on.
    #[must_use]
    pub(crate) fn new(clock: Clock) -> Self {
        let hints = Hints::new();
        Self {
            presence: Presence::new(clock, hints.clone()),
            hints,
        }
    }

    /// Who wants to hear, and who tells.
    #[must_use]
    pub(crate) fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Which agents are connected to this process.
    #[must_use]
    pub(crate) fn presence(&self) -> &Presence {
        &self.presence
    }
}
