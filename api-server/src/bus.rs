//! Floor 2: what rooms of this process tell each other without asking. Carries hints, never facts: whoever hears one
//! reads the store, and a lost hint costs seconds.

mod hints;
mod presence;

pub use hints::{Hint, Hints};
pub use presence::{Connection, Presence};

use crate::clock::Clock;

/// The hints and the presence of agents in this process.
#[derive(Debug, Clone)]
pub struct Bus {
    hints: Hints,
    presence: Presence,
}

impl Bus {
    /// An empty bus. The presence of agents counts from now on.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let hints = Hints::new();
        Self {
            presence: Presence::new(clock, hints.clone()),
            hints,
        }
    }

    /// Who wants to hear, and who tells.
    #[must_use]
    pub fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Which agents are connected to this process.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.presence
    }
}
