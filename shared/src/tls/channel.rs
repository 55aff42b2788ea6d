//! A gRPC channel over our own TLS connector. tonic's own TLS hides the errors people need to see.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// Longest time for TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 PING interval and the wait for its answer: a half-open connection is noticed within 30 s, before the
/// application's watchdog of 45 s.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not `https://host:port`.
    #[error("{0:?} is not an address of the form `https://host:port`")]
    Address(String),
    /// Nobody answers, or TLS fails; with the whole chain of causes.
    #[error("can not connect to {address}: {reason}")]
    Transport {
        /// The address.
        address: String,
        /// All causes, outermost first.
        reason: String,
    },
}

/// All causes of an error in one line, outermost first, without repeating what an outer one already said.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Says so where it is a clock that stands between two who trust each other.
fn named(error: std::io::Error) -> std::io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner.and_then(super::clock_skew) {
        Some(skew) => std::io::Error::other(skew),
        None => error,
    }
}

/// Connects to `url` (`https://host:port`) and returns once TLS stands. The channel reconnects by itself.
///
/// # Errors
/// When the address is malformed, nobody answers within 10 s, or TLS fails.
pub async fn connect(url: &str, config: Arc<ClientConfig>) -> Result<Channel, ConnectError> {
    let malformed = || ConnectError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| malformed())?;
    let (Some("https"), Some(host), Some(port)) = (uri.scheme_str(), uri.host(), uri.port_u16())
    else {
        return Err(malformed());
    };
    // `[::1]` in a URL is `::1` to the resolver and to TLS.
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| malformed())?;
    let tls = TlsConnector::from(config);
    // tonic must not look for its own TLS, hence the scheme; the origin keeps `:scheme` right.
    let endpoint =
        Endpoint::from_shared(format!("http://{}", uri.authority().ok_or_else(malformed)?))
            .map_err(|_| malformed())?
            .origin(uri.clone())
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
    let connector = tower::service_fn(move |_: Uri| {
        let (tls, name, host) = (tls.clone(), name.clone(), host.clone());
        async move {
            let tcp = TcpStream::connect((host.as_str(), port)).await?;
            tcp.set_nodelay(true)?;
            let stream = tls.connect(name, tcp).await.map_err(named)?;
            if stream.get_ref().1.alpn_protocol() != Some(super::ALPN_H2) {
                return Err(std::io::Error::other("the peer does not speak HTTP/2"));
            }
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect_with_connector(connector))
        .await
        .map_err(|_| ConnectError::Transport {
            address: url.to_owned(),
            reason: format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
        })?
        .map_err(|error| ConnectError::Transport {
            address: url.to_owned(),
            reason: error_chain(&error),
        })
}
