//! What can go wrong, told without naming a transport. `grpc/status.rs` says it over gRPC; `docs/errors.md` lists it.

use std::time::Duration;

use zhylon_shared::spec::{FieldViolation, InvalidSpec};

use crate::access::{Permission, Refusal};
use crate::store;

/// Why something was refused or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DomainError {
    /// Absent, or not visible to the caller, or not even an id: one text for all three.
    #[error("no such {0}, or it is not visible to you")]
    NotFound(&'static str),
    /// Nobody we know is calling.
    #[error("{0}")]
    Unauthenticated(Credential),
    /// The caller sees it and lacks a permission.
    #[error("this takes the permission `{0}` in the team; ask its owner for it")]
    PermissionDenied(Permission),
    /// For the platform operator only.
    #[error("only the platform operator may do this")]
    OperatorOnly,
    /// The platform operator, inside a team, not for a user.
    #[error(
        "inside teams the platform operator acts only for a user: name one in the metadata `zhylon-on-behalf-of`"
    )]
    OnBehalfOfRequired,
    /// Someone else than the platform operator wants to act for a user.
    #[error(
        "only the platform operator may act for another user: leave out the metadata `zhylon-on-behalf-of`"
    )]
    OnBehalfOfRefused,
    /// The method is not served here.
    #[error("this method is not for callers with a bearer token")]
    NotForUsers,
    /// Fields break rules; at least one.
    #[error("{}", InvalidSpec(.0.clone()))]
    Invalid(Vec<FieldViolation>),
    /// Something else has this name, or is this member.
    #[error("{what}: {rule}")]
    AlreadyExists {
        /// What is there already.
        what: &'static str,
        /// Why there can be only one.
        rule: &'static str,
    },
    /// The caller's etag is not the current one.
    #[error("the daemon changed since this etag was read: read it again and decide anew")]
    EtagMismatch,
    /// No more of these.
    #[error(
        "{subject} has {limit} daemons, and more are not allowed: delete one or use another server"
    )]
    QuotaExceeded {
        /// What has the quota.
        subject: String,
        /// The most it may have.
        limit: i64,
    },
    /// The thing is in a state that does not allow it.
    #[error("{0}")]
    Precondition(Precondition),
    /// An enrolment token is not accepted.
    #[error("{0}")]
    Enrollment(Enrollment),
    /// The server's agent is not connected, and this needs it.
    #[error(
        "the server is not connected; its daemons go on, but this needs its agent: try again when it is back"
    )]
    ServerOffline,
    /// As many viewers as this api-server serves are watching already.
    #[error("too many log streams: {0}; end one or try again later")]
    TooManyViewers(&'static str),
    /// A viewer took nothing for long, and much came meanwhile.
    #[error(
        "nothing was read from this log stream for more than a minute, and it is far behind: call again with this cursor to go on there, or without one for the newest lines"
    )]
    ViewerTooSlow {
        /// Where it was.
        cursor: String,
    },
    /// The host did not say whether it cleared a log.
    #[error(
        "the host did not answer whether the log was cleared: look, and ask again if it was not"
    )]
    ClearUnknown,
    /// The caller was a member when a stream began, and no longer is.
    #[error("you are no longer a member of this team")]
    MembershipEnded,
    /// No method of ours.
    #[error("there is no such method")]
    NoSuchMethod,
    /// The host can not give the log.
    #[error("the host can not read the log: {0}")]
    LogUnreadable(String),
    /// This api-server is going; another one, or the next, goes on.
    #[error(
        "the api-server is restarting: call again, and a log stream goes on from its last cursor"
    )]
    Draining,
    /// The write came from an agent's session that was followed by a newer one.
    #[error("a newer session of this server took over")]
    Fenced,
    /// The database does not answer in time.
    #[error("the database is busy: try again")]
    Busy,
    /// Our own fault; the text is for our log, not for the caller.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What is wrong with the caller's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Credential {
    /// There is none.
    #[error("no token: send the metadata `authorization: Bearer zhy_…`")]
    Missing,
    /// It is no token, or was mistyped or cut.
    #[error(
        "not a token: expected `Bearer zhy_<id>_<secret>_<crc>`; it may have been mistyped or cut"
    )]
    Malformed,
    /// No token of ours.
    #[error("unknown token: create a new one")]
    Unknown,
    /// Its time is over.
    #[error("the token has expired: create a new one")]
    Expired,
    /// It was revoked.
    #[error("the token was revoked: create a new one")]
    Revoked,
}

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Precondition {
    /// A server that still has daemons is not deleted.
    #[error("the server still has daemons: delete them first")]
    ServerHasDaemons,
    /// A server whose deleted daemons still stop is not deleted while its agent could finish that.
    #[error("deleted daemons of this server are still stopping: try again when they are gone")]
    DaemonsStopping,
    /// A team always has its owner.
    #[error("the team's owner can not be removed and has every permission already")]
    MemberIsOwner,
    /// The platform operator is no person of a team.
    #[error("the platform operator can not be a member or owner of a team")]
    OperatorIsNoMember,
    /// There is a platform operator already.
    #[error("this database has a platform operator already: bootstrap is for an empty one")]
    OperatorExists,
}

/// Why an enrolment token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Enrollment {
    /// No such token, or a wrong secret.
    #[error("unknown enrolment token: create a new one for this server")]
    Unknown,
    /// Another key took it.
    #[error(
        "the enrolment token was used already, with another key: create a new one for this server"
    )]
    Used,
    /// Its time is over.
    #[error("the enrolment token has expired: create a new one for this server")]
    Expired,
}

macro_rules! reasons {
    ($($variant:ident = $text:literal,)*) => {
        /// A stable reason, as clients and `docs/errors.md` know it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is explained in docs/errors.md, which a test holds against this list")]
        pub(crate) enum Reason { $($variant,)* }
        impl Reason {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Its text.
            #[must_use]
            pub(crate) fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    NotFound = "NOT_FOUND",
    TokenMissing = "TOKEN_MISSING",
    TokenMalformed = "TOKEN_MALFORMED",
    TokenUnknown = "TOKEN_UNKNOWN",
    TokenExpired = "TOKEN_EXPIRED",
    TokenRevoked = "TOKEN_REVOKED",
    PermissionDenied = "PERMISSION_DENIED",
    OperatorOnly = "OPERATOR_ONLY",
    OnBehalfOfRequired = "ON_BEHALF_OF_REQUIRED",
    OnBehalfOfRefused = "ON_BEHALF_OF_REFUSED",
    NotForUsers = "NOT_FOR_USERS",
    InvalidField = "INVALID_FIELD",
    AlreadyExists = "ALREADY_EXISTS",
    EtagMismatch = "ETAG_MISMATCH",
    QuotaExceeded = "QUOTA_EXCEEDED",
    ServerHasDaemons = "SERVER_HAS_DAEMONS",
    DaemonsStopping = "DAEMONS_STOPPING",
    MemberIsOwner = "MEMBER_IS_OWNER",
    OperatorIsNoMember = "OPERATOR_IS_NO_MEMBER",
    OperatorExists = "OPERATOR_EXISTS",
    EnrollmentTokenUnknown = "ENROLLMENT_TOKEN_UNKNOWN",
    EnrollmentTokenUsed = "ENROLLMENT_TOKEN_USED",
    EnrollmentTokenExpired = "ENROLLMENT_TOKEN_EXPIRED",
    ServerOffline = "SERVER_OFFLINE",
    TooManyViewers = "TOO_MANY_VIEWERS",
    LogUnreadable = "LOG_UNREADABLE",
    ViewerTooSlow = "VIEWER_TOO_SLOW",
    ClearUnknown = "CLEAR_UNKNOWN",
    MembershipEnded = "MEMBERSHIP_ENDED",
    NoSuchMethod = "NO_SUCH_METHOD",
    Draining = "API_SERVER_DRAINING",
    SessionFenced = "SESSION_FENCED",
    DatabaseBusy = "DATABASE_BUSY",
    Internal = "INTERNAL",
}

impl DomainError {
    /// One broken rule of one field.
    #[must_use]
    pub(crate) fn field(field: &str, rule: &'static str, text: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation::new(field, rule, text)])
    }

    /// Its stable reason.
    #[must_use]
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => Reason::NotFound,
            Self::Unauthenticated(Credential::Missing) => Reason::TokenMissing,
            Self::Unauthenticated(Credential::Malformed) => Reason::TokenMalformed,
            Self::Unauthenticated(Credential::Unknown) => Reason::TokenUnknown,
            Self::Unauthenticated(Credential::Expired) => Reason::TokenExpired,
            Self::Unauthenticated(Credential::Revoked) => Reason::TokenRevoked,
            Self::PermissionDenied(_) => Reason::PermissionDenied,
            Self::OperatorOnly => Reason::OperatorOnly,
            Self::OnBehalfOfRequired => Reason::OnBehalfOfRequired,
            Self::OnBehalfOfRefused => Reason::OnBehalfOfRefused,
            Self::NotForUsers => Reason::NotForUsers,
            Self::Invalid(_) => Reason::InvalidField,
            Self::AlreadyExists { .. } => Reason::AlreadyExists,
            Self::EtagMismatch => Reason::EtagMismatch,
            Self::QuotaExceeded { .. } => Reason::QuotaExceeded,
            Self::Precondition(Precondition::ServerHasDaemons) => Reason::ServerHasDaemons,
            Self::Precondition(Precondition::DaemonsStopping) => Reason::DaemonsStopping,
            Self::Precondition(Precondition::MemberIsOwner) => Reason::MemberIsOwner,
            Self::Precondition(Precondition::OperatorIsNoMember) => Reason::OperatorIsNoMember,
            Self::Precondition(Precondition::OperatorExists) => Reason::OperatorExists,
            Self::Enrollment(Enrollment::Unknown) => Reason::EnrollmentTokenUnknown,
            Self::Enrollment(Enrollment::Used) => Reason::EnrollmentTokenUsed,
            Self::Enrollment(Enrollment::Expired) => Reason::EnrollmentTokenExpired,
            Self::ServerOffline => Reason::ServerOffline,
            Self::TooManyViewers(_) => Reason::TooManyViewers,
            Self::LogUnreadable(_) => Reason::LogUnreadable,
            Self::ViewerTooSlow { .. } => Reason::ViewerTooSlow,
            Self::ClearUnknown => Reason::ClearUnknown,
            Self::MembershipEnded => Reason::MembershipEnded,
            Self::NoSuchMethod => Reason::NoSuchMethod,
            Self::Draining => Reason::Draining,
            Self::Fenced => Reason::SessionFenced,
            Self::Busy => Reason::DatabaseBusy,
            Self::Internal(_) => Reason::Internal,
        }
    }

    /// How long to wait before the same call may succeed; `None` where waiting alone does not help.
    #[must_use]
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ViewerTooSlow { .. } => Some(Duration::ZERO),
            Self::Busy | Self::Draining | Self::ClearUnknown => Some(Duration::from_secs(1)),
            Self::ServerOffline | Self::TooManyViewers(_) => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}

impl From<store::Error> for DomainError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Busy => Self::Busy,
            store::Error::Fenced => Self::Fenced,
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<getrandom::Error> for DomainError {
    fn from(error: getrandom::Error) -> Self {
        Self::Internal(format!("no randomness: {error}"))
    }
}

impl DomainError {
    /// A refusal about a `kind` of thing, in words.
    #[must_use]
    pub(crate) fn refused(refusal: Refusal, kind: &'static str) -> Self {
        match refusal {
            Refusal::Invisible => Self::NotFound(kind),
            Refusal::Missing(permission) => Self::PermissionDenied(permission),
            Refusal::OperatorOnly => Self::OperatorOnly,
            Refusal::OnBehalfOfRequired => Self::OnBehalfOfRequired,
            Refusal::NotForUsers => Self::NotForUsers,
        }
    }
}
