//! Floor 4: the API on the wire. Every handler is five beats: decode, authorise, act, announce, encode; the middle
//! three are one call of [`crate::domain`]. Only [`status`] makes a `Status`.

pub(crate) mod agent;
pub(crate) mod enroll;
pub(crate) mod layers;
pub(crate) mod log;
pub(crate) mod server;
pub(crate) mod status;

use std::sync::Arc;

use tonic::service::RoutesBuilder;

use crate::domain::Domain;

/// Teams, users, tokens, servers and daemons. `app` adds logs, health and reflection, puts
/// [`layers::authn::AuthnLayer`] before all of them and serves them on the public listener.
#[must_use]
pub(crate) fn routes(domain: &Domain, desk: Arc<dyn server::EnrollmentDesk>) -> RoutesBuilder {
    let _ = (domain, desk);
    todo!("owner: api")
}
