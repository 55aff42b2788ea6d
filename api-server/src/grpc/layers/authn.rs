//! Who calls: reads the bearer token, asks the access table, and hands the handler a [`crate::domain::Ctx`] in the
//! request's extensions. A method the table does not know is answered by no one.

use crate::domain::Domain;

/// The layer: `tower::Layer` for `tonic::transport::Server::layer` on the public listener.
#[derive(Debug, Clone)]
pub(crate) struct AuthnLayer {
    domain: Domain,
}

impl AuthnLayer {
    /// Before every handler of the public API.
    #[must_use]
    pub(crate) fn new(domain: Domain) -> Self {
        Self { domain }
    }
}
