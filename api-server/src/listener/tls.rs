//! rustls configurations of the two listeners.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use zhylon_shared::tls::{self, TlsError};

use crate::ca::{AgentCa, AgentIdentity, Listener};

/// For the public listener: TLS 1.3, no client certificate, h2 only.
///
/// # Errors
/// When key and certificate do not fit.
pub(crate) fn public_config(listener: &Listener) -> Result<ServerConfig, TlsError> {
    tls::public_server(listener.chain_pem.as_bytes(), listener.key_pem.as_bytes())
}

/// For the agent listener: TLS 1.3 and h2 only, a certificate of our authority demanded, no resumption (a resumed
/// session would skip the look at the certificate).
///
/// # Errors
/// When key and certificate do not fit.
pub(crate) fn agent_config(ca: &AgentCa, listener: &Listener) -> Result<ServerConfig, TlsError> {
    let provider = tls::provider();
    let roots = Arc::new(tls::roots(ca.bundle_pem().as_bytes())?);
    let inner = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    let verifier = Arc::new(AgentVerifier {
        inner,
        trust_domain: ca.trust_domain().to_owned(),
    });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            tls::certificates(listener.chain_pem.as_bytes())?,
            tls::private_key(listener.key_pem.as_bytes())?,
        )?;
    config.alpn_protocols = vec![tls::ALPN_H2.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Everything webpki checks, but as of a time inside the certificate's own validity: an agent whose certificate has
/// ended, or whose host's clock is wrong, shall be told so in words by `Connect`, not by a closed socket.
#[derive(Debug)]
struct AgentVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    trust_domain: String,
}

impl ClientCertVerifier for AgentVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let identity = AgentIdentity::parse(end_entity, &self.trust_domain)
            .map_err(|_| CertificateError::ApplicationVerificationFailure)?;
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH).map_or(
                UnixTime::since_unix_epoch(std::time::Duration::ZERO),
                UnixTime::since_unix_epoch,
            )
        };
        let inside = now
            .max(seconds(identity.not_before))
            .min(seconds(identity.not_after));
        self.inner
            .verify_client_cert(end_entity, intermediates, inside)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
