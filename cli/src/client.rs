//! One channel to the API, with the caller's token on every call.

use std::sync::Arc;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use zhylon_proto::daemons::v1::daemon_service_client::DaemonServiceClient;
use zhylon_proto::daemons::v1::log_service_client::LogServiceClient;
use zhylon_proto::daemons::v1::server_service_client::ServerServiceClient;
use zhylon_proto::daemons::v1::team_service_client::TeamServiceClient;
use zhylon_shared::tls;

use crate::args::Connection;
use crate::exit::Failure;

/// Puts the token on a call.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A connected client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    service: InterceptedService<Channel, Bearer>,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(connection: &Connection) -> Result<Self, Failure> {
        let url = connection.api_url.as_deref().ok_or_else(|| {
            Failure::usage("no API address")
                .hint("set ZHYLON_API_URL, or pass --api-url https://host:port")
        })?;
        let bearer = token(connection)?;
        let ca_file = connection.ca_file.as_deref();
        let ca = match ca_file {
            Some(path) => tls::read(path).map_err(|error| Failure::usage(error.to_string()))?,
            None => system_certificates()?,
        };
        let config = tls::public_client(&ca).map_err(|error| Failure::usage(error.to_string()))?;
        let channel = tls::connect(url, Arc::new(config)).await.map_err(|error| {
            let failure = Failure::new(7, error.to_string());
            if ca_file.is_none() && failure.message.contains("certificate") {
                return failure
                    .hint("is its certificate one of your own? Name its CA with ZHYLON_CA_FILE");
            }
            failure
        })?;
        Ok(Self {
            service: InterceptedService::new(channel, bearer),
        })
    }

    /// The daemons' service.
    pub(crate) fn daemons(&self) -> DaemonServiceClient<InterceptedService<Channel, Bearer>> {
        DaemonServiceClient::new(self.service.clone())
    }
    /// The logs' service.
    pub(crate) fn logs(&self) -> LogServiceClient<InterceptedService<Channel, Bearer>> {
        LogServiceClient::new(self.service.clone())
    }
    /// The servers' service.
    pub(crate) fn servers(&self) -> ServerServiceClient<InterceptedService<Channel, Bearer>> {
        ServerServiceClient::new(self.service.clone())
    }
    /// The teams' service.
    pub(crate) fn teams(&self) -> TeamServiceClient<InterceptedService<Channel, Bearer>> {
        TeamServiceClient::new(self.service.clone())
    }
}

/// The token: from the file if one is named, else from the environment, never from argv.
fn token(connection: &Connection) -> Result<Bearer, Failure> {
    let text = match &connection.api_token_file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?,
        None => connection.api_token.clone().unwrap_or_default(),
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::new(6, "no API token")
            .hint("set ZHYLON_API_TOKEN, or name a file with --api-token-file"));
    }
    let mut value = MetadataValue::try_from(format!("Bearer {text}"))
        .map_err(|_| Failure::new(6, "the API token has characters that no token has"))?;
    value.set_sensitive(true);
    Ok(Bearer(value))
}

/// The machine's own trust store, where Debian and Ubuntu keep it.
fn system_certificates() -> Result<Vec<u8>, Failure> {
    const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
    std::fs::read(BUNDLE).map_err(|error| {
        Failure::usage(format!("{BUNDLE}: {error}"))
            .hint("name the certificates to trust with ZHYLON_CA_FILE")
    })
}
