//! Floor 4: the API on the wire. Every handler is five beats: decode, authorise, act, announce, encode; the middle
//! three are one call of [`crate::domain`]. Only [`status`] makes a `Status`.

pub mod agent;
pub mod layers;
pub mod log;
pub mod server;
pub mod status;

use std::sync::Arc;

use tonic::service::RoutesBuilder;

use crate::domain::Domain;

/// Teams, users, tokens, servers and daemons. `app` adds logs, health and reflection, puts
/// [`layers::authn::AuthnLayer`] before all of them and serves them on the public listener.
#[must_use]
pub fn routes(domain: &Domain, desk: Arc<dyn server::EnrollmentDesk>) -> RoutesBuilder {
    let _ = (domain, desk);
    todo!("owner: api")
}
