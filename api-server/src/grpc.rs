//! Floor 4: the API on the wire. Every handler is five beats: decode, authorise, act, announce, encode; the middle
//! three are one call of [`crate::domain`]. Only [`status`] makes a `Status`.

pub(crate) mod agent;
mod convert;
mod daemon;
pub(crate) mod enroll;
pub(crate) mod layers;
pub(crate) mod log;
mod methods;
pub(crate) mod server;
pub(crate) mod status;
mod team;
mod token;
mod user;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use zhylon_proto::daemons::v1::daemon_service_server::DaemonServiceServer;
use zhylon_proto::daemons::v1::server_service_server::ServerServiceServer;
use zhylon_proto::daemons::v1::team_service_server::TeamServiceServer;
use zhylon_proto::daemons::v1::token_service_server::TokenServiceServer;
use zhylon_proto::daemons::v1::user_service_server::UserServiceServer;

use self::methods::REQUEST_MAX;
use self::server::EnrollmentDesk;
use crate::domain::Domain;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
struct Api {
    domain: Domain,
    desk: Arc<dyn EnrollmentDesk>,
    draining: CancellationToken,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// Teams, users, tokens, servers and daemons. `app` adds logs, health and reflection, puts
/// [`layers::authn::AuthnLayer`] before all of them and serves them on the public listener. Streams end when
/// `draining`.
#[must_use]
pub(crate) fn routes(
    domain: &Domain,
    desk: Arc<dyn EnrollmentDesk>,
    draining: CancellationToken,
) -> RoutesBuilder {
    let api = Api {
        domain: domain.clone(),
        desk,
        draining,
    };
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(TeamServiceServer::new(api.clone()).max_decoding_message_size(REQUEST_MAX))
        .add_service(UserServiceServer::new(api.clone()).max_decoding_message_size(REQUEST_MAX))
        .add_service(TokenServiceServer::new(api.clone()).max_decoding_message_size(REQUEST_MAX))
        .add_service(ServerServiceServer::new(api.clone()).max_decoding_message_size(REQUEST_MAX))
        .add_service(DaemonServiceServer::new(api).max_decoding_message_size(REQUEST_MAX));
    routes
}
