//! The two gRPC servers: their services, their layers, their limits.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::Server;
use tonic_health::server::{HealthReporter, HealthService};
use tower_http::catch_panic::CatchPanicLayer;

use crate::agents::Agents;
use crate::bus::log_broker::LogBroker;
use crate::ca::AgentCa;
use crate::domain::{Domain, Error};
use crate::grpc;
use crate::grpc::agent::AgentApi;
use crate::grpc::enroll::Desk;
use crate::grpc::layers::authn::AuthnLayer;
use crate::grpc::log::LogApi;
use crate::grpc::status::to_status;
use crate::listener::Conn;

/// Calls at the same time on one connection. One more waits on the client's side.
const STREAMS_MAX: u32 = 256;
/// Header bytes of one call, as HTTP/2 counts them. More is refused by the HTTP layer.
const HEADERS_MAX: u32 = 16 * 1024;
/// PING interval on both listeners and the wait for its answer: a dead peer is gone within 40 s.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one call a client may send ahead. Requests of the public API are small; the default of 1 MiB would let 256
/// calls hold 256 MiB.
const PUBLIC_STREAM_WINDOW: u32 = 64 * 1024;
const PUBLIC_CONNECTION_WINDOW: u32 = 256 * 1024;
/// Bytes an agent may send ahead on one stream, and on its connection. There are two streams, control and logs: the
/// connection's window is larger than a stream's, so that log bytes nobody has taken yet never hold up a heartbeat.
const AGENT_STREAM_WINDOW: u32 = 1024 * 1024;
const AGENT_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Longest time until a call's answer begins; streams may then go on.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

fn limited() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADERS_MAX)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
}

/// The public server; ends when `draining` and all its calls are done.
///
/// # Errors
/// When the compiled-in descriptors are broken.
pub(super) fn public(
    domain: Domain,
    desk: Arc<Desk>,
    logs: LogBroker,
    health: HealthReporter,
    draining: CancellationToken,
    incoming: ReceiverStream<io::Result<Conn>>,
) -> anyhow::Result<impl Future<Output = Result<(), tonic::transport::Error>> + Send> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(zhylon_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = grpc::routes(&domain, desk, draining.clone());
    routes
        .add_service(LogApi::new(domain.clone(), logs, draining.clone()))
        .add_service(tonic_health::pb::health_server::HealthServer::new(
            HealthService::from_health_reporter(health),
        ))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    let server = limited()
        .initial_stream_window_size(PUBLIC_STREAM_WINDOW)
        .initial_connection_window_size(PUBLIC_CONNECTION_WINDOW)
        .timeout(CALL_DEADLINE)
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(AuthnLayer::new(domain))
        .add_routes(routes.routes());
    Ok(server.serve_with_incoming_shutdown(incoming, draining.cancelled_owned()))
}

/// The agents' server; ends when `draining` and all its streams are done.
pub(super) fn agent(
    agents: Agents,
    ca: Arc<AgentCa>,
    draining: CancellationToken,
    incoming: ReceiverStream<io::Result<Conn>>,
) -> impl Future<Output = Result<(), tonic::transport::Error>> + Send {
    limited()
        .initial_stream_window_size(AGENT_STREAM_WINDOW)
        .initial_connection_window_size(AGENT_CONNECTION_WINDOW)
        .layer(CatchPanicLayer::custom(answer_panic))
        .add_service(AgentApi::new(agents, ca))
        .serve_with_incoming_shutdown(incoming, draining.cancelled_owned())
}

/// A handler's panic is one call's failure. The panic itself was logged by the hook.
pub(super) fn answer_panic(_: Box<dyn Any + Send>) -> Response<Body> {
    to_status(Error::Internal("a handler panicked".to_owned())).into_http()
}
