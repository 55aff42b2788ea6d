//! For every method: who may call it. A method that is missing here answers no one, and a test fails.

use super::Permission;
use Access::{
    AgentCertificate, EnrollmentToken, Member, MemberWith, Operator, OperatorOrMember, SignedIn,
};
use Permission::{CreateDaemons, CreateServers, DeleteDaemons, DeleteServers, ManageTeam};

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Who shows an unused enrolment token; there is no bearer token.
    EnrollmentToken,
    /// An agent with its certificate, on the agents' listener; refused on the public one.
    AgentCertificate,
    /// Everyone with a token, about what is their own.
    SignedIn,
    /// The platform operator.
    Operator,
    /// The platform operator, and members of the team.
    OperatorOrMember,
    /// Members of the team.
    Member,
    /// Members of the team with this permission.
    MemberWith(Permission),
}

/// One line of [`TABLE`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// Full name of the method, `package.Service/Method`.
    pub(crate) method: &'static str,
    /// Who may call it.
    pub(crate) access: Access,
}

const fn r(method: &'static str, access: Access) -> Rule {
    Rule { method, access }
}

/// Who may call what.
pub(crate) static TABLE: &[Rule] = &[
    r("zhylon.agent.v1.AgentService/Connect", AgentCertificate),
    r(
        "zhylon.agent.v1.AgentService/RenewCertificate",
        AgentCertificate,
    ),
    r("zhylon.agent.v1.AgentService/StreamLogs", AgentCertificate),
    r(
        "zhylon.daemons.v1.DaemonService/CreateDaemon",
        MemberWith(CreateDaemons),
    ),
    r(
        "zhylon.daemons.v1.DaemonService/DeleteDaemon",
        MemberWith(DeleteDaemons),
    ),
    r("zhylon.daemons.v1.DaemonService/GetDaemon", Member),
    r("zhylon.daemons.v1.DaemonService/ListDaemonEvents", Member),
    r("zhylon.daemons.v1.DaemonService/ListDaemons", Member),
    r(
        "zhylon.daemons.v1.DaemonService/RestartDaemon",
        MemberWith(CreateDaemons),
    ),
    r(
        "zhylon.daemons.v1.DaemonService/StartDaemon",
        MemberWith(CreateDaemons),
    ),
    r(
        "zhylon.daemons.v1.DaemonService/StopDaemon",
        MemberWith(CreateDaemons),
    ),
    r(
        "zhylon.daemons.v1.DaemonService/UpdateDaemon",
        MemberWith(CreateDaemons),
    ),
    r("zhylon.daemons.v1.DaemonService/WatchDaemons", Member),
    r(
        "zhylon.daemons.v1.LogService/ClearLog",
        MemberWith(CreateDaemons),
    ),
    r(
        "zhylon.daemons.v1.LogService/ReadLog",
        MemberWith(CreateDaemons),
    ),
    r(
        "zhylon.daemons.v1.LogService/TailLog",
        MemberWith(CreateDaemons),
    ),
    r(
        "zhylon.daemons.v1.ServerService/CreateEnrollmentToken",
        MemberWith(CreateServers),
    ),
    r(
        "zhylon.daemons.v1.ServerService/CreateServer",
        MemberWith(CreateServers),
    ),
    r(
        "zhylon.daemons.v1.ServerService/DeleteServer",
        MemberWith(DeleteServers),
    ),
    r("zhylon.daemons.v1.ServerService/Enroll", EnrollmentToken),
    r("zhylon.daemons.v1.ServerService/GetServer", Member),
    r("zhylon.daemons.v1.ServerService/ListServers", Member),
    r(
        "zhylon.daemons.v1.ServerService/RevokeServerIdentity",
        MemberWith(DeleteServers),
    ),
    r(
        "zhylon.daemons.v1.TeamService/AddMember",
        MemberWith(ManageTeam),
    ),
    r("zhylon.daemons.v1.TeamService/CreateTeam", Operator),
    r("zhylon.daemons.v1.TeamService/GetTeam", OperatorOrMember),
    r(
        "zhylon.daemons.v1.TeamService/ListMembers",
        OperatorOrMember,
    ),
    r("zhylon.daemons.v1.TeamService/ListTeams", SignedIn),
    r(
        "zhylon.daemons.v1.TeamService/RemoveMember",
        MemberWith(ManageTeam),
    ),
    r(
        "zhylon.daemons.v1.TeamService/UpdateMember",
        MemberWith(ManageTeam),
    ),
    r("zhylon.daemons.v1.TokenService/CreateToken", SignedIn),
    r("zhylon.daemons.v1.TokenService/ListTokens", SignedIn),
    r("zhylon.daemons.v1.TokenService/RevokeToken", SignedIn),
    r("zhylon.daemons.v1.UserService/CreateUser", Operator),
    r("zhylon.daemons.v1.UserService/GetMe", SignedIn),
];

/// The rule of a method, by its full name.
#[must_use]
pub(crate) fn rule(method: &str) -> Option<&'static Rule> {
    TABLE
        .binary_search_by(|rule| rule.method.cmp(method))
        .ok()
        .map(|found| &TABLE[found])
}
