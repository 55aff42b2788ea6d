//! How a session ends, and what the agent is told.

use std::time::Duration;

use zhylon_proto::agent::v1::RejectReason;

use crate::agents::{DELETED, REVOKED};
use crate::domain::Error;

/// What an agent waits after OVERLOADED.
pub(super) const RETRY_OVERLOADED: Duration = Duration::from_secs(5);
/// What an agent waits when its certificate is not good, or when it speaks no protocol of ours: nobody mends that in
/// seconds.
pub(in crate::agents) const RETRY_HOPELESS: Duration = Duration::from_secs(600);

/// How a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The agent went, or fell silent.
    Gone(String),
    /// We go.
    Drained,
    /// The database takes no more writes of this session.
    Fenced,
    /// We refuse to go on.
    Rejected(RejectReason, String, Duration),
}

impl End {
    /// We refuse, and the agent may try again as it likes.
    pub(super) fn reject(reason: RejectReason, message: impl Into<String>) -> Self {
        Self::Rejected(reason, message.into(), Duration::ZERO)
    }

    /// Somebody revoked the server's identity.
    pub(super) fn revoked() -> Self {
        Self::Rejected(RejectReason::Revoked, REVOKED.to_owned(), RETRY_HOPELESS)
    }

    /// A newer session has the server.
    pub(super) fn superseded() -> Self {
        Self::reject(
            RejectReason::Superseded,
            "a newer session of this server was opened",
        )
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound(_) => {
                Self::Rejected(RejectReason::Revoked, DELETED.to_owned(), RETRY_HOPELESS)
            }
            Error::Fenced => Self::Fenced,
            Error::Invalid(_) => Self::reject(RejectReason::ProtocolError, error.to_string()),
            other => {
                tracing::error!(error = %other, "an agent's session can not go on");
                Self::Rejected(
                    RejectReason::Overloaded,
                    "the api-server can not reach its database".to_owned(),
                    RETRY_OVERLOADED,
                )
            }
        }
    }
}
