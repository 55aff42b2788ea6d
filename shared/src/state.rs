//! States of instances and of daemons, with Supervisor's meaning and numbers.

use serde::{Deserialize, Serialize};

/// State of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceState {
    /// Not running, on request.
    Stopped,
    /// Running for less than `start_seconds`.
    Starting,
    /// Running for at least `start_seconds`.
    Running,
    /// Ended too early or could not be started; waits for its next try.
    Backoff,
    /// Was asked to end and has not ended yet.
    Stopping,
    /// Ended by itself and stays so.
    Exited,
    /// Failed too often; stays so until started on request.
    Fatal,
    /// Not known.
    Unknown,
}

impl InstanceState {
    /// Supervisor's number for it (`supervisor/states.py` of 4.2.5).
    #[must_use]
    pub fn supervisor_code(self) -> i32 {
        match self {
            Self::Stopped => 0,
            Self::Starting => 10,
            Self::Running => 20,
            Self::Backoff => 30,
            Self::Stopping => 40,
            Self::Exited => 100,
            Self::Fatal => 200,
            Self::Unknown => 1000,
        }
    }

    /// Its name as Supervisor and our API print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Backoff => "BACKOFF",
            Self::Stopping => "STOPPING",
            Self::Exited => "EXITED",
            Self::Fatal => "FATAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether a process is there or about to be.
    #[must_use]
    pub fn has_process(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

/// What a team wants of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DesiredState {
    /// It should run.
    Running,
    /// It should not run.
    Stopped,
}

/// How a restart ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RestartOutcome {
    /// All instances run, newly started.
    Succeeded,
    /// An instance went to BACKOFF or did not become RUNNING in time.
    Failed,
    /// A rolling restart stopped at its first failing step.
    Aborted,
    /// Not handed to the host in time.
    Expired,
    /// A newer restart, a stop, a deletion or a new config epoch took its place.
    Superseded,
}

/// How a restart replaces the instances of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RestartStrategy {
    /// All of them at once.
    #[default]
    AllAtOnce,
    /// One after the other, each once those before it run.
    Rolling,
}

/// A daemon's state: the first that any instance has of FATAL, BACKOFF, STOPPING, STARTING, EXITED, STOPPED, RUNNING,
/// UNKNOWN. RUNNING thus means that all run. Without instances: STOPPED.
#[must_use]
pub fn aggregate(instances: impl IntoIterator<Item = InstanceState>) -> InstanceState {
    use InstanceState::{Backoff, Exited, Fatal, Running, Starting, Stopped, Stopping, Unknown};
    const ORDER: [InstanceState; 8] = [
        Fatal, Backoff, Stopping, Starting, Exited, Stopped, Running, Unknown,
    ];
    let rank = |state: InstanceState| {
        ORDER
            .iter()
            .position(|s| *s == state)
            .unwrap_or(ORDER.len())
    };
    instances
        .into_iter()
        .min_by_key(|state| rank(*state))
        .unwrap_or(Stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_means_all_run() {
        use InstanceState::{Backoff, Exited, Fatal, Running, Stopped};
        assert_eq!(aggregate([Running, Running]), Running);
        assert_eq!(aggregate([Running, Backoff]), Backoff);
        assert_eq!(aggregate([Running, Exited, Fatal]), Fatal);
        assert_eq!(aggregate([Running, Stopped]), Stopped);
        assert_eq!(aggregate([]), Stopped);
    }
}
