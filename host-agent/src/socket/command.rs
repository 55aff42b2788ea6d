//! Start, stop, restart, signal: names to targets, outcomes to Supervisor's answers.

use std::time::Duration;

use dxr::Value;
use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::{Action, CommandTarget, Slot};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use zhylon_shared::state::InstanceState;

use super::door::Door;
use super::fault::{Code, Fault};
use super::info::structure;
use super::results::{detail, group_results, result, worst};
use super::session::{Named, Session};

/// What a waiting command may take beyond the graces of its daemons: the kill, the reap, a busy host. After that the
/// peer is told that it goes on.
const MARGIN: Duration = Duration::from_secs(60);

/// How long a command that is not waited for may take to show its first effect. After that it is answered as accepted.
const ACCEPT_WITHIN: Duration = Duration::from_secs(1);

/// What became of the addressed instances; `None`: accepted, nobody waits.
type Outcomes = Option<Vec<(Slot, CommandOutcome)>>;

/// A command as clients can send it to processes and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Stop,
    Signal(i32),
}

impl Verb {
    fn action(self) -> Action {
        match self {
            Self::Start => Action::Start,
            Self::Stop => Action::Stop,
            Self::Signal(number) => Action::Signal(number),
        }
    }

    /// Whether an instance in this state is one the command acts on; the others do not show up in a group's results.
    pub(crate) fn acts_on(self, state: InstanceState) -> bool {
        match self {
            Self::Start => !is_up(state),
            Self::Stop => is_up(state),
            Self::Signal(_) => state.has_process(),
        }
    }

    /// Debian's client dies of a fault it does not expect, so each command has its own for "it could not be tried".
    fn refused(self) -> Code {
        match self {
            Self::Start => Code::SpawnError,
            Self::Stop | Self::Signal(_) => Code::Failed,
        }
    }

    pub(crate) fn code(self, outcome: CommandOutcome) -> Code {
        match (self, outcome) {
            (_, CommandOutcome::Done) => Code::Success,
            (_, CommandOutcome::BadName) => Code::BadName,
            (Self::Start, outcome) => start_code(outcome),
            (_, CommandOutcome::NotRunning) => Code::NotRunning,
            (_, _) => Code::Failed,
        }
    }
}

/// The codes `start` and the second half of `restart` may answer.
fn start_code(outcome: CommandOutcome) -> Code {
    match outcome {
        CommandOutcome::Done => Code::Success,
        CommandOutcome::AlreadyStarted => Code::AlreadyStarted,
        CommandOutcome::NoFile => Code::NoFile,
        CommandOutcome::NotExecutable => Code::NotExecutable,
        CommandOutcome::SpawnError => Code::SpawnError,
        CommandOutcome::AbnormalTermination | CommandOutcome::NotRunning => {
            Code::AbnormalTermination
        }
        CommandOutcome::BadName => Code::BadName,
    }
}

/// Supervisor's RUNNING_STATES.
fn is_up(state: InstanceState) -> bool {
    matches!(
        state,
        InstanceState::Starting | InstanceState::Running | InstanceState::Backoff
    )
}

impl<D: Door> Session<D> {
    /// `startProcess`, `stopProcess`, `signalProcess`. A name that means a whole daemon answers as one: `true` parts in
    /// an array, or one fault for all, since that is all clients look at.
    pub(crate) async fn move_process(
        &self,
        verb: Verb,
        text: &str,
        wait: bool,
    ) -> Result<Value, Fault> {
        let named = [self.resolve(text)?];
        let done = self.carry_out(verb.action(), &named, wait).await;
        let outcomes = done.map_err(|why| Fault::new(verb.refused(), format!("{text}: {why}")))?;
        let answer = match named[0].index {
            Some(_) => Value::Boolean(true),
            None => Value::Array(group_results(verb, &named, outcomes.as_deref())),
        };
        let Some(outcomes) = outcomes else {
            return Ok(answer);
        };
        let codes = outcomes.iter().map(|(_, outcome)| verb.code(*outcome));
        match worst(codes) {
            Code::Success => Ok(answer),
            code => Err(Fault::new(code, detail(code, &named[0], text))),
        }
    }

    /// `startProcessGroup`, `stopAllProcesses` and their like: one result for each instance acted on.
    pub(crate) async fn move_groups(
        &self,
        verb: Verb,
        named: &[Named],
        wait: bool,
    ) -> Result<Value, Fault> {
        let done = self.carry_out(verb.action(), named, wait).await;
        let outcomes = done.map_err(|why| Fault::new(verb.refused(), why))?;
        let results = group_results(verb, named, outcomes.as_deref());
        Ok(Value::Array(results))
    }

    /// `zhylon.restartGroup`: stop and start in one command, so that no client killed in between leaves a daemon
    /// stopped. Answers what its two halves would have: `{stopped: […], started: […]}`.
    pub(crate) async fn restart(&self, named: &[Named]) -> Result<Value, Fault> {
        let was_up: Vec<Slot> = slots(named)
            .filter(|(_, state)| is_up(*state))
            .map(|(slot, _)| slot)
            .collect();
        let done = self.carry_out(Action::Restart, named, true).await;
        let outcomes = done.map_err(|why| Fault::new(Code::Failed, why))?;
        let stopped = was_up
            .into_iter()
            .map(|slot| result(named, slot, Code::Success))
            .collect();
        let started = outcomes
            .unwrap_or_default()
            .into_iter()
            .map(|(slot, outcome)| result(named, slot, start_code(outcome)))
            .collect();
        Ok(structure([
            ("stopped", Value::Array(stopped)),
            ("started", Value::Array(started)),
        ]))
    }

    /// Sends a command. It is a task of its own: a peer that hangs up takes nothing back, and nothing stays half done.
    async fn carry_out(
        &self,
        action: Action,
        named: &[Named],
        wait: bool,
    ) -> Result<Outcomes, String> {
        if named.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let Some(place) = self.commands.admit(self.peer.uid) else {
            return Err("too many commands are in flight; try again when they ended".to_owned());
        };
        let targets: Vec<CommandTarget> = named.iter().map(Named::target).collect();
        let by = self.operator(named);
        let mut changes = self.door.changes();
        changes.mark_unchanged();
        let (answer, mut answered) = oneshot::channel();
        let door = self.door.clone();
        tokio::task::spawn_local(async move {
            let result = door.command(action, targets, by).await;
            drop(place);
            // Nobody listens any more when the peer hung up or did not wait.
            let _ = answer.send(result.map_err(|refused| refused.to_string()));
        });
        let limit = if wait { patience(named) } else { ACCEPT_WITHIN };
        let late = sleep_until(Instant::now() + limit);
        tokio::pin!(late);
        loop {
            tokio::select! {
                biased;
                result = &mut answered => {
                    return result
                        .unwrap_or_else(|_| Err("the agent is shutting down".to_owned()))
                        .map(Some);
                }
                Ok(()) = changes.changed(), if !wait => {
                    if self.has_changed(named) {
                        return Ok(None);
                    }
                }
                () = &mut late => {
                    return if wait {
                        Err(format!("not done after {} s; it goes on, see status", limit.as_secs()))
                    } else {
                        Ok(None)
                    };
                }
            }
        }
    }

    /// Whether any of these daemons changed since its name was looked up.
    fn has_changed(&self, named: &[Named]) -> bool {
        named.iter().any(|one| {
            self.door
                .daemon(&one.entry.view.id)
                .is_none_or(|now| now.version != one.entry.version)
        })
    }
}

/// The longest the daemons' own graces allow a stop and a start to take.
fn patience(named: &[Named]) -> Duration {
    let grace = |one: &Named| {
        let spec = &one.entry.spec;
        u64::from(spec.stop_seconds()) + u64::from(spec.start_seconds())
    };
    Duration::from_secs(named.iter().map(grace).max().unwrap_or(0)) + MARGIN
}

/// The instances these names mean, and their states.
pub(crate) fn slots(named: &[Named]) -> impl Iterator<Item = (Slot, InstanceState)> {
    named.iter().flat_map(|one| {
        let daemon = one.entry.view.id;
        one.instances().map(move |instance| {
            let index = instance.index;
            (Slot { daemon, index }, instance.state)
        })
    })
}
