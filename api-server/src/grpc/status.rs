//! The only place that makes a `Status`.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use zhylon_shared::spec::FieldViolation;

use crate::domain::{Error, Reason};

/// `ErrorInfo.domain` of all our reasons.
const DOMAIN: &str = "daemons.zhylon.net";
/// Field violations in one answer. Details travel in the trailers, which clients bound; whoever breaks more rules hears
/// of the rest next time.
const VIOLATIONS_MAX: usize = 16;
/// Characters of one text in the details, and of the message: parts of it may be the caller's own words.
const TEXT_MAX: usize = 300;

/// An error as a client sees it: code, text, `ErrorInfo` always, and more where it fits. What is our own fault is
/// logged here and told without its cause.
#[must_use]
pub(crate) fn to_status(error: Error) -> Status {
    let code = code(error.reason());
    let mut details = ErrorDetails::new();
    let mut metadata = Vec::new();
    let message = match &error {
        Error::Internal(cause) => {
            tracing::error!(%cause, "a call failed by our own fault");
            "internal error; the api-server's log says more".to_owned()
        }
        Error::Invalid(violations) => {
            for violation in violations.iter().take(VIOLATIONS_MAX) {
                let text = format!("{}: {}", violation.rule, violation.description);
                details.add_bad_request_violation(&violation.field, short(&text));
            }
            invalid(violations)
        }
        Error::PermissionDenied(permission) => {
            metadata.push(("permission".to_owned(), permission.to_string()));
            error.to_string()
        }
        Error::ViewerTooSlow { cursor } => {
            metadata.push(("cursor".to_owned(), cursor.clone()));
            error.to_string()
        }
        Error::NotFound(kind) => {
            details.set_resource_info(*kind, "", "", "");
            error.to_string()
        }
        Error::QuotaExceeded { subject, .. } => {
            details.add_quota_failure_violation(subject, error.to_string());
            error.to_string()
        }
        Error::Precondition(what) => {
            details.add_precondition_failure_violation(error.reason().text(), "", what.to_string());
            error.to_string()
        }
        _ => error.to_string(),
    };
    if let Some(delay) = error.retry_after() {
        details.set_retry_info(Some(delay));
    }
    details.set_error_info(
        error.reason().text(),
        DOMAIN,
        metadata
            .into_iter()
            .collect::<std::collections::HashMap<_, _>>(),
    );
    Status::with_error_details(code, short(&message), details)
}

fn code(reason: Reason) -> Code {
    match reason {
        Reason::NotFound => Code::NotFound,
        Reason::TokenMissing
        | Reason::TokenMalformed
        | Reason::TokenUnknown
        | Reason::TokenExpired
        | Reason::TokenRevoked
        | Reason::EnrollmentTokenUnknown
        | Reason::EnrollmentTokenUsed
        | Reason::EnrollmentTokenExpired => Code::Unauthenticated,
        Reason::PermissionDenied
        | Reason::OperatorOnly
        | Reason::OnBehalfOfRequired
        | Reason::OnBehalfOfRefused
        | Reason::NotForUsers
        | Reason::MembershipEnded => Code::PermissionDenied,
        Reason::InvalidField => Code::InvalidArgument,
        Reason::AlreadyExists => Code::AlreadyExists,
        Reason::EtagMismatch | Reason::SessionFenced => Code::Aborted,
        Reason::QuotaExceeded | Reason::TooManyViewers => Code::ResourceExhausted,
        Reason::ServerHasDaemons
        | Reason::DaemonsStopping
        | Reason::MemberIsOwner
        | Reason::OperatorIsNoMember
        | Reason::OperatorExists
        | Reason::LogUnreadable => Code::FailedPrecondition,
        Reason::NoSuchMethod => Code::Unimplemented,
        Reason::ServerOffline
        | Reason::Draining
        | Reason::DatabaseBusy
        | Reason::ViewerTooSlow
        | Reason::ClearUnknown => Code::Unavailable,
        Reason::Internal => Code::Internal,
    }
}

fn invalid(violations: &[FieldViolation]) -> String {
    let texts: Vec<_> = violations
        .iter()
        .take(VIOLATIONS_MAX)
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        .collect();
    texts.join("; ")
}

fn short(text: &str) -> String {
    if text.chars().count() <= TEXT_MAX {
        return text.to_owned();
    }
    text.chars().take(TEXT_MAX).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/errors.md has one line per reason: `REASON`, code, meaning.
    #[test]
    fn the_documentation_lists_every_reason_with_its_code() {
        let documented: Vec<(String, String)> = include_str!("../../../docs/errors.md")
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| `")?.split(" | ");
                let reason = cells.next()?.trim_end_matches('`').to_owned();
                Some((reason, cells.next()?.to_owned()))
            })
            .collect();
        let known: Vec<(String, String)> = Reason::ALL
            .iter()
            .map(|reason| {
                let code = format!("{:?}", code(*reason));
                let words = code.char_indices().fold(String::new(), |text, (n, c)| {
                    let gap = if n > 0 && c.is_uppercase() { "_" } else { "" };
                    format!("{text}{gap}{}", c.to_ascii_uppercase())
                });
                (reason.text().to_owned(), words)
            })
            .collect();
        assert_eq!(documented, known);
    }

    #[test]
    fn our_own_faults_keep_their_cause_to_themselves() {
        let status = to_status(Error::Internal("no such table: users".to_owned()));
        assert!(!format!("{status:?}").contains("users"));
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "INTERNAL");
        assert_eq!(info.domain, DOMAIN);
    }

    #[test]
    fn many_violations_do_not_fill_the_trailers() {
        let long = "x".repeat(40_000);
        let violation = FieldViolation::new("daemon.environment", "VARIABLE_NAME", long);
        let status = to_status(Error::Invalid(vec![violation; 64]));
        assert!(status.details().len() < 8 * 1024);
        assert!(status.message().len() < 1024);
        let bad = status.get_details_bad_request().unwrap();
        assert_eq!(bad.field_violations.len(), VIOLATIONS_MAX);
    }
}
