//! Our certificate authorities: the agents' one, and the public listener's one where nobody else made its certificate.
//!
//! A private key of an authority lies in the data directory, 0600, and never leaves. The listeners' own keys are made
//! anew at every start and never touch a disk. Nothing here decides who may have a certificate.

mod authority;
mod identity;

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKey,
    PublicKeyData as _, SanType,
};
use rustls_pki_types::CertificateSigningRequestDer;
use sha2::{Digest as _, Sha256};
use zhylon_shared::id::ServerId;
use zhylon_shared::tls::{self, TlsError};

pub(crate) use authority::{Authority, Leaf, Listener};
pub(crate) use identity::{AgentIdentity, Dates};

use crate::config::Config;

/// Life of an agent's certificate: a server may be switched off for weeks; revocation is not what it is for.
pub(crate) const AGENT_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// What every certificate is backdated by, for hosts whose clock is late.
pub(crate) const BACKDATED: Duration = Duration::from_secs(3600);
/// Largest signing request: a P-256 one has some 250 bytes.
const REQUEST_MAX: usize = 4096;
/// Bytes of an uncompressed P-256 point: 4, x, y.
const P256_POINT: usize = 65;

/// Why there is no authority or no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaError {
    /// A file can not be read or written, or others may read it.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// A file holds something else.
    #[error("{path}: {reason}")]
    Broken {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The certificate can not be made.
    #[error("can not make a certificate: {0}")]
    Rcgen(#[from] rcgen::Error),
    /// Keys and certificates can not be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system has no randomness to give.
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
}

/// Why a signing request gets no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// It is not one, is too long, or is not signed by its own key.
    #[error("not a signing request in DER, signed with its own key")]
    Malformed,
    /// Another kind of key.
    #[error("the key must be an ECDSA key on the curve P-256")]
    KeyKind,
    /// We failed.
    #[error(transparent)]
    Ca(#[from] CaError),
}

/// A certificate for an agent.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    /// The certificate and the authority's, PEM.
    pub(crate) chain_pem: String,
    /// Its serial number.
    pub(crate) serial: Vec<u8>,
}

/// The authority of agents' certificates and of the listener they connect to.
#[derive(Debug)]
pub(crate) struct AgentCa {
    authority: Authority,
    trust_domain: String,
}

impl AgentCa {
    /// Loads it from `directory`, or makes it there.
    ///
    /// # Errors
    /// When its files are broken, others may read its key, or it can not be written.
    pub(crate) fn load_or_make(
        directory: &Path,
        trust_domain: &str,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        Ok(Self {
            authority: Authority::load_or_make(directory, "agent-ca", "Zhylon agent CA", now)?,
            trust_domain: trust_domain.to_owned(),
        })
    }

    /// What agents trust, PEM.
    pub(crate) fn bundle_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// First part of the SPIFFE ids it gives.
    pub(crate) fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The agent listener's certificate for these names.
    ///
    /// # Errors
    /// When it can not be made.
    pub(crate) fn listener(&self, names: &[String], now: SystemTime) -> Result<Listener, CaError> {
        self.authority.listener(names, now)
    }

    /// A certificate for the agent of `server` over the public key of `request` (DER). Whatever else the request asks
    /// for is not given.
    ///
    /// # Errors
    /// When the request is malformed or its key is not a P-256 one.
    pub(crate) fn sign(
        &self,
        request: &[u8],
        server: ServerId,
        now: SystemTime,
    ) -> Result<Issued, RequestError> {
        let key = request_key(request)?;
        let uri = identity::uri(&self.trust_domain, &server);
        let leaf = Leaf {
            common_name: format!("agent of {server}"),
            names: vec![SanType::URI(
                uri.try_into()
                    .map_err(|e| RequestError::Ca(CaError::Rcgen(e)))?,
            )],
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            life: AGENT_LIFE,
        };
        let signed = self.authority.sign(leaf, &key, now)?;
        Ok(Issued {
            chain_pem: format!("{}{}", signed.certificate.pem(), self.bundle_pem()),
            serial: signed.serial,
        })
    }
}

/// SHA-256 of the public key (SubjectPublicKeyInfo, DER) of a signing request.
///
/// # Errors
/// As [`AgentCa::sign`] would refuse it.
pub(crate) fn request_key_hash(request: &[u8]) -> Result<[u8; 32], RequestError> {
    Ok(Sha256::digest(request_key(request)?.subject_public_key_info()).into())
}

/// The public key of a signing request. What else it asks for is dropped here: it is what the agent would like to be.
fn request_key(request: &[u8]) -> Result<PublicKey, RequestError> {
    if request.len() > REQUEST_MAX {
        return Err(RequestError::Malformed);
    }
    let request = CertificateSigningRequestDer::from(request);
    let key = CertificateSigningRequestParams::from_der(&request)
        .map_err(|_| RequestError::Malformed)?
        .public_key;
    let point = key.der_bytes();
    if *key.algorithm() != PKCS_ECDSA_P256_SHA256
        || point.len() != P256_POINT
        || point.first() != Some(&4)
    {
        return Err(RequestError::KeyKind);
    }
    Ok(key)
}

/// The public listener's certificate: that of the files, else one of an authority of our own, whose certificate is
/// left in `public-ca.pem` for clients.
///
/// # Errors
/// When it can not be read or made.
pub(crate) fn public_listener(config: &Config, now: SystemTime) -> Result<Listener, CaError> {
    if let Some(given) = &config.tls_files {
        let chain_pem = String::from_utf8_lossy(&tls::read(&given.certificate)?).into_owned();
        let key_pem = String::from_utf8_lossy(&tls::read(&given.key)?).into_owned();
        return Ok(Listener { chain_pem, key_pem });
    }
    let authority =
        Authority::load_or_make(&config.data_dir, "public-ca", "Zhylon public CA", now)?;
    authority.listener(&config.public_names, now)
}

/// A serial number for people.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What enrolment tokens pin: the public key of the topmost certificate of this chain.
///
/// # Errors
/// When the chain can not be read.
pub(crate) fn pin(chain_pem: &str) -> Result<[u8; 32], CaError> {
    let chain = tls::certificates(chain_pem.as_bytes())?;
    let topmost = chain.last().ok_or_else(|| TlsError::Pem {
        what: "the certificate chain",
        reason: "it holds no certificate".to_owned(),
    })?;
    Ok(tls::spki_pin(topmost)?)
}

#[cfg(test)]
mod tests;
