//! The public API as `up` uses it: what anybody with a token could do.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use zhylon_shared::tls;

/// Puts a token on every call.
#[derive(Debug, Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A channel with a token.
pub type Service = InterceptedService<Channel, Bearer>;

/// Connects to `url`, trusting `ca_file`, as the owner of `token`.
///
/// # Errors
/// When nobody answers or TLS fails.
pub async fn connect(url: &str, ca_file: &Path, token: &str) -> Result<Service> {
    let config = tls::public_client(&tls::read(ca_file)?)?;
    let channel = tls::connect(url, Arc::new(config)).await?;
    let bearer = MetadataValue::try_from(format!("Bearer {}", token.trim()))
        .context("a token of odd characters")?;
    Ok(InterceptedService::new(channel, Bearer(bearer)))
}
