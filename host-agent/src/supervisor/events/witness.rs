//! What happened between two views of a daemon. Pure.
//!
//! Two views lie one step of the engine apart, and an instance can not end twice in one step: a new end needs a spawn,
//! whose answer is a step of its own.

use host_agent_engine::input::{Exit, Hold, Past, RestKind, Run};
use host_agent_engine::view::{DaemonView, InstanceView, LastExit};
use zhylon_shared::id::DaemonId;
use zhylon_shared::state::{DesiredState, InstanceState, RestartOutcome};

use super::{Draft, EventKind, clip, ended};

/// What is to be told. `old` is `None` where this worker sees the daemon for the first time: what it carries then is old
/// already, but for ends that are not in `past`, the former worker's notes: those only this worker can have noticed.
pub(super) fn compare(old: Option<&DaemonView>, past: &[Past], new: &DaemonView) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for instance in &new.instances {
        let before = old.and_then(|old| old.instances.iter().find(|i| i.index == instance.index));
        let past = past.iter().find(|past| past.slot.index == instance.index);
        drafts.extend(end(new, before, past, instance));
        drafts.extend(gave_up(new, before, past, instance));
    }
    if let Some(old) = old {
        drafts.extend(hold(new.id, None, old.hold.as_ref(), new.hold.as_ref()));
        for now in &new.instances {
            let before = old.instances.iter().find(|i| i.index == now.index);
            let before = before.and_then(|before| before.hold.as_ref());
            drafts.extend(hold(new.id, Some(now.index), before, now.hold.as_ref()));
        }
        drafts.extend(settled(old, new));
    }
    drafts
}

/// A run is killed because it outlived its grace, unless there is a newer one in its place: then two were found where one
/// should be.
pub(super) fn killed(run: Run, view: Option<&DaemonView>) -> Option<Draft> {
    let newest = view?
        .instances
        .iter()
        .find(|i| i.index == run.slot.index)?
        .generation;
    let text = "it, or something it started, outlived its grace: everything of it was killed";
    let (daemon, instance) = (run.slot.daemon, Some(run.slot.index));
    let kind = EventKind::KilledAfterGrace;
    (run.generation == newest).then(|| Draft::new(daemon, kind, instance, text))
}

/// An end that nobody asked for.
fn end(
    daemon: &DaemonView,
    before: Option<&InstanceView>,
    past: Option<&Past>,
    now: &InstanceView,
) -> Option<Draft> {
    let last = now.last_exit.as_ref()?;
    let known = before.map_or_else(
        || past.and_then(|past| past.last_exit.as_ref()),
        |before| before.last_exit.as_ref(),
    );
    // The words of an end may change after it, when the rest of its tree had to be killed.
    if known.is_some_and(|known| known.time == last.time && known.exit == last.exit) {
        return None;
    }
    let was_stopping = before.is_some_and(|before| before.state == InstanceState::Stopping);
    if was_stopping || matches!(now.state, InstanceState::Stopped | InstanceState::Stopping) {
        return None;
    }
    let kind = kind(last, now.state);
    let message = match (kind, last.exit) {
        (EventKind::Crashed, Some(Exit::Code(0))) => {
            format!("{}, too early: before `start_seconds`", last.message)
        }
        _ => last.message.clone(),
    };
    Some(Draft {
        generation: before.map_or(0, |before| before.generation),
        ended: Some(ended(last.exit, last.killed_after_grace, &last.message)),
        ..Draft::new(daemon.id, kind, Some(now.index), &message)
    })
}

fn kind(last: &LastExit, state: InstanceState) -> EventKind {
    let failed = matches!(state, InstanceState::Backoff | InstanceState::Fatal);
    match last.exit {
        None => EventKind::StartFailed,
        Some(Exit::Code(0) | Exit::Unknown) if !failed => EventKind::Exited,
        Some(_) => EventKind::Crashed,
    }
}

fn gave_up(
    daemon: &DaemonView,
    before: Option<&InstanceView>,
    past: Option<&Past>,
    now: &InstanceView,
) -> Option<Draft> {
    let rested = past.and_then(|past| past.rest.as_ref());
    let was = before.map_or_else(
        || rested.is_some_and(|rest| rest.kind == RestKind::Fatal),
        |before| before.state == InstanceState::Fatal,
    );
    if now.state != InstanceState::Fatal || was {
        return None;
    }
    let text = "it failed `max_retries` more times in a row and stays so until it is started";
    Some(Draft::new(
        daemon.id,
        EventKind::GaveUp,
        Some(now.index),
        text,
    ))
}

/// On the daemon, or with an index on one instance of it.
fn hold(
    daemon: DaemonId,
    index: Option<u32>,
    before: Option<&Hold>,
    now: Option<&Hold>,
) -> Option<Draft> {
    match (before, now) {
        (Some(before), None) => {
            let text = format!("{} by {}", state(before), before.by);
            Some(Draft::new(daemon, EventKind::HoldEnded, index, &text))
        }
        (before, Some(now)) if before != Some(now) => Some(Draft {
            by: clip(&now.by),
            ..Draft::new(daemon, EventKind::HoldSet, index, state(now))
        }),
        _ => None,
    }
}

fn state(hold: &Hold) -> &'static str {
    match hold.state {
        DesiredState::Running => "RUNNING",
        DesiredState::Stopped => "STOPPED",
    }
}

fn settled(old: &DaemonView, new: &DaemonView) -> Option<Draft> {
    let generation = new.settled_restart_generation;
    let outcome = new.restart_outcome?;
    if generation <= old.settled_restart_generation {
        return None;
    }
    let word = match outcome {
        RestartOutcome::Succeeded => "SUCCEEDED",
        RestartOutcome::Failed => "FAILED",
        RestartOutcome::Aborted => "ABORTED",
        RestartOutcome::Expired => "EXPIRED",
        RestartOutcome::Superseded => "SUPERSEDED",
    };
    let text = format!("restart {generation}: {word}");
    Some(Draft {
        outcome: Some(outcome),
        ..Draft::new(new.id, EventKind::RestartSettled, None, &text)
    })
}
