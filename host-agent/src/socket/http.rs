//! HTTP/1.1 on one connection: `POST /RPC2`, `GET /logtail/…` and `GET /mainlogtail`, nothing else.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, SERVER, TRANSFER_ENCODING,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::codec::{BODY_MAX, parse_call, render};
use super::door::{Door, Log};
use super::fault::Code;
use super::follow::{Hangup, follow};
use super::methods;
use super::session::Session;

/// How long a connection may take to send the head of its next request, resting in between included: Supervisor's own
/// limit. It can be that long because a resting connection costs only its own uid one of its few places.
const HEAD_WITHIN: Duration = Duration::from_secs(30 * 60);

/// How long the body may take once the head is there; then 408.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Most bytes of a request's head; more is answered 431.
const HEAD_MAX: usize = 16 * 1024;

/// Our name in the `Server` header, where Supervisor says `Medusa/1.12`.
const SERVER_NAME: &str = concat!("zhylon-agent/", env!("CARGO_PKG_VERSION"));

type Chunks = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>>>>;
type Body = Either<Full<Bytes>, StreamBody<Chunks>>;

/// Serves one connection until its peer is done.
pub(crate) async fn serve<D: Door>(stream: UnixStream, session: Session<D>) {
    let descriptor = match stream.as_fd().try_clone_to_owned() {
        Ok(descriptor) => Rc::new(descriptor),
        Err(error) => {
            tracing::warn!(%error, "no descriptor left for a connection to the local socket");
            return;
        }
    };
    let service = service_fn(|request| {
        let session = session.clone();
        let descriptor = Rc::clone(&descriptor);
        async move { Ok::<_, Infallible>(answer(&session, &descriptor, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        // The peer's doing: it hung up in the middle or does not speak HTTP.
        tracing::debug!(%error, "a connection to the local socket ended");
    }
}

async fn answer<D: Door>(
    session: &Session<D>,
    descriptor: &OwnedFd,
    request: Request<Incoming>,
) -> Response<Body> {
    let path = request.uri().path();
    let mut response = if path == "/RPC2" || path.starts_with("/RPC2/") {
        match *request.method() {
            Method::POST if !has_body(request.headers()) => {
                refuse(StatusCode::LENGTH_REQUIRED, "say how long the call is")
            }
            Method::POST => call(session, request.into_body()).await,
            _ => refuse(StatusCode::BAD_REQUEST, "use POST with an XML-RPC call"),
        }
    } else if let Some(rest) = path.strip_prefix("/logtail/") {
        match *request.method() {
            Method::GET => tail(session, descriptor, rest).await,
            _ => refuse(StatusCode::BAD_REQUEST, "use GET"),
        }
    } else if path.starts_with("/mainlogtail") {
        match *request.method() {
            Method::GET => tail_own_log(session, descriptor),
            _ => refuse(StatusCode::BAD_REQUEST, "use GET"),
        }
    } else {
        refuse(
            StatusCode::NOT_FOUND,
            "there is only /RPC2, /logtail/NAME and /mainlogtail",
        )
    };
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    response
}

async fn call<D: Door>(session: &Session<D>, body: Incoming) -> Response<Body> {
    let body = match timeout(BODY_WITHIN, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let rule = format!("a request has at most {BODY_MAX} bytes");
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, &rule);
        }
        Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the request broke off"),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long"),
    };
    let call = match parse_call(&body) {
        Ok(call) => call,
        Err(malformed) => return refuse(StatusCode::BAD_REQUEST, &malformed.to_string()),
    };
    let result = methods::call(session, call).await;
    match render(result) {
        Ok(text) => full(StatusCode::OK, "text/xml", text),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as XML");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "no answer")
        }
    }
}

/// `NAME`, `NAME/stdout`; everything else is not found, as there is no log of it.
async fn tail<D: Door>(session: &Session<D>, descriptor: &OwnedFd, rest: &str) -> Response<Body> {
    let not_found = || refuse(StatusCode::NOT_FOUND, "there is no such log");
    let Some(decoded) = unquote(rest) else {
        return refuse(StatusCode::BAD_REQUEST, "the path is not URL-encoded UTF-8");
    };
    let (name, channel) = decoded.split_once('/').unwrap_or((&decoded, "stdout"));
    if channel != "stdout" {
        return not_found();
    }
    let log = match session.open_log(name).await {
        Ok(log) => log,
        Err(fault) if fault.code == Code::Failed => {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the log can not be read");
        }
        Err(_) => return not_found(),
    };
    stream(log, descriptor)
}

/// To who may not read it, it is not there.
fn tail_own_log<D: Door>(session: &Session<D>, descriptor: &OwnedFd) -> Response<Body> {
    match session.open_own_log() {
        Ok(log) => stream(log, descriptor),
        Err(_) => refuse(StatusCode::NOT_FOUND, "there is no such log"),
    }
}

fn stream(log: impl Log, descriptor: &OwnedFd) -> Response<Body> {
    let hangup = match descriptor.try_clone().and_then(Hangup::of) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "no descriptor left to follow a log");
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "no descriptor left");
        }
    };
    let chunks: Chunks = Box::pin(follow(log, hangup).map(|chunk| chunk.map(Frame::data)));
    let mut response = Response::new(Either::Right(StreamBody::new(chunks)));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain;charset=utf-8"),
    );
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

/// `%41` to `A`; `None` for what is no text then.
fn unquote(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn refuse(status: StatusCode, why: &str) -> Response<Body> {
    full(status, "text/plain;charset=utf-8", format!("{why}\n"))
}

fn full(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unquotes() {
        assert_eq!(unquote("a%3Ab:%2a").as_deref(), Some("a:b:*"));
        for bad in ["%", "%4", "%4g", "%ff", "%+1"] {
            assert_eq!(unquote(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn unquote_never_panics(path: String) {
            unquote(&path);
        }
    }
}
