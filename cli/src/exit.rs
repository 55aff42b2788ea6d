//! Why a command failed, and its exit code: 1 failed, 2 usage, 3 not running, 4 not found, 5 permission denied,
//! 6 not authenticated, 7 unreachable, 8 timeout, 9 conflict.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Something to tell the user.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit code.
    pub(crate) code: u8,
    /// What was refused or went wrong.
    pub(crate) message: String,
    /// Fields and rules, one per line.
    pub(crate) details: Vec<String>,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure with a code and a message.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            hint: None,
        }
    }

    /// The reader of our stdout went away (`| head`): the end of the work, not a failure.
    pub(crate) fn reader_gone() -> Self {
        Self::new(0, "")
    }

    /// Whether this is [`Failure::reader_gone`].
    pub(crate) fn is_reader_gone(&self) -> bool {
        self.code == 0
    }

    /// Wrong usage.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(2, message)
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(1, error.to_string())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => 2,
            Code::NotFound => 4,
            Code::PermissionDenied => 5,
            Code::Unauthenticated => 6,
            Code::Unavailable => 7,
            Code::DeadlineExceeded => 8,
            Code::Aborted | Code::AlreadyExists | Code::FailedPrecondition => 9,
            _ => 1,
        };
        let details = status.get_error_details();
        let mut lines: Vec<String> = details
            .bad_request()
            .map(|bad| bad.field_violations.as_slice())
            .unwrap_or_default()
            .iter()
            .map(|violation| format!("{}: {}", violation.field, violation.description))
            .collect();
        if let Some(quota) = details.quota_failure() {
            lines.extend(quota.violations.iter().map(|v| v.description.clone()));
        }
        if let Some(precondition) = details.precondition_failure() {
            lines.extend(
                precondition
                    .violations
                    .iter()
                    .map(|v| v.description.clone()),
            );
        }
        let reason = details.error_info().map(|info| info.reason.clone());
        let hint = match reason.as_deref() {
            Some(reason) if reason.starts_with("TOKEN_") => {
                Some("set ZHYLON_API_TOKEN, or name a file with --api-token-file".to_owned())
            }
            _ => None,
        };
        let message = match reason {
            Some(reason) => format!("{} [{reason}]", status.message()),
            None => status.message().to_owned(),
        };
        Self {
            code,
            message,
            details: lines,
            hint,
        }
    }
}
