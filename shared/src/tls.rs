//! Certificates, private keys and rustls configurations. One provider (ring), TLS 1.3, the version named at every place,
//! because feature unification may compile in more than we allow.

mod channel;

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

pub use channel::{ConnectError, connect, error_chain};

/// ALPN of everything we speak.
pub const ALPN_H2: &[u8] = b"h2";

/// Why TLS material can not be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The text is not PEM of what it should be.
    #[error("{what} is not valid PEM: {reason}")]
    Pem {
        /// What it should be.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// rustls refuses it.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// The certificate can not be read.
    #[error("not a valid certificate: {0}")]
    Certificate(String),
}

/// From when to when a certificate holds, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

/// The one crypto provider.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads a file of TLS material.
///
/// # Errors
/// When it can not be read; names the file.
pub fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.display().to_string(),
        source,
    })
}

/// Certificates from PEM, in their order; at least one.
///
/// # Errors
/// When the text is not PEM or holds none.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let broken = |reason: String| TlsError::Pem {
        what: "the certificate chain",
        reason,
    };
    let all = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(error.to_string()))?;
    if all.is_empty() {
        Err(broken("it holds no certificate".to_owned()))
    } else {
        Ok(all)
    }
}

/// A private key from PEM.
///
/// # Errors
/// When the text holds none.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| TlsError::Pem {
        what: "the private key",
        reason: error.to_string(),
    })
}

/// Trust in the certificates of a PEM bundle and in nothing else.
///
/// # Errors
/// When the bundle is malformed.
pub fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate)?;
    }
    Ok(store)
}

/// SHA-256 of a certificate's public key (SubjectPublicKeyInfo, DER): what an enrolment token pins.
///
/// # Errors
/// When the certificate can not be read.
pub fn spki_pin(certificate: &CertificateDer<'_>) -> Result<[u8; 32], TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    Ok(Sha256::digest(parsed.tbs_certificate.subject_pki.raw).into())
}

/// From when to when the first certificate of a chain (PEM) holds.
///
/// # Errors
/// When it is not PEM, or its first part is no certificate.
pub fn validity(chain_pem: &[u8]) -> Result<Validity, TlsError> {
    let chain = certificates(chain_pem)?;
    let first = chain
        .first()
        .ok_or_else(|| TlsError::Certificate("there is none".to_owned()))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(first)
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    let dates = parsed.validity();
    Ok(Validity {
        not_before: dates.not_before.timestamp(),
        not_after: dates.not_after.timestamp(),
    })
}

/// What is wrong with a clock, if that is why a certificate was not accepted: its dates are right for its issuer's clock.
#[must_use]
pub fn clock_skew(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(why) = error else {
        return None;
    };
    let verdict = match why {
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has ended",
        _ => return None,
    };
    Some(format!(
        "clock skew: by this host's clock the api-server's certificate {verdict}; look at both clocks ({why})"
    ))
}

/// For the public listener: TLS 1.3, no client certificate, h2 only.
///
/// # Errors
/// When key and certificate do not fit.
pub fn public_server(chain_pem: &[u8], key_pem: &[u8]) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certificates(chain_pem)?, private_key(key_pem)?)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}

/// For clients of the public API: trusts the bundle only.
///
/// # Errors
/// When the bundle is malformed.
pub fn public_client(ca_pem: &[u8]) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(ca_pem)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(config)
}

/// For the agent's link: TLS 1.3 only, its own certificate, no resumption (a resumed session would skip the server's
/// look at the certificate).
///
/// # Errors
/// When key and certificate do not fit, or the bundle is malformed.
pub fn agent_client(
    ca_pem: &[u8],
    chain_pem: &[u8],
    key_pem: &[u8],
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(ca_pem)?)
        .with_client_auth_cert(certificates(chain_pem)?, private_key(key_pem)?)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
