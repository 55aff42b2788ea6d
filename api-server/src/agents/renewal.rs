//! `RenewCertificate`: a new certificate for an agent's new key, or the proof that its newest one works. The only call that
//! takes a certificate that has ended.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use zhylon_proto::agent::v1::renew_certificate_response::Outcome;
use zhylon_proto::agent::v1::{
    Reject, RejectReason, RenewCertificateRequest, RenewCertificateResponse, RenewedCertificate,
};
use zhylon_shared::wire::timestamp;

use super::dates::{self, calendar};
use super::session::{RETRY_HOPELESS, while_busy};
use crate::ca::{self, AgentCa, AgentIdentity, RequestError};
use crate::domain::{Domain, Error, Renewal, Standing};

/// How long after its end a certificate still gets its agent a new one: a server may be switched off for a season. After
/// that somebody should look who it is.
const GRACE: Duration = Duration::from_secs(180 * 24 * 3600);

/// Answers one request of the agent that showed this certificate. `address` is for our log.
///
/// # Errors
/// When the request is none, or the database does not answer.
pub(crate) async fn renew(
    domain: &Domain,
    ca: &AgentCa,
    identity: &AgentIdentity,
    address: SocketAddr,
    asked: &RenewCertificateRequest,
) -> Result<RenewCertificateResponse, Error> {
    let now = domain.clock().wall();
    let answer = |outcome| {
        Ok(RenewCertificateResponse {
            outcome: Some(outcome),
        })
    };
    let refuse = |reason: RejectReason, message: String| {
        tracing::info!(server.id = %identity.server, peer = %address, ?reason, message, "no certificate for this agent");
        answer(Outcome::Reject(Reject {
            reason: reason.into(),
            message,
            retry_after_ms: u32::try_from(RETRY_HOPELESS.as_millis()).unwrap_or(u32::MAX),
        }))
    };
    if let Err((reason, message)) = judge(identity, now) {
        return refuse(reason, message);
    }
    let request = &asked.certificate_request;
    let new = ca::request_key_hash(request).map_err(refused_request)?;
    let renewal = while_busy(|| domain.renew_identity(identity.server, &identity.key_hash, &new));
    let renewal = match renewal.await {
        Ok(Standing::Good(renewal)) => renewal,
        Ok(Standing::Revoked) => {
            return refuse(RejectReason::Revoked, super::REVOKED.to_owned());
        }
        Ok(Standing::Superseded) => {
            return refuse(RejectReason::Superseded, super::SUPERSEDED.to_owned());
        }
        Err(Error::NotFound(_)) => {
            return refuse(RejectReason::Revoked, super::DELETED.to_owned());
        }
        Err(error) => return Err(error),
    };
    let certificate_chain = match renewal {
        Renewal::Proven => {
            tracing::info!(
                server.id = %identity.server,
                peer = %address,
                certificate.serial = ca::hex(&identity.serial),
                "the agent's new certificate works"
            );
            String::new()
        }
        Renewal::Sign => {
            let issued = ca
                .sign(request, identity.server, now)
                .map_err(refused_request)?;
            tracing::info!(
                server.id = %identity.server,
                peer = %address,
                certificate.serial = ca::hex(&issued.serial),
                former.serial = ca::hex(&identity.serial),
                former.end = calendar(identity.not_after),
                "certificate renewed"
            );
            issued.chain_pem
        }
    };
    answer(Outcome::Renewed(RenewedCertificate {
        certificate_chain,
        ca_bundle: ca.bundle_pem().to_owned(),
        server_time: Some(timestamp(now)),
    }))
}

/// Whether a certificate's dates are good enough for a new one.
fn judge(identity: &AgentIdentity, now: SystemTime) -> Result<(), (RejectReason, String)> {
    match dates::check(identity, now) {
        Err((RejectReason::Expired, _)) if now <= identity.not_after + GRACE => Ok(()),
        Err((RejectReason::Expired, why)) => {
            let rule = format!(
                "{why}; {} days after its end the host has to be enrolled anew",
                GRACE.as_secs() / (24 * 3600)
            );
            Err((RejectReason::Expired, rule))
        }
        other => other,
    }
}

fn refused_request(error: RequestError) -> Error {
    match error {
        RequestError::Ca(cause) => Error::Internal(cause.to_string()),
        other => Error::field("certificate_request", "REQUEST", other.to_string()),
    }
}
