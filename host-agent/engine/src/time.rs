//! Time as an argument: monotonic, counted from an origin only the shell knows.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in monotonic time since the shell's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(Duration);

impl Time {
    /// The origin.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// `since` after the origin.
    #[must_use]
    pub const fn new(since: Duration) -> Self {
        Self(since)
    }

    /// Time since the origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// How much later this is than `earlier`; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(after))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;
    /// Never before the origin.
    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(before))
    }
}
