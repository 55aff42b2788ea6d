//! `ServerService`.

use zhylon_shared::id::ServerId;

/// What an enrolled agent is given.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Its certificate and the issuers, PEM.
    pub(crate) certificate_chain: String,
    /// The authorities it trusts on the agents' listener, PEM.
    pub(crate) ca_bundle: String,
    /// Addresses of the agents' listener, `host:port`.
    pub(crate) agent_addresses: Vec<String>,
}

/// What enrolment needs of the house's certificates. Given by `app` to [`ServerApi`].
pub(crate) trait EnrollmentDesk: Send + Sync + 'static {
    /// SHA-256 of the SPKI of the topmost certificate of the chain the public listener presents now.
    fn pin(&self) -> [u8; 32];
    /// SHA-256 of the SPKI in a certificate signing request (DER).
    ///
    /// # Errors
    /// In words, when it is no request, is not signed by its own key, or the key is not P-256.
    fn key_hash(&self, request: &[u8]) -> Result<[u8; 32], String>;
    /// Signs a certificate for `server` with the key of the request.
    ///
    /// # Errors
    /// In words, for our log.
    fn issue(&self, server: ServerId, request: &[u8]) -> Result<Identity, String>;
}
