//! Sealing: environment values at rest, and page tokens that no one but us can make.

use std::fmt;

/// The 32-byte key that seals environment values; lies in a file outside the database.
#[derive(Clone)]
pub(crate) struct EnvironmentKey {
    secret: [u8; 32],
}

impl EnvironmentKey {
    /// Takes the bytes of the key file.
    #[must_use]
    pub(crate) fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }
}

impl fmt::Debug for EnvironmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvironmentKey(***)")
    }
}
