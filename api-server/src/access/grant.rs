//! Grants: what a writer of the store must be shown. They can be made by this floor only, so a write without a decision
//! of [`super::authorize`] or its siblings does not compile.

use zhylon_shared::id::{TeamId, UserId};

/// The right to write inside one team.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TeamGrant(TeamId);

/// The right to change users and teams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlatformGrant(());

/// The right to change what belongs to one user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SelfGrant(UserId);

impl TeamGrant {
    pub(super) fn new(team: TeamId) -> Self {
        Self(team)
    }

    /// The team; writers hold every row they touch against it.
    #[must_use]
    pub(crate) fn team(&self) -> TeamId {
        self.0
    }
}

impl PlatformGrant {
    pub(super) fn new() -> Self {
        Self(())
    }
}

impl SelfGrant {
    pub(super) fn new(user: UserId) -> Self {
        Self(user)
    }

    /// The user.
    #[must_use]
    pub(crate) fn user(&self) -> UserId {
        self.0
    }
}
