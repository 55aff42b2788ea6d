//! Dialling for ever: waits for an identity, connects, lets the session speak, waits, connects again. Backoff lives
//! here, outside the session; so does what is said to people.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt as _;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use zhylon_proto::agent::v1::agent_service_client::AgentServiceClient;
use zhylon_proto::agent::v1::{Reject, RejectReason, Welcome};
use zhylon_shared::id::ServerId;
use zhylon_shared::tls;

use super::backoff::Backoff;
use super::door::{Host, LogSource};
use super::identity::{Identity, Stamp, Store};
use super::log_stream::{self, LogRoom};
use super::renewal::{Renewal, RenewalError, Way};
use super::report::{LinkState, Reporter, refused};
use super::session::{self, End, Ended, Speaker};

/// How often a host without identity looks for one.
const IDENTITY_POLL: Duration = Duration::from_secs(1);
/// How often an enrolled host looks whether it was enrolled anew. One `stat`.
const REPLACED_POLL: Duration = Duration::from_secs(2);
/// Longest control frame taken from the server: a whole set of a few hundred daemons with full environments (36 KiB
/// each). A longer one ends the session.
pub(super) const CONTROL_FRAME_MAX: usize = 16 * 1024 * 1024;

/// Where the link's files are.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) state_dir: PathBuf,
    pub(super) run_dir: PathBuf,
}

/// Keeps the link up until `cancel`.
pub(super) async fn keep<H: Host, L: LogSource>(
    places: Places,
    host: H,
    logs: L,
    cancel: CancellationToken,
) {
    let store = Store::new(&places.state_dir);
    let renewal = Renewal::new(store.clone(), places.run_dir.clone());
    let mut reporter = Reporter::new(places.run_dir);
    let room = LogRoom::new(logs);
    let speaker = Speaker {
        agent_instance_id: format!("{:016x}{:016x}", random(), random()),
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default(),
    };
    let mut backoff = Backoff::default();
    let mut tries = 0_usize;
    while !cancel.is_cancelled() {
        let stamp = store.stamp();
        let identity = match store.load() {
            Ok(Some(identity)) => identity,
            other => {
                // Half replaced, damaged or unreadable: a person may be about to mend it.
                let why = other
                    .err()
                    .map(|error| format!("the identity can not be read: {error}"));
                reporter.say(LinkState::NotEnrolled, None, why.as_deref());
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = sleep(IDENTITY_POLL) => {}
                }
                continue;
            }
        };
        reporter.begin(identity.about.server_id);
        let addresses = &identity.about.agent_addresses;
        let address = addresses.get(tries % addresses.len().max(1));
        let way = Way {
            address: address.cloned().unwrap_or_default(),
            ahead: reporter.ahead(),
        };
        tries = tries.wrapping_add(1);
        tokio::select! {
            () = cancel.cancelled() => break,
            () = renewal.resume(&way) => {}
        }
        let identity = store.load().ok().flatten().unwrap_or(identity);

        let over = cancel.child_token();
        let link = Link {
            host: &host,
            room: &room,
            speaker: &speaker,
            identity: &identity,
            renewal: &renewal,
            cancel: &over,
        };
        let mut session = Box::pin(link.once(&way, &mut reporter));
        let ended = tokio::select! {
            ended = &mut session => ended,
            // It must not go on speaking as the old server; it ends in order, as when the worker ends.
            () = replaced(&store, stamp) => {
                over.cancel();
                session.as_mut().await
            }
        };
        drop(session);
        tell(&mut reporter, identity.about.server_id, &ended.end);
        let mut renewed_now = false;
        if ended.end.is_expired() {
            // Nobody welcomes this host before it has a new one, and it gets one all the same.
            let renewed = tokio::select! {
                () = cancel.cancelled() => break,
                renewed = renewal.renew(&way) => renewed,
            };
            reporter.tried_renewal(renewed.as_ref().err().map(ToString::to_string));
            renewed_now = renewed.is_ok();
        }
        let wait = if renewed_now {
            // Soon, but not at once: an authority at its own end gives certificates that are over already.
            backoff.next(ended.lasted, random())
        } else {
            backoff.after(&ended.end, ended.lasted, random())
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = sleep(wait) => {}
            () = replaced(&store, stamp) => backoff.reset(),
        }
    }
    reporter.end();
}

/// Returns once the host was enrolled anew.
async fn replaced(store: &Store, stamp: Option<Stamp>) {
    loop {
        sleep(REPLACED_POLL).await;
        let now = store.stamp();
        // Absent: the new one is just being written.
        if now.is_some() && now != stamp {
            return;
        }
    }
}

fn tell(reporter: &mut Reporter, server: ServerId, end: &End) {
    let (state, why) = match end {
        End::Cancelled => return,
        End::Drain { .. } => (
            LinkState::Connecting,
            "the api-server asked to connect again".to_owned(),
        ),
        End::Lost(why) => (LinkState::Connecting, why.clone()),
        End::Rejected {
            reason, message, ..
        } => {
            let why = refused(&Reject {
                reason: (*reason).into(),
                message: message.clone(),
                retry_after_ms: 0,
            });
            if *reason == RejectReason::Revoked {
                tracing::warn!("{why}; daemons go on, asking again later");
                (LinkState::Revoked, why)
            } else {
                (LinkState::Connecting, why)
            }
        }
    };
    reporter.say(state, Some(server), Some(&why));
}

/// Uniform over all values; jitter needs no more. Without randomness all agents would wait alike, which still works.
pub(super) fn random() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        Err(_) => u64::MAX / 2,
    }
}

struct Link<'a, H, L> {
    host: &'a H,
    room: &'a LogRoom<L>,
    speaker: &'a Speaker,
    identity: &'a Identity,
    renewal: &'a Renewal,
    cancel: &'a CancellationToken,
}

impl<H: Host, L: LogSource> Link<'_, H, L> {
    /// One connection, from dialling to its end.
    async fn once(&self, way: &Way, reporter: &mut Reporter) -> Ended {
        let dialled = tokio::select! {
            () = self.cancel.cancelled() => Err(End::Cancelled),
            channel = dial(self.identity, &way.address) => channel.map_err(End::Lost),
        };
        let channel = match dialled {
            Ok(channel) => channel,
            Err(end) => {
                let lasted = Duration::ZERO;
                return Ended { end, lasted };
            }
        };
        let (outgoing, requests) = mpsc::channel(session::OUTGOING);
        let mut client =
            AgentServiceClient::new(channel.clone()).max_decoding_message_size(CONTROL_FRAME_MAX);
        // Lazily, so that the session's first deadline covers the opening of the stream too.
        let incoming = async move {
            let response = client.connect(ReceiverStream::new(requests)).await?;
            Ok::<_, tonic::Status>(response.into_inner())
        }
        .try_flatten_stream();
        let server = self.identity.about.server_id;
        let welcomed = |welcome: Welcome| {
            reporter.heard_time(welcome.server_time.map(|time| (time.seconds, time.nanos)));
            reporter.say(LinkState::Connected, Some(server), None);
            let way = Way {
                ahead: reporter.ahead(),
                ..way.clone()
            };
            let logs = log_stream::keep(channel, welcome.session_epoch, self.room.clone());
            let tried = |tried: Result<(), &RenewalError>| {
                reporter.tried_renewal(tried.err().map(ToString::to_string));
            };
            async move {
                tokio::select! {
                    never = logs => never,
                    never = self.renewal.keep(way, tried) => never,
                }
            }
        };
        session::talk(
            self.host,
            self.speaker,
            incoming,
            outgoing,
            welcomed,
            self.cancel,
        )
        .await
    }
}

pub(super) async fn dial(identity: &Identity, address: &str) -> Result<Channel, String> {
    let config = tls::agent_client(
        identity.ca.as_bytes(),
        identity.chain.as_bytes(),
        identity.key.expose().as_bytes(),
    )
    .map_err(|error| format!("the identity can not be used: {error}"))?;
    tls::connect(&format!("https://{address}"), Arc::new(config))
        .await
        .map_err(|error| error.to_string())
}
