//! Waiting until a host has done what was asked.

use std::time::Duration;

use futures_util::StreamExt as _;
use zhylon_proto::daemons::v1::watch_daemons_response::Event;
use zhylon_proto::daemons::v1::{
    Daemon, DaemonStatus, InstanceState, RestartOutcome, WatchDaemonsRequest,
};

use crate::client::Client;
use crate::exit::Failure;

/// What to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum For {
    /// All instances RUNNING at this revision.
    Running { revision: i64 },
    /// All instances STOPPED at this revision.
    Stopped { revision: i64 },
    /// This restart settled.
    Restart { generation: i64 },
}

/// Waits, at most `timeout`; gives the daemon as it was then.
pub(crate) async fn until(
    client: &Client,
    daemon: &Daemon,
    what: For,
    timeout: Duration,
) -> Result<Daemon, Failure> {
    tokio::time::timeout(timeout, watch(client, daemon, what))
        .await
        .map_err(|_| {
            Failure::new(
                8,
                format!("{} is not done after {} s", daemon.id, timeout.as_secs()),
            )
            .hint(format!(
                "it goes on; look with `zhylonctl daemon get {}`",
                daemon.id
            ))
        })?
}

async fn watch(client: &Client, daemon: &Daemon, what: For) -> Result<Daemon, Failure> {
    let request = WatchDaemonsRequest {
        server_id: daemon.server_id.clone(),
        team_id: String::new(),
    };
    let mut events = client.daemons().watch_daemons(request).await?.into_inner();
    while let Some(event) = events.next().await {
        match event?.event {
            Some(Event::Upsert(newest)) if newest.id == daemon.id => {
                let status = newest.status.clone().unwrap_or_default();
                match settled(&status, what) {
                    Some(Ok(())) => return Ok(newest),
                    Some(Err(failure)) => return Err(failure),
                    None => {}
                }
            }
            Some(Event::Removed(id)) if id == daemon.id => {
                return Err(Failure::new(4, format!("{id} was deleted meanwhile")));
            }
            _ => {}
        }
    }
    Err(Failure::new(7, "the server ended the watch"))
}

fn settled(status: &DaemonStatus, what: For) -> Option<Result<(), Failure>> {
    let there = |revision| status.observed_revision >= revision;
    match what {
        For::Running { revision } if there(revision) => match status.state() {
            InstanceState::Running => Some(Ok(())),
            InstanceState::Fatal | InstanceState::Backoff | InstanceState::Exited => {
                let text = status
                    .instances
                    .iter()
                    .find_map(|i| i.last_exit.as_ref().map(|e| e.message.as_str()));
                Some(Err(Failure::new(
                    3,
                    format!("it does not run: {}", text.unwrap_or("it ended")),
                )))
            }
            _ => None,
        },
        For::Stopped { revision } if there(revision) => {
            (status.state() == InstanceState::Stopped).then_some(Ok(()))
        }
        For::Restart { generation } if status.settled_restart_generation >= generation => {
            match status.restart_outcome() {
                RestartOutcome::Succeeded => Some(Ok(())),
                other => {
                    let name = other.as_str_name().trim_start_matches("RESTART_OUTCOME_");
                    let failure = Failure::new(1, format!("the restart ended as {name}"));
                    Some(Err(match status.message.as_str() {
                        "" => failure,
                        message => failure.hint(message.to_owned()),
                    }))
                }
            }
        }
        _ => None,
    }
}
