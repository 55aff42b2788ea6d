//! Permissions, with the strings of the panel.

use std::fmt;
use std::str::FromStr;

/// What a member may be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Permission {
    /// Create servers and enrolment tokens.
    CreateServers,
    /// Create, change, start, stop and restart daemons; read and clear their logs.
    CreateDaemons,
    /// Delete servers.
    DeleteServers,
    /// Delete daemons.
    DeleteDaemons,
    /// Change members.
    ManageTeam,
}

/// A text that names no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnknownPermission;

impl Permission {
    /// All of them, by their strings.
    pub(crate) const ALL: [Self; 5] = [
        Self::CreateServers,
        Self::CreateDaemons,
        Self::DeleteServers,
        Self::DeleteDaemons,
        Self::ManageTeam,
    ];

    /// Its string.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CreateServers => "server:create",
            Self::CreateDaemons => "server:create-daemons",
            Self::DeleteServers => "server:delete",
            Self::DeleteDaemons => "server:delete-daemons",
            Self::ManageTeam => "team:manage",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.name() == text)
            .ok_or(UnknownPermission)
    }
}

/// Some permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PermissionSet(u8);

impl PermissionSet {
    /// Whether `permission` is among them.
    #[must_use]
    pub(crate) fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// All of them, sorted by their strings.
    pub(crate) fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .into_iter()
            .filter(move |p| self.contains(*p))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |set, p| set | 1 << p as u8))
    }
}

/// The strings, with spaces between them: how a set is stored.
impl fmt::Display for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, permission) in self.iter().enumerate() {
            if n > 0 {
                f.write_str(" ")?;
            }
            f.write_str(permission.name())?;
        }
        Ok(())
    }
}

impl FromStr for PermissionSet {
    type Err = UnknownPermission;

    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        text.split_whitespace().map(str::parse).collect()
    }
}
