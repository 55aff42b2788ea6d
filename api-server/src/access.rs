//! Floor 2: who may do what. Pure: facts in, a grant or a refusal out; never asks a store, never reads a clock.
//!
//! [`TABLE`] says for every method of every service who may call it. It is the rule that runs, not a description of
//! it: the rooms above take a method's rule from here and hand it to [`authorize`].

mod grant;
mod permission;
mod table;

pub(crate) use grant::{PlatformGrant, SelfGrant, TeamGrant};
pub(crate) use permission::{Permission, PermissionSet, UnknownPermission};
#[cfg(test)]
pub(crate) use table::TABLE;
pub(crate) use table::{Access, Rule, rule};

use zhylon_shared::id::{TeamId, UserId};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Actor {
    /// The user whose rights count.
    pub(crate) user: UserId,
    /// Whether that user is the platform operator.
    pub(crate) operator: bool,
    /// The platform operator who acts for `user`, if it is not the user's own call.
    pub(crate) acting: Option<UserId>,
}

/// What a user is in a team. To have none is to be no member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership {
    /// The team.
    pub(crate) team: TeamId,
    /// The member.
    pub(crate) user: UserId,
    /// Whether the member owns the team, and so has every permission.
    pub(crate) owner: bool,
    /// What was granted.
    pub(crate) permissions: PermissionSet,
}

impl Membership {
    /// Whether the member has this permission.
    #[must_use]
    pub(crate) fn has(&self, permission: Permission) -> bool {
        self.owner || self.permissions.contains(permission)
    }
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The caller must not learn whether it exists.
    Invisible,
    /// The caller sees it and lacks this permission.
    Missing(Permission),
    /// For the platform operator only.
    OperatorOnly,
    /// The platform operator, inside a team, not for a user.
    OnBehalfOfRequired,
    /// The method is not for callers with a bearer token at all.
    NotForUsers,
}

/// Whether `actor` may call a method of `rule` in a team, given what it is there.
///
/// # Errors
/// The refusal.
pub(crate) fn authorize(
    rule: &Rule,
    actor: &Actor,
    membership: Option<&Membership>,
) -> Result<TeamGrant, Refusal> {
    let needed = match rule.access {
        Access::Member | Access::OperatorOrMember => None,
        Access::MemberWith(permission) => Some(permission),
        _ => return Err(Refusal::NotForUsers),
    };
    if actor.operator {
        return Err(Refusal::OnBehalfOfRequired);
    }
    let membership = membership
        .filter(|membership| membership.user == actor.user)
        .ok_or(Refusal::Invisible)?;
    match needed {
        Some(permission) if !membership.has(permission) => Err(Refusal::Missing(permission)),
        _ => Ok(TeamGrant::new(membership.team)),
    }
}

/// Whether `actor` may call a method that is not about one team.
///
/// # Errors
/// The refusal.
pub(crate) fn admit(rule: &Rule, actor: &Actor) -> Result<(), Refusal> {
    match rule.access {
        Access::Operator if !actor.operator => Err(Refusal::OperatorOnly),
        Access::Member | Access::MemberWith(_) if actor.operator => {
            Err(Refusal::OnBehalfOfRequired)
        }
        Access::EnrollmentToken | Access::AgentCertificate => Err(Refusal::NotForUsers),
        Access::Operator
        | Access::SignedIn
        | Access::OperatorOrMember
        | Access::Member
        | Access::MemberWith(_) => Ok(()),
    }
}

/// The right to change users and teams.
///
/// # Errors
/// When the caller is not the platform operator, or the rule is another.
pub(crate) fn platform(rule: &Rule, actor: &Actor) -> Result<PlatformGrant, Refusal> {
    match rule.access {
        Access::Operator if actor.operator => Ok(PlatformGrant::new()),
        _ => Err(Refusal::OperatorOnly),
    }
}

/// The right to change what belongs to `owner`: the caller itself, or anyone for the platform operator.
///
/// # Errors
/// When it is another user's.
pub(crate) fn own(rule: &Rule, actor: &Actor, owner: UserId) -> Result<SelfGrant, Refusal> {
    match rule.access {
        Access::SignedIn if actor.user == owner || actor.operator => Ok(SelfGrant::new(owner)),
        _ => Err(Refusal::OperatorOnly),
    }
}

#[cfg(test)]
mod tests;
