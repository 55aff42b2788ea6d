use std::time::Duration;

use host_agent_engine::input::{Hold, Slot};
use host_agent_engine::time::Time;
use host_agent_engine::view::{InstanceView, LastExit};
use zhylon_shared::state::{DesiredState, InstanceState};

use super::ring::{EVENTS_MAX, EVENTS_PER_DAEMON, REPEAT_FIRST, REPEAT_FORGOTTEN, REPEAT_LAST};
use super::*;

mod file;
mod ring;
mod witness;

fn id(n: u32) -> DaemonId {
    DaemonId::from_bare(&format!("daemon{n:012}")).unwrap()
}

fn crash(daemon: DaemonId, code: i32) -> Draft {
    let message = format!("exit code {code}");
    Draft {
        ended: Some(ended(Some(Exit::Code(code)), false, &message)),
        ..Draft::new(daemon, EventKind::Crashed, Some(0), &message)
    }
}

fn stop(daemon: DaemonId) -> Draft {
    Draft {
        by: "anna (uid 1001)".to_owned(),
        ..Draft::new(daemon, EventKind::StopRequested, None, "")
    }
}

/// Kinds and counts of all that is there.
fn told(ring: &Ring) -> Vec<(EventKind, u64)> {
    let all = ring.after(0, usize::MAX);
    all.iter().map(|event| (event.kind, event.count)).collect()
}

fn instance(index: u32, state: InstanceState) -> InstanceView {
    InstanceView {
        index,
        generation: 1,
        pid: 7,
        state,
        since: Time::new(Duration::from_secs(1)),
        started: None,
        restart_count: 0,
        last_exit: None,
        next_start: None,
        hold: None,
    }
}

fn view(instances: Vec<InstanceView>) -> DaemonView {
    DaemonView {
        id: id(1),
        state: InstanceState::Running,
        desired: DesiredState::Running,
        hold: None,
        revision: 1,
        converged: true,
        settled_restart_generation: 1,
        restart_outcome: Some(RestartOutcome::Succeeded),
        message: String::new(),
        instances,
    }
}

fn ended_at(second: u64, exit: Option<Exit>, state: InstanceState) -> InstanceView {
    InstanceView {
        last_exit: Some(LastExit {
            exit,
            killed_after_grace: false,
            time: Time::new(Duration::from_secs(second)),
            message: format!("{exit:?}"),
        }),
        ..instance(0, state)
    }
}
