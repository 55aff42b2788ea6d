//! The newest state of daemons that the api-server does not know yet. Pure: bounded by the number of daemons, never by
//! the time away; states that were not sent in time are skipped, never queued.

use std::collections::BTreeMap;
use std::time::SystemTime;

use host_agent_engine::input::{Exit, Hold};
use host_agent_engine::time::Time;
use host_agent_engine::view::{InstanceView, LastExit};
use zhylon_proto::agent::v1::{DaemonReport, Status};
use zhylon_proto::daemons::v1 as api;
use zhylon_shared::id::DaemonId;
use zhylon_shared::wire;

use super::door::Board;
use crate::supervisor::{DaemonEntry, Usage};

/// What was sent in this session, and what of it is still to be acknowledged.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Of the newest [`Status`].
    sequence: u64,
    /// The board's version up to which everything was sent.
    sent: u64,
    /// Daemons reported gone, with the sequence in which that was said.
    gone: BTreeMap<DaemonId, u64>,
}

impl Outbox {
    /// Every daemon: the first status of a session.
    pub(super) fn full(&mut self, board: &Board, wall: impl Fn(Time) -> SystemTime) -> Status {
        self.take(board, true, wall)
    }

    /// The daemons that changed since the last status; `None` if none did.
    pub(super) fn changes(
        &mut self,
        board: &Board,
        wall: impl Fn(Time) -> SystemTime,
    ) -> Option<Status> {
        let newer = board.values().any(|entry| entry.version > self.sent);
        newer.then(|| self.take(board, false, wall))
    }

    fn take(&mut self, board: &Board, full: bool, wall: impl Fn(Time) -> SystemTime) -> Status {
        self.sequence += 1;
        let (since, mut newest) = (self.sent, self.sent);
        let mut daemons = Vec::new();
        for (id, entry) in board {
            newest = newest.max(entry.version);
            if !full && entry.version <= since {
                continue;
            }
            if entry.gone {
                self.gone.insert(*id, self.sequence);
            } else {
                self.gone.remove(id);
            }
            daemons.push(report(entry, &wall));
        }
        self.sent = newest;
        Status {
            sequence: self.sequence,
            full,
            daemons,
        }
    }

    /// The statuses up to `sequence` are stored: the daemons that the api-server now knows to be gone.
    pub(super) fn acknowledged(&mut self, sequence: u64) -> Vec<DaemonId> {
        let mut known = Vec::new();
        self.gone.retain(|id, said| {
            let acknowledged = *said <= sequence;
            if acknowledged {
                known.push(*id);
            }
            !acknowledged
        });
        known
    }
}

fn report(entry: &DaemonEntry, wall: &impl Fn(Time) -> SystemTime) -> DaemonReport {
    let view = &entry.view;
    DaemonReport {
        id: view.id.to_string(),
        observed_revision: view.revision,
        settled_restart_generation: view.settled_restart_generation,
        restart_outcome: view
            .restart_outcome
            .map_or(api::RestartOutcome::Unspecified, wire::outcome_to_api)
            .into(),
        converged: view.converged,
        local_hold: view.hold.as_ref().map(hold),
        instances: (view.instances.iter())
            .map(|i| {
                instance(
                    i,
                    entry.usage.get(&i.index).copied().unwrap_or_default(),
                    wall,
                )
            })
            .collect(),
        message: view.message.clone(),
        gone: entry.gone,
    }
}

fn hold(hold: &Hold) -> api::LocalHold {
    let since_1970 = std::time::Duration::from_millis(hold.time_ms);
    api::LocalHold {
        state: wire::desired_to_api(hold.state).into(),
        by: hold.by.clone(),
        time: SystemTime::UNIX_EPOCH
            .checked_add(since_1970)
            .map(wire::timestamp),
        intent_generation: hold.intent_generation,
    }
}

fn instance(
    view: &InstanceView,
    usage: Usage,
    wall: &impl Fn(Time) -> SystemTime,
) -> api::InstanceStatus {
    let time = |time: Time| wire::timestamp(wall(time));
    api::InstanceStatus {
        index: view.index.cast_signed(),
        pid: view.pid,
        state: wire::state_to_api(view.state).into(),
        since: Some(time(view.since)),
        restart_count: view.restart_count.cast_signed(),
        last_exit: (view.last_exit.as_ref()).map(|exit| api::LastExit {
            oom_killed: usage.oom_killed,
            ..last_exit(exit, wall)
        }),
        next_start_time: view.next_start.map(time),
        generation: view.generation.cast_signed(),
        local_hold: view.hold.as_ref().map(hold),
        cpu_seconds: usage.now.map(|now| now.cpu.as_secs_f64()),
        memory_bytes: usage.now.map(|now| now.memory.cast_signed()),
    }
}

fn last_exit(exit: &LastExit, wall: &impl Fn(Time) -> SystemTime) -> api::LastExit {
    let (code, signal) = match exit.exit {
        Some(Exit::Code(code)) => (code, 0),
        Some(Exit::Signal(signal)) => (0, signal),
        // The words tell these two apart from an exit with code 0.
        Some(Exit::Unknown) | None => (0, 0),
    };
    api::LastExit {
        code,
        signal,
        killed_after_grace: exit.killed_after_grace,
        time: Some(wire::timestamp(wall(exit.time))),
        message: exit.message.clone(),
        oom_killed: false,
    }
}

#[cfg(test)]
mod tests;
