//! The beginning of a session: who may have one.

use std::fmt::Display;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use zhylon_proto::agent::v1::connect_request::Frame as Up;
use zhylon_proto::agent::v1::connect_response::Frame as Down;
use zhylon_proto::agent::v1::{ConnectRequest, ConnectResponse, Hello, RejectReason, Welcome};
use zhylon_shared::wire::{PROTOCOL_VERSION, timestamp};

use super::end::{End, RETRY_HOPELESS, RETRY_OVERLOADED};
use super::{MISSED_HEARTBEATS, Session, millis, while_busy};
use crate::agents::feed::Feed;
use crate::agents::{Agents, SUPERSEDED, dates};
use crate::ca::AgentIdentity;
use crate::domain::Standing;

/// Time for the first frame.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// Hears the agent out, claims its server and welcomes it.
pub(super) async fn open<'a, S, E>(
    agents: &'a Agents,
    identity: &AgentIdentity,
    frames: &mut S,
    down: &'a mpsc::Sender<ConnectResponse>,
) -> Result<Session<'a>, End>
where
    S: Stream<Item = Result<ConnectRequest, E>> + Unpin,
    E: Display,
{
    let domain = &agents.0.domain;
    dates::check(identity, domain.clock().wall())
        .map_err(|(reason, message)| End::Rejected(reason, message, RETRY_OVERLOADED))?;
    let hello = hello(frames).await?;
    if !(hello.protocol_min..=hello.protocol_max).contains(&PROTOCOL_VERSION) {
        return Err(End::Rejected(
            RejectReason::ProtocolUnsupported,
            format!("this api-server speaks protocol {PROTOCOL_VERSION}"),
            RETRY_HOPELESS,
        ));
    }
    if agents.0.draining.is_cancelled() {
        return Err(End::Drained);
    }
    let open = || domain.open_session(identity.server, &identity.key_hash, &hello.agent_version);
    let claim = match while_busy(open).await? {
        Standing::Good(claim) => claim,
        Standing::Revoked => return Err(End::revoked()),
        Standing::Superseded => {
            let why = SUPERSEDED.to_owned();
            return Err(End::Rejected(RejectReason::Superseded, why, RETRY_HOPELESS));
        }
    };
    let seat = agents
        .enter(
            identity.server,
            identity.key_hash,
            claim.session_epoch,
            claim.revision,
        )
        .ok_or_else(End::superseded)?;
    let heartbeat = agents.0.heartbeat;
    let mut session = Session {
        agents,
        domain,
        seat,
        feed: Feed::new(&hello),
        look_again: false,
        down,
        silence: heartbeat * MISSED_HEARTBEATS,
        last_heard: Instant::now(),
        ack_due: None,
        last_seen: Instant::now(),
        tick: tokio::time::interval_at(Instant::now() + heartbeat, heartbeat),
    };
    session
        .tick
        .set_missed_tick_behavior(MissedTickBehavior::Delay);
    session
        .send(Down::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            session_epoch: claim.session_epoch,
            server_time: Some(timestamp(domain.clock().wall())),
            heartbeat_interval_ms: millis(heartbeat),
            target_revision: claim.revision,
        }))
        .await?;
    // Before the first look: restarts the host has already in its ledger must not be taken for late ones.
    let known = hello.config_epoch == claim.config_epoch;
    if known && (1..=claim.revision).contains(&hello.applied_revision) {
        session.acknowledge(hello.applied_revision).await?;
    } else if known && hello.applied_revision > claim.revision {
        tracing::error!(
            server.id = %identity.server,
            host.revision = hello.applied_revision,
            server.revision = claim.revision,
            "the host has a newer configuration than the database: an older database was restored"
        );
    }
    session.look().await?;
    Ok(session)
}

async fn hello<S, E>(frames: &mut S) -> Result<Hello, End>
where
    S: Stream<Item = Result<ConnectRequest, E>> + Unpin,
    E: Display,
{
    let refuse = |message| Err(End::reject(RejectReason::ProtocolError, message));
    match tokio::time::timeout(HELLO_DEADLINE, frames.next()).await {
        Ok(Some(Ok(ConnectRequest {
            frame: Some(Up::Hello(hello)),
        }))) => Ok(hello),
        Ok(Some(Ok(_))) => refuse("the first frame must be `hello`"),
        Ok(Some(Err(error))) => Err(End::Gone(error.to_string())),
        Ok(None) => Err(End::Gone("it said nothing".to_owned())),
        Err(_) => refuse("no `hello` within 5 seconds"),
    }
}
