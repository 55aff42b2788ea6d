//! What is said about a daemon's state: the host's newest report, seen through how its server is connected and what
//! was wanted since.

use prost::Message as _;
use zhylon_proto::agent::v1::DaemonReport;
use zhylon_proto::daemons::v1 as api;
use zhylon_shared::state::{InstanceState, aggregate};
use zhylon_shared::wire::{state_from_api, state_to_api, timestamp};

use crate::bus::Connection;
use crate::store::DaemonRow;

/// A daemon's status as the API shows it.
pub(super) fn status(row: &DaemonRow, connection: Connection) -> api::DaemonStatus {
    let report = row.report.as_deref().and_then(|bytes| {
        DaemonReport::decode(bytes)
            .inspect_err(|error| {
                tracing::warn!(%error, daemon.id = %row.id, "a stored report can not be read");
            })
            .ok()
    });
    let away = connection == Connection::Offline;
    let mut status = match &report {
        None => api::DaemonStatus {
            state: api::InstanceState::Unspecified.into(),
            last_known_state: api::InstanceState::Unspecified.into(),
            reconciling: true,
            ..Default::default()
        },
        Some(report) => reported(report, row.changed_revision),
    };
    status.connection_state = connection_to_api(connection).into();
    status.reported_at = row
        .reported_time
        .filter(|_| report.is_some())
        .map(timestamp);
    // The host never got a restart that expired here, so its report can not tell.
    if row.host_restart_generation < row.restart_generation
        && status.settled_restart_generation < row.restart_generation
    {
        status.settled_restart_generation = row.restart_generation;
        status.restart_outcome = api::RestartOutcome::Expired.into();
    }
    if away {
        let unknown = state_to_api(InstanceState::Unknown).into();
        status.state = unknown;
        for instance in &mut status.instances {
            instance.state = unknown;
        }
    }
    status
}

fn reported(report: &DaemonReport, changed_revision: i64) -> api::DaemonStatus {
    let states = report.instances.iter().map(|i| state_from_api(i.state));
    let state = state_to_api(aggregate(states)).into();
    let done = report.converged && report.observed_revision >= changed_revision;
    api::DaemonStatus {
        state,
        last_known_state: state,
        reconciling: !done,
        observed_revision: report.observed_revision,
        settled_restart_generation: report.settled_restart_generation,
        restart_outcome: report.restart_outcome,
        local_hold: report.local_hold.clone(),
        instances: report.instances.clone(),
        message: report.message.clone(),
        ..Default::default()
    }
}

/// A connection for the wire.
#[must_use]
pub(crate) fn connection_to_api(connection: Connection) -> api::ConnectionState {
    match connection {
        Connection::NeverConnected => api::ConnectionState::NeverConnected,
        Connection::Connected => api::ConnectionState::Connected,
        Connection::Reconnecting => api::ConnectionState::Reconnecting,
        Connection::Offline => api::ConnectionState::Offline,
    }
}
