//! A new certificate before the old one ends, make before break: a new key, its certificate, a connection that proves that
//! it works, and only then does it take the old one's place. The session that runs goes on over its own connection.
//!
//! Owns when that is tried. Never runs for an agent that the api-server did not welcome, unless its certificate has ended:
//! a copy of this host's identity must not take it over by renewing first.

mod life;

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::Channel;
use zhylon_proto::agent::v1::agent_service_client::AgentServiceClient;
use zhylon_proto::agent::v1::renew_certificate_response::Outcome;
use zhylon_proto::agent::v1::{Reject, RejectReason, RenewCertificateRequest, RenewedCertificate};
use zhylon_shared::redact::Secret;
use zhylon_shared::{tls, wire};

pub(crate) use life::Life;

use super::connect::{dial, random};
use super::identity::{Identity, Store, fit};
use super::report::{describe, refused};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// The first wait after a try that failed; doubled up to the longest. There are days for it.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
/// How often the clock is asked whether it is time: it may be set, and the host may sleep. Also the rest after a renewal, in
/// case a new certificate is due at once (an authority at its own end gives no longer ones).
const LOOK: Duration = Duration::from_secs(3600);
/// Longest certificate chain and bundle taken; a few certificates are some KiB.
const PEM_MAX: usize = 64 * 1024;

/// Renews the identity of one host.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    store: Store,
    run_dir: PathBuf,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewalError {
    /// The api-server says no.
    #[error("{}", refused(.0))]
    Refused(Reject),
    /// Anything else; the next try may have more luck.
    #[error("{0}")]
    Failed(String),
}

impl RenewalError {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    fn reason(&self) -> Option<RejectReason> {
        match self {
            Self::Refused(reject) => Some(reject.reason()),
            Self::Failed(_) => None,
        }
    }
}

/// Where an api-server can be reached, and what time it says it is.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// `host:port`.
    pub(super) address: String,
    /// How far the api-server's clock is ahead of the host's, in seconds; 0 where that is not known.
    pub(super) ahead: i64,
}

impl Way {
    /// Unix seconds by the api-server's clock: it is the one that judges.
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let host = since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
        host.saturating_add(self.ahead)
    }
}

impl Renewal {
    pub(super) fn new(store: Store, run_dir: PathBuf) -> Self {
        Self { store, run_dir }
    }

    /// Renews whenever it is time, for as long as the session lives that it runs beside. `tell` hears how each try went.
    pub(super) async fn keep(
        &self,
        way: Way,
        mut tell: impl FnMut(Result<(), &RenewalError>),
    ) -> Infallible {
        let mut tries = 0;
        loop {
            let wait = match self.due(&way) {
                Ok(left) if left > 0 => Duration::from_secs(left.unsigned_abs()).min(LOOK),
                // No identity, or none that can be read: the one who connects says so.
                Err(_) => LOOK,
                Ok(_) => match self.renew(&way).await {
                    Ok(()) => {
                        tries = 0;
                        tell(Ok(()));
                        LOOK
                    }
                    Err(error) => {
                        tell(Err(&error));
                        tries += 1;
                        retry(tries, random())
                    }
                },
            };
            sleep(wait).await;
        }
    }

    /// Seconds until it is time.
    fn due(&self, way: &Way) -> Result<i64, String> {
        let chain = self.store.chain().map_err(|error| error.to_string())?;
        let life = Life::of(&chain.unwrap_or_default()).map_err(|error| error.to_string())?;
        Ok(life.renewal.saturating_sub(way.now()))
    }

    /// What an earlier try left: half a promotion is finished; a certificate that may work is tried, and takes its place.
    /// Whatever goes wrong, the identity that lies there is used.
    pub(super) async fn resume(&self, way: &Way) {
        if let Err(error) = self.try_resume(way).await {
            tracing::info!(%error, "the new certificate was not put in place yet");
        }
    }

    async fn try_resume(&self, way: &Way) -> Result<(), RenewalError> {
        let Some(identity) = self.store.load().map_err(RenewalError::failed)? else {
            return Ok(());
        };
        if self
            .store
            .is_half_promoted()
            .map_err(RenewalError::failed)?
        {
            let lock = self.store.lock_for(&identity);
            let lock = lock.map_err(RenewalError::failed)?;
            return (self.store.promote(&lock, |_| ())).map_err(RenewalError::failed);
        }
        match self.store.successor().map_err(RenewalError::failed)? {
            Some(successor) => self.prove(&identity, &successor, way).await,
            None => Ok(()),
        }
    }

    /// Asks for a certificate for a new key, proves it, and puts it in its place.
    pub(super) async fn renew(&self, way: &Way) -> Result<(), RenewalError> {
        let store = &self.store;
        let identity = store.load().map_err(RenewalError::failed)?;
        let identity = identity.ok_or_else(|| RenewalError::failed("this host is not enrolled"))?;
        let key = self.next_key(&identity)?;
        let channel = dial(&identity, &way.address).await;
        let channel = channel.map_err(RenewalError::Failed)?;
        let answer = ask(channel, &key).await?;
        self.reached("renewal-answered");
        let successor = check(answer, &key, &identity)?;
        {
            let lock = store.lock_for(&identity).map_err(RenewalError::failed)?;
            store
                .keep_renewal_chain(&lock, &successor.chain)
                .map_err(RenewalError::failed)?;
        }
        self.reached("renewal-kept");
        self.prove(&identity, &successor, way).await
    }

    /// The key of a renewal that was broken off, or a new one; on the disk before anyone hears of it.
    fn next_key(&self, identity: &Identity) -> Result<KeyPair, RenewalError> {
        let store = &self.store;
        let lock = store.lock_for(identity).map_err(RenewalError::failed)?;
        if let Some(key) = store.renewal_key().map_err(RenewalError::failed)? {
            return Ok(key);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(RenewalError::failed)?;
        store
            .keep_renewal_key(&lock, &key)
            .map_err(RenewalError::failed)?;
        self.reached("renewal-key");
        Ok(key)
    }

    /// Connects with the successor; from its answer on the old certificate is good no more.
    async fn prove(
        &self,
        identity: &Identity,
        successor: &Identity,
        way: &Way,
    ) -> Result<(), RenewalError> {
        let channel = dial(successor, &way.address).await;
        let channel = channel
            .map_err(|error| RenewalError::Failed(format!("with the new certificate: {error}")))?;
        let key = KeyPair::from_pem(successor.key.expose()).map_err(RenewalError::failed)?;
        let proven = ask(channel, &key).await;
        self.reached("renewal-proven");
        let lock = self
            .store
            .lock_for(identity)
            .map_err(RenewalError::failed)?;
        if let Err(error) = proven {
            // Another one was made since: this one never gets its turn.
            if error.reason() == Some(RejectReason::Superseded) {
                let dropped = self.store.drop_successor(&lock);
                dropped.map_err(RenewalError::failed)?;
            }
            return Err(error);
        }
        if successor.ca != identity.ca {
            let kept = self.store.keep_bundle(&lock, &successor.ca);
            kept.map_err(RenewalError::failed)?;
            self.reached("renewal-bundle");
        }
        self.store
            .promote(&lock, |step| self.reached(step))
            .map_err(RenewalError::failed)?;
        self.reached("renewal-done");
        tracing::info!("this host's certificate is renewed");
        Ok(())
    }

    /// A place between two steps, at which tests kill.
    fn reached(&self, step: &'static str) {
        if cfg!(debug_assertions) {
            use std::os::fd::AsFd as _;
            if let Ok(records) = std::fs::File::open(self.run_dir.join("records")) {
                host_agent_sys::fail_point::fail_point(records.as_fd(), step);
            }
        }
    }
}

/// How long to wait after so many tries that failed. `random` is uniform over all values of its type.
fn retry(tries: u32, random: u64) -> Duration {
    let longest = (RETRY.0 * (1 << tries.saturating_sub(1).min(12))).min(RETRY.1);
    // Half of it for certain: no one is asked twice at once.
    let unit = (random >> 11) as f64 / (1_u64 << 53) as f64;
    longest.mul_f64(0.5 + unit / 2.0)
}

async fn ask(channel: Channel, key: &KeyPair) -> Result<RenewedCertificate, RenewalError> {
    // The request gives nothing but its key; the server decides what the certificate says.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params
        .serialize_request(key)
        .map_err(RenewalError::failed)?;
    let request = RenewCertificateRequest {
        certificate_request: request.der().to_vec(),
        wall_time: Some(wire::timestamp(SystemTime::now())),
    };
    let mut client = AgentServiceClient::new(channel);
    match timeout(ANSWER, client.renew_certificate(request)).await {
        Err(_) => Err(RenewalError::Failed(format!(
            "no answer within {} s",
            ANSWER.as_secs()
        ))),
        Ok(Err(status)) if status.code() == Code::Unimplemented => Err(RenewalError::failed(
            "the api-server is older than this agent and renews no certificates",
        )),
        Ok(Err(status)) => Err(RenewalError::Failed(describe(&status))),
        Ok(Ok(answer)) => match answer.into_inner().outcome {
            Some(Outcome::Renewed(renewed)) => Ok(renewed),
            Some(Outcome::Reject(reject)) => Err(RenewalError::Refused(reject)),
            None => Err(RenewalError::failed("an answer that says nothing")),
        },
    }
}

/// Nothing is kept that the link could not use.
fn check(
    answer: RenewedCertificate,
    key: &KeyPair,
    identity: &Identity,
) -> Result<Identity, RenewalError> {
    let unusable = |what: String| {
        RenewalError::Failed(format!("the api-server's answer can not be used: {what}"))
    };
    if answer.certificate_chain.len().max(answer.ca_bundle.len()) > PEM_MAX {
        return Err(unusable(format!("longer than {PEM_MAX} bytes")));
    }
    let key = Secret::new(key.serialize_pem());
    tls::agent_client(
        answer.ca_bundle.as_bytes(),
        answer.certificate_chain.as_bytes(),
        key.expose().as_bytes(),
    )
    .map_err(|error| unusable(error.to_string()))?;
    if !fit(key.expose(), &answer.certificate_chain) {
        return Err(unusable("a certificate of another key".to_owned()));
    }
    Ok(Identity {
        about: identity.about.clone(),
        key,
        chain: answer.certificate_chain,
        ca: answer.ca_bundle,
    })
}

#[cfg(test)]
mod tests;
