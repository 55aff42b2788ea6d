//! The link to the api-server: enrolment, the control session, log streams. The agent dials; the api-server never does.
//!
//! Owns the identity on disk and everything said over the wire. Must never decide what runs (it hands complete sets to
//! the supervisor), never import `socket`, and never be needed: with the link down everything local goes on.
//!
//! | module | owns |
//! |---|---|
//! | [`enroll`] | token → certificate; [`pin`] is what it trusts before it has one |
//! | [`identity`] | the files of `state_dir/identity` |
//! | [`renewal`] | the certificate's successor |
//! | [`connect`] | dialling for ever; [`backoff`] says how long to wait |
//! | [`session`] | one control stream, the unit of failure; [`desired`] merges configurations, [`outbox`] coalesces states, [`event`] is how events look |
//! | [`log_stream`] | one log stream; [`subscription`] is one viewer of one daemon |
//! | [`report`] | `run_dir/link.json` for people |
//! | [`door`] | what of the rest of the agent the link uses |

mod backoff;
mod connect;
mod desired;
mod door;
mod enroll;
mod event;
mod identity;
mod log_stream;
mod outbox;
mod pin;
mod renewal;
mod report;
mod session;
mod subscription;
#[cfg(test)]
mod tests;

use std::path::Path;

use tokio_util::sync::CancellationToken;

pub(crate) use enroll::enroll;
pub(crate) use renewal::Life;
pub(crate) use report::{LinkReport, LinkState};

use crate::config::Config;
use crate::journal::Journal;
use crate::logs::Logs;
use crate::supervisor::SupervisorHandle;

/// From when to when this host's certificate holds, and when it is renewed; `None` if it is not enrolled.
///
/// # Errors
/// When the identity can not be read, for people.
pub(crate) fn certificate(state_dir: &Path) -> Result<Option<Life>, String> {
    let store = identity::Store::new(state_dir);
    let chain = store.chain().map_err(|error| error.to_string())?;
    let life = chain.map(|chain| Life::of(&chain)).transpose();
    life.map_err(|error| format!("{}: {error}", store.path().join("chain.pem").display()))
}

/// Keeps the link up until `cancel`: waits for an identity, connects, speaks, and connects again. Never returns for a
/// failure; failures are in the log and in `run_dir/link.json`.
pub(crate) async fn run(
    config: Config,
    handle: SupervisorHandle,
    logs: Logs,
    journal: Journal,
    cancel: CancellationToken,
) {
    let places = connect::Places {
        state_dir: config.state_dir,
        run_dir: config.run_dir,
    };
    let host = door::Rooms { handle, journal };
    connect::keep(places, host, logs, cancel).await;
}
