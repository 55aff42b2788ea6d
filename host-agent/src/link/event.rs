//! Events of the host as the wire has them.

use std::time::{Duration, SystemTime};

use zhylon_proto::agent::v1 as agent;
use zhylon_proto::daemons::v1 as api;
use zhylon_shared::wire;

use crate::supervisor::{EventKind, HostEvent};

/// An event for the api-server.
pub(super) fn to_wire(event: HostEvent) -> agent::HostEvent {
    let time = |ms| {
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms));
        time.map(wire::timestamp)
    };
    let source = if event.by.is_empty() {
        api::DaemonEventSource::Agent
    } else {
        api::DaemonEventSource::Local
    };
    let outcome = event.outcome.map(wire::outcome_to_api);
    agent::HostEvent {
        sequence: event.sequence,
        event: Some(api::DaemonEvent {
            daemon_id: event.daemon.to_string(),
            time: time(event.first_ms),
            r#type: kind(event.kind).into(),
            source: source.into(),
            by: event.by,
            instance: event.instance.map(u32::cast_signed),
            exit: event.ended.map(|ended| api::LastExit {
                code: ended.code,
                signal: ended.signal,
                killed_after_grace: ended.killed_after_grace,
                time: time(event.first_ms),
                message: ended.message,
                oom_killed: false,
            }),
            restart_outcome: outcome.unwrap_or_default().into(),
            count: i64::try_from(event.count).unwrap_or(i64::MAX),
            last_time: time(event.last_ms),
            message: event.message,
            ..Default::default()
        }),
    }
}

fn kind(kind: EventKind) -> api::DaemonEventType {
    use api::DaemonEventType as Type;
    match kind {
        EventKind::StartRequested => Type::StartRequested,
        EventKind::StopRequested => Type::StopRequested,
        EventKind::RestartRequested => Type::RestartRequested,
        EventKind::SignalRequested => Type::SignalRequested,
        EventKind::HoldSet => Type::HoldSet,
        EventKind::HoldEnded => Type::HoldEnded,
        EventKind::RestartSettled => Type::RestartSettled,
        EventKind::Exited => Type::Exited,
        EventKind::Crashed => Type::Crashed,
        EventKind::StartFailed => Type::StartFailed,
        EventKind::GaveUp => Type::GaveUp,
        EventKind::KilledAfterGrace => Type::KilledAfterGrace,
        EventKind::LogGap => Type::LogGap,
        EventKind::Dropped => Type::EventsDropped,
    }
}
