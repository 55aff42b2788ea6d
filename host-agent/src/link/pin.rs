//! Trust before there is an identity: the public key that the enrolment token names, and nothing else.
//!
//! A chain is accepted only if its topmost presented certificate has the pinned key *and* the chain verifies up to it
//! for the host's name and now. Must never accept a chain for its pin alone: anyone may present a certificate that is
//! not theirs on top of their own.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use zhylon_shared::tls;

/// Why a chain was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Distrust {
    /// Its topmost certificate has another key.
    Pin,
    /// It has the pinned key, but does not verify.
    Chain(String),
}

/// Accepts the pinned chain only, and remembers why it did not accept another.
#[derive(Debug)]
pub(super) struct PinVerifier {
    pin: [u8; 32],
    /// Where given, the chain must verify by these instead of by its own top.
    roots: Option<Arc<RootCertStore>>,
    provider: Arc<CryptoProvider>,
    distrust: OnceLock<Distrust>,
}

impl PinVerifier {
    pub(super) fn new(pin: [u8; 32], roots: Option<RootCertStore>) -> Self {
        Self {
            pin,
            roots: roots.map(Arc::new),
            provider: tls::provider(),
            distrust: OnceLock::new(),
        }
    }

    /// Why the first refused chain was not accepted; `None` if none was refused.
    pub(super) fn distrust(&self) -> Option<Distrust> {
        self.distrust.get().cloned()
    }

    fn refuse(&self, why: Distrust) -> rustls::Error {
        // The first reason is the one to tell.
        let _ = self.distrust.set(why);
        CertificateError::ApplicationVerificationFailure.into()
    }
}

/// TLS 1.3, no client certificate, no resumption (it would skip the verifier), h2.
pub(super) fn client(verifier: Arc<PinVerifier>) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![tls::ALPN_H2.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let top = intermediates.last().unwrap_or(end_entity);
        if !tls::spki_pin(top).is_ok_and(|pin| pin == self.pin) {
            return Err(self.refuse(Distrust::Pin));
        }
        let broken = |why: String| self.refuse(Distrust::Chain(why));
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None => {
                let mut roots = RootCertStore::empty();
                roots
                    .add(top.clone().into_owned())
                    .map_err(|error| broken(error.to_string()))?;
                Arc::new(roots)
            }
        };
        WebPkiServerVerifier::builder_with_provider(roots, self.provider.clone())
            .build()
            .map_err(|error| broken(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| broken(tls::clock_skew(&error).unwrap_or_else(|| error.to_string())))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is never offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
