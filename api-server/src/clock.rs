//! The clock every room gets as an argument. Nothing below `main` asks the operating system for the time by itself, so
//! that tests can be at any moment they need.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Tells the time.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

/// One reading of the clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// What the calendar says; may jump.
    pub(crate) wall: SystemTime,
    /// Time since some fixed moment of this process; never goes back.
    pub(crate) monotonic: Duration,
}

impl Clock {
    /// The operating system's clock.
    #[must_use]
    pub(crate) fn system() -> Self {
        let start = Instant::now();
        Self(Arc::new(move || Now {
            wall: SystemTime::now(),
            monotonic: start.elapsed(),
        }))
    }

    /// A clock that a test moves.
    #[cfg(test)]
    pub(crate) fn manual(read: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// What the calendar says.
    #[must_use]
    pub(crate) fn wall(&self) -> SystemTime {
        (self.0)().wall
    }

    /// Time since some fixed moment of this process.
    #[must_use]
    pub(crate) fn monotonic(&self) -> Duration {
        (self.0)().monotonic
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", (self.0)())
    }
}
