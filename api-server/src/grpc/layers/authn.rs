//! Who calls: finds the method's rule in the access table, reads the bearer token, and hands the handler a
//! [`crate::domain::Ctx`] in the request's extensions. A method the table does not know is answered by no one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::access::{self, Access};
use crate::domain::{Domain, Error, Shown};
use crate::grpc::status::to_status;

/// Services of the gRPC project that we serve to everyone: what is up, and what the API looks like.
const PUBLIC: [&str; 3] = [
    "grpc.health.v1.Health/",
    "grpc.reflection.v1.ServerReflection/",
    "grpc.reflection.v1alpha.ServerReflection/",
];

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

impl<S> Layer<S> for AuthnLayer {
    type Service = Authn<S>;

    fn layer(&self, inner: S) -> Authn<S> {
        Authn {
            domain: self.domain.clone(),
            inner,
        }
    }
}

/// The service behind [`AuthnLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Authn<S> {
    domain: Domain,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Authn<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that was polled ready is called; its fresh clone waits for the next request.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let domain = self.domain.clone();
        let request_id = request_id();
        let span = tracing::info_span!(
            "call",
            request.id = request_id,
            method = request.uri().path(),
            user.id = tracing::field::Empty,
            operator.id = tracing::field::Empty,
        );
        let call = async move {
            match gate(&domain, &mut request).await {
                Ok(()) => inner.call(request).await,
                Err(error) => Ok(to_status(error).into_http()),
            }
        };
        Box::pin(call.instrument(span))
    }
}

/// Lets a request through, with its context where it has one.
async fn gate<B>(domain: &Domain, request: &mut Request<B>) -> Result<(), Error> {
    let method = request.uri().path().trim_start_matches('/');
    let Some(rule) = access::rule(method) else {
        let public = PUBLIC.iter().any(|service| method.starts_with(service));
        return public.then_some(()).ok_or(Error::NoSuchMethod);
    };
    if rule.access == Access::EnrollmentToken {
        return Ok(());
    }
    let shown = Shown {
        authorization: text(request.headers(), "authorization"),
        on_behalf_of: text(request.headers(), "zhylon-on-behalf-of"),
    };
    let ctx = domain.authenticate(shown, rule).await?;
    let span = tracing::Span::current();
    span.record("user.id", tracing::field::display(ctx.actor.user));
    if let Some(operator) = ctx.actor.acting {
        span.record("operator.id", tracing::field::display(operator));
        tracing::info!("the platform operator acts for a user");
    }
    request.extensions_mut().insert(ctx);
    Ok(())
}

/// A header's text. One that is no text is there all the same, and will be refused for its form.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().unwrap_or_default())
}

/// Names a call in our log. Without randomness it stays nameless: no reason to refuse it.
fn request_id() -> String {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => format!("{:016x}", u64::from_be_bytes(bytes)),
        Err(_) => String::new(),
    }
}
