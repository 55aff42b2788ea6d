//! What a team may want of a daemon that is there. Decides what an intent means; writing it is another room's.

use std::time::{Duration, SystemTime};

use zhylon_proto::daemons::v1::DaemonEventType;
use zhylon_shared::state::RestartStrategy;

use super::Error;
use crate::store::{DaemonRow, NewRestart};

/// How long a restart waits for a server that is away, when nothing is said: nobody wants last week's restart.
const RESTART_LIFE: Duration = Duration::from_secs(15 * 60);

/// What a team may want of a daemon that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Intent {
    /// Run.
    Start,
    /// Do not run.
    Stop,
    /// Replace all instances.
    Restart {
        /// Handed to the host until this time; `None` is 15 minutes from now.
        not_after: Option<SystemTime>,
        /// How.
        strategy: RestartStrategy,
    },
}

impl Intent {
    /// Its event.
    pub(super) fn told(self, old: &DaemonRow) -> (DaemonEventType, String) {
        let next = old.restart_generation + 1;
        match self {
            Self::Start => (DaemonEventType::StartRequested, String::new()),
            Self::Stop => (DaemonEventType::StopRequested, String::new()),
            Self::Restart { strategy, .. } => {
                let how = match strategy {
                    RestartStrategy::AllAtOnce => "",
                    RestartStrategy::Rolling => ", rolling",
                };
                let text = format!("restart {next}{how}");
                (DaemonEventType::RestartRequested, text)
            }
        }
    }

    /// The restart it asks for, if it does.
    ///
    /// # Errors
    /// When that would be over before it began.
    pub(super) fn restart(self, now: SystemTime) -> Result<Option<NewRestart>, Error> {
        let Self::Restart {
            not_after,
            strategy,
        } = self
        else {
            return Ok(None);
        };
        let not_after = not_after.unwrap_or(now + RESTART_LIFE);
        if not_after <= now {
            let text = "must be a time to come, or be left out for 15 minutes from now";
            return Err(Error::field("not_after", "FUTURE", text));
        }
        let rolling = strategy == RestartStrategy::Rolling;
        Ok(Some(NewRestart { not_after, rolling }))
    }
}
