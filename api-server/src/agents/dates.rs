//! How a certificate's dates stand to the api-server's clock, in the words an agent's host shows.

use std::time::SystemTime;

use zhylon_proto::agent::v1::RejectReason;

use crate::ca::{AgentIdentity, Dates};

/// Judges it; what is wrong comes with both times, so that whoever reads it sees which clock is off.
pub(super) fn check(
    identity: &AgentIdentity,
    now: SystemTime,
) -> Result<(), (RejectReason, String)> {
    let (reason, certificate, first) = match identity.dates(now) {
        Dates::Valid => return Ok(()),
        Dates::NotYet => (RejectReason::ClockSkew, "begins", identity.not_before),
        Dates::Over => (RejectReason::Expired, "ended", identity.not_after),
    };
    let message = format!(
        "the agent's certificate {certificate} {}, and the api-server's clock says {}",
        calendar(first),
        calendar(now)
    );
    Err((reason, message))
}

/// A time for people.
pub(super) fn calendar(at: SystemTime) -> String {
    use time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::from(at);
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}
