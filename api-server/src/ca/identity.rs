//! Who an agent's certificate says it is. Read once per connection; whether its dates are right is judged per call.

use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use x509_parser::extensions::GeneralName;
use zhylon_shared::id::ServerId;

/// The SPIFFE id of a server's agent.
pub(super) fn uri(trust_domain: &str, server: &ServerId) -> String {
    format!("spiffe://{trust_domain}/server/{}", server.bare())
}

/// What a certificate of our authority says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentIdentity {
    /// The server it is the agent of.
    pub(crate) server: ServerId,
    /// Not valid before.
    pub(crate) not_before: SystemTime,
    /// Not valid after.
    pub(crate) not_after: SystemTime,
    /// Its serial number.
    pub(crate) serial: Vec<u8>,
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER): what our database knows it by.
    pub(crate) key_hash: [u8; 32],
}

/// Why a certificate is not an agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAnAgent {
    /// It can not be read.
    #[error("not a certificate")]
    Malformed,
    /// It names nobody, somebody else, or more than one.
    #[error("not exactly one name of the form spiffe://<our trust domain>/server/<id>")]
    Name,
    /// It ends before it begins.
    #[error("its validity is empty")]
    Validity,
}

/// How a certificate's dates stand to a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dates {
    /// Within them.
    Valid,
    /// Before the first: one of the two clocks is wrong.
    NotYet,
    /// After the last.
    Over,
}

impl AgentIdentity {
    /// Reads a certificate (DER). Says nothing about who signed it.
    ///
    /// # Errors
    /// When it is not an agent's.
    pub(crate) fn parse(certificate: &[u8], trust_domain: &str) -> Result<Self, NotAnAgent> {
        let (rest, certificate) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| NotAnAgent::Malformed)?;
        if !rest.is_empty() {
            return Err(NotAnAgent::Malformed);
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| NotAnAgent::Malformed)?
            .ok_or(NotAnAgent::Name)?;
        let [GeneralName::URI(name)] = names.value.general_names.as_slice() else {
            return Err(NotAnAgent::Name);
        };
        let server = name
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.strip_prefix(trust_domain))
            .and_then(|rest| rest.strip_prefix("/server/"))
            .and_then(|bare| ServerId::from_bare(bare).ok())
            .ok_or(NotAnAgent::Name)?;
        let validity = certificate.validity();
        let not_before = time(validity.not_before.timestamp());
        let not_after = time(validity.not_after.timestamp());
        if not_before > not_after {
            return Err(NotAnAgent::Validity);
        }
        Ok(Self {
            server,
            not_before,
            not_after,
            serial: certificate.serial.to_bytes_be(),
            key_hash: Sha256::digest(certificate.public_key().raw).into(),
        })
    }

    /// How its dates stand to `now`.
    pub(crate) fn dates(&self, now: SystemTime) -> Dates {
        if now < self.not_before {
            Dates::NotYet
        } else if now > self.not_after {
            Dates::Over
        } else {
            Dates::Valid
        }
    }
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0).cast_unsigned())
}
