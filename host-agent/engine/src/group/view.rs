//! What the engine shows of a daemon. Reads only.

use zhylon_shared::state::{DesiredState, InstanceState, aggregate};

use crate::group::Group;
use crate::input::{Claim, Past};
use crate::instance::Instance;
use crate::plan::Goal;
use crate::view::DaemonView;

impl Group {
    pub(crate) fn view(&self) -> DaemonView {
        let desired = self.desired.as_ref();
        let message = self.unreached().unwrap_or_default();
        DaemonView {
            id: self.id,
            state: aggregate(self.instances.values().map(Instance::state)),
            desired: desired.map_or(DesiredState::Stopped, |desired| desired.state),
            hold: self.hold.clone(),
            revision: desired.map_or(0, |desired| desired.revision),
            converged: message.is_empty(),
            settled_restart_generation: self.settled_generation(),
            restart_outcome: self.settled.map(|(_, outcome)| outcome),
            message,
            instances: self.instances.values().map(Instance::view).collect(),
        }
    }

    /// What the next worker's engine should know of its instances besides their processes.
    pub(crate) fn past(&self) -> Vec<Past> {
        let intent = self.intent_generation();
        let instances = self.instances.values();
        instances
            .filter_map(|instance| instance.past(intent))
            .collect()
    }

    /// What is not reached yet, in words: the first of what a person would ask about.
    fn unreached(&self) -> Option<String> {
        if self.desired.is_none() {
            return Some("deleted; its instances are being stopped".to_owned());
        }
        if let Some(candidate) = &self.candidate {
            return Some(match candidate.failure() {
                Some(error) => {
                    format!("the new spec can not be started, the old keeps running: {error}")
                }
                None => "checking whether the new spec can be started".to_owned(),
            });
        }
        if let Some(left) = self.left_behind() {
            return Some(left);
        }
        let rank = |state| match state {
            InstanceState::Fatal => 0,
            InstanceState::Backoff => 1,
            _ => 2,
        };
        let unreached = self.instances.iter().filter(|(index, instance)| {
            **index >= self.processes()
                || !is_at_goal(instance)
                || instance.goal() == Goal::Run && self.is_outdated(instance)
        });
        let worst = unreached.min_by_key(|(_, instance)| rank(instance.state()));
        let text = worst.map(|(index, instance)| {
            let state = instance.state();
            let why = instance
                .last_exit()
                .map_or("", |last| last.message.as_str());
            match state {
                InstanceState::Fatal => format!("instance {index} failed too often: {why}"),
                InstanceState::Backoff => {
                    format!("instance {index} failed and is tried again: {why}")
                }
                _ => format!("instance {index} is {}", state.name()),
            }
        });
        text.or_else(|| {
            self.open_restart()
                .map(|number| format!("restart {number} is under way"))
        })
        .or_else(|| self.unclaimed().map(str::to_owned))
    }

    /// What a new config epoch left to people to decide.
    fn unclaimed(&self) -> Option<&'static str> {
        match self.desired.as_ref()?.claim {
            Claim::Written | Claim::Adopted { differs: false } => None,
            Claim::Adopted { differs: true } => Some(
                "it runs on as it was: the configuration was restored and says otherwise; the next change of this \
                 daemon is carried out",
            ),
            Claim::Unclaimed => Some(
                "unclaimed: the configuration was restored and does not name it; it runs on until it is stopped here",
            ),
        }
    }
}

/// EXITED counts: by its policy nothing more is to be done. FATAL does not: it was to run.
fn is_at_goal(instance: &Instance) -> bool {
    match instance.goal() {
        Goal::Run => matches!(
            instance.state(),
            InstanceState::Running | InstanceState::Exited
        ),
        Goal::Stop => instance.state() == InstanceState::Stopped,
    }
}
