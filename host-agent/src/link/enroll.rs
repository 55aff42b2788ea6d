//! Enrolment: exchanges a single-use token for this host's identity.
//!
//! Order matters: the server's pinned key is checked before anything of the token is sent; the private key is on disk
//! before the request, so that a lost answer can be asked for again; nothing of an existing identity is touched before
//! a usable new one is here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;
use zhylon_proto::daemons::v1::server_service_client::ServerServiceClient;
use zhylon_proto::daemons::v1::{EnrollRequest, EnrollResponse};
use zhylon_shared::id::ServerId;
use zhylon_shared::redact::Secret;
use zhylon_shared::tls::{self, ConnectError, TlsError};
use zhylon_shared::token::{EnrollmentToken, TokenError};

use super::identity::{About, EnrollmentLock, Identity, Store};
use super::pin::{self, Distrust, PinVerifier};
use super::report::describe;
use crate::config::Config;

/// How long the answer may take: a busy database is no reason to give up, a dead one is.
const ANSWER: Duration = Duration::from_secs(30);
/// Most addresses taken from an answer; more are a mistake, and each would be tried in turn.
const ADDRESSES_MAX: usize = 16;

/// Why this host was not enrolled. Each has its own words, because each needs another deed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnrollError {
    #[error("{0}; take the enrolment token exactly as CreateEnrollmentToken showed it")]
    MalformedToken(#[from] TokenError),
    #[error(
        "{0:?} is not the address of an api-server: expected `https://host` or `https://host:port`"
    )]
    MalformedUrl(String),
    #[error(
        "this host is enrolled already, as server {0}; to give it a new identity, say so explicitly (--replace)"
    )]
    AlreadyEnrolled(ServerId),
    #[error("another enrolment of this host is running; wait for it to end")]
    Busy,
    #[error("the CA file can not be used: {0}")]
    CaFile(TlsError),
    #[error("can not reach the api-server; nothing was sent, the token is still good: {0}")]
    Unreachable(ConnectError),
    #[error(
        "{0} is not the api-server this token was made by: its certificate chain ends in another key than the token \
         names. Nothing was sent, the token is still good. Check the address, look for a proxy in between; if the \
         api-server's certificate was changed since, make a new token"
    )]
    WrongPin(String),
    #[error(
        "{url} has the key this token names, but its certificate does not verify: {reason}. Nothing was sent, the \
         token is still good. Use the host name that is in the certificate, check both clocks; if the api-server does \
         not present its issuer's certificate, give it as CA file"
    )]
    Untrusted { url: String, reason: String },
    #[error("the token was used already, by another host or key; make a new one")]
    TokenUsed,
    #[error("the token has expired; make a new one (they are good for one hour)")]
    TokenExpired,
    #[error(
        "the api-server does not know this token: it was made elsewhere, was revoked, or its server was deleted; make a new one"
    )]
    TokenUnknown,
    #[error("the api-server refused: {message} ({reason})")]
    Refused { reason: String, message: String },
    #[error(
        "no answer from the api-server: {0}. Whether the token was used up is not known; run the same command again: it \
         sends the same key, and the api-server gives the same answer to it"
    )]
    NoAnswer(String),
    #[error("the api-server's answer can not be used: {0}; nothing was changed on this host")]
    UnusableAnswer(String),
    #[error("the key could not be made: {0}")]
    Key(#[from] rcgen::Error),
    #[error("{}: {source}", path.display())]
    Files {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Gives this host the identity the token is for, in `state_dir/identity`. With `ca_file` the api-server's chain must
/// verify by it instead of by its own topmost certificate; the token's pin is checked all the same. Without `replace`
/// an existing identity is left alone.
///
/// # Errors
/// [`EnrollError`], each kind in its own words; nothing of an existing identity was changed.
pub(crate) async fn enroll(
    config: &Config,
    api_url: &str,
    token: Secret,
    ca_file: Option<&Path>,
    replace: bool,
) -> anyhow::Result<()> {
    let server = enroll_into(&config.state_dir, api_url, &token, ca_file, replace).await?;
    tracing::info!(%server, "enrolled");
    Ok(())
}

/// [`enroll`] into a given directory; returns which server this host is now.
pub(super) async fn enroll_into(
    state_dir: &Path,
    api_url: &str,
    token: &Secret,
    ca_file: Option<&Path>,
    replace: bool,
) -> Result<ServerId, EnrollError> {
    let token = EnrollmentToken::parse(token.expose().trim())?;
    let url = complete(api_url).ok_or_else(|| EnrollError::MalformedUrl(api_url.to_owned()))?;
    let roots = match ca_file {
        Some(path) => Some(
            tls::read(path)
                .and_then(|pem| tls::roots(&pem))
                .map_err(EnrollError::CaFile)?,
        ),
        None => None,
    };
    let store = Store::new(state_dir);
    let files = |source| EnrollError::Files {
        path: store.path().to_owned(),
        source,
    };
    let lock = store.lock().map_err(files)?.ok_or(EnrollError::Busy)?;
    if !replace && let Some(about) = store.about().map_err(files)? {
        return Err(EnrollError::AlreadyEnrolled(about.server_id));
    }
    let channel = connect(&url, token.pin, roots).await?;
    let key = pending_key(&store, &lock)?;
    let answer = ask(channel, &token, &key).await?;
    let identity = check(answer, &key, &url)?;
    store.store(&lock, &identity).map_err(files)?;
    Ok(identity.about.server_id)
}

/// `https://host:port` of what a person gave.
fn complete(api_url: &str) -> Option<String> {
    let uri: http::Uri = api_url.trim().parse().ok()?;
    let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
    if uri.scheme_str() != Some("https") || !plain {
        return None;
    }
    let authority = uri.authority()?;
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return None;
    }
    let port = authority.port_u16().unwrap_or(443);
    Some(format!("https://{}:{port}", authority.host()))
}

/// Returns only once the peer proved to hold the pinned chain. If the channel has to connect again, the same verifier
/// is asked again.
async fn connect(
    url: &str,
    pin: [u8; 32],
    roots: Option<rustls::RootCertStore>,
) -> Result<Channel, EnrollError> {
    let verifier = Arc::new(PinVerifier::new(pin, roots));
    let client = pin::client(verifier.clone())
        .map_err(|error| EnrollError::CaFile(TlsError::Rustls(error)))?;
    tls::connect(url, Arc::new(client))
        .await
        .map_err(|error| match verifier.distrust() {
            Some(Distrust::Pin) => EnrollError::WrongPin(url.to_owned()),
            Some(Distrust::Chain(reason)) => EnrollError::Untrusted {
                url: url.to_owned(),
                reason,
            },
            None => EnrollError::Unreachable(error),
        })
}

/// The key of an unfinished enrolment, or a new one; on disk before anyone hears of it.
fn pending_key(store: &Store, lock: &EnrollmentLock) -> Result<KeyPair, EnrollError> {
    let files = |source| EnrollError::Files {
        path: store.path().to_owned(),
        source,
    };
    if let Some(pem) = store.pending_key().map_err(files)? {
        match KeyPair::from_pem(pem.expose()) {
            Ok(key) => return Ok(key),
            Err(error) => {
                tracing::warn!(%error, "the key of an unfinished enrolment is damaged; making a new one")
            }
        }
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    store
        .keep_pending_key(lock, &Secret::new(key.serialize_pem()))
        .map_err(files)?;
    Ok(key)
}

async fn ask(
    channel: Channel,
    token: &EnrollmentToken,
    key: &KeyPair,
) -> Result<EnrollResponse, EnrollError> {
    // The request gives nothing but its key; the server decides what the certificate says.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = EnrollRequest {
        token: token.credential().expose().to_owned(),
        certificate_request: params.serialize_request(key)?.der().to_vec(),
        hostname: (rustix::system::uname().nodename().to_string_lossy()).into_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut client = ServerServiceClient::new(channel);
    match tokio::time::timeout(ANSWER, client.enroll(request)).await {
        Err(_) => Err(EnrollError::NoAnswer(format!(
            "it took longer than {} s",
            ANSWER.as_secs()
        ))),
        Ok(Err(status)) => Err(refusal(&status)),
        Ok(Ok(answer)) => Ok(answer.into_inner()),
    }
}

fn refusal(status: &tonic::Status) -> EnrollError {
    let reason = status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default();
    match reason.as_str() {
        "ENROLLMENT_TOKEN_USED" => EnrollError::TokenUsed,
        "ENROLLMENT_TOKEN_EXPIRED" => EnrollError::TokenExpired,
        "ENROLLMENT_TOKEN_UNKNOWN" => EnrollError::TokenUnknown,
        // Without a reason of ours it is the transport that speaks, not the api-server.
        "" if matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded
        ) =>
        {
            EnrollError::NoAnswer(describe(status))
        }
        "" => EnrollError::Refused {
            reason: status.code().description().to_owned(),
            message: status.message().to_owned(),
        },
        _ => EnrollError::Refused {
            reason,
            message: status.message().to_owned(),
        },
    }
}

/// Nothing is stored that the link could not use.
fn check(answer: EnrollResponse, key: &KeyPair, url: &str) -> Result<Identity, EnrollError> {
    let unusable = |what: String| EnrollError::UnusableAnswer(what);
    let server_id: ServerId =
        (answer.server_id.parse()).map_err(|error| unusable(format!("server_id: {error}")))?;
    let key = Secret::new(key.serialize_pem());
    tls::agent_client(
        answer.ca_bundle.as_bytes(),
        answer.certificate_chain.as_bytes(),
        key.expose().as_bytes(),
    )
    .map_err(|error| unusable(error.to_string()))?;
    let addresses = &answer.agent_addresses;
    if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
        return Err(unusable(format!(
            "agent_addresses: must have 1 to {ADDRESSES_MAX} entries, has {}",
            addresses.len()
        )));
    }
    for address in addresses {
        let authority = address.parse::<http::uri::Authority>().ok();
        if authority.is_none_or(|authority| authority.port_u16().is_none()) {
            return Err(unusable(format!(
                "agent_addresses: {address:?} is not `host:port`"
            )));
        }
    }
    Ok(Identity {
        about: About {
            server_id,
            agent_addresses: answer.agent_addresses,
            api_url: url.to_owned(),
        },
        key,
        chain: answer.certificate_chain,
        ca: answer.ca_bundle,
    })
}
