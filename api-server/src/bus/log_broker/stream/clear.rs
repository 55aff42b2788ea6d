//! Having a host empty a log: one question, one answer, or none in time.

use std::time::Duration;

use tokio::sync::oneshot;
use zhylon_shared::id::DaemonId;

use super::{LogStream, lock};

/// Requests to clear logs that one agent was not done with. It serves 8 at once.
const CLEARS_MAX: usize = 8;
/// How long a host may take to clear a log.
pub(crate) const CLEAR_DEADLINE: Duration = Duration::from_secs(6);

/// Why a log was not cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClearFailed {
    /// The agent went, or did not answer in time: it may have been cleared.
    Unknown,
    /// Too many are being cleared.
    TooMany,
    /// The host's answer.
    Refused {
        /// As on the wire.
        error: String,
        /// In words.
        message: String,
    },
}

impl LogStream {
    /// Has the host empty a daemon's log.
    ///
    /// # Errors
    /// [`ClearFailed`].
    pub(crate) async fn clear(&self, daemon: DaemonId) -> Result<(), ClearFailed> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut state = lock(&self.state);
            if state.closed {
                return Err(ClearFailed::Unknown);
            }
            state.clears.retain(|_, waiting| !waiting.is_closed());
            if state.clears.len() >= CLEARS_MAX {
                return Err(ClearFailed::TooMany);
            }
            let id = state.new_id();
            state.clears.insert(id, answer);
            state.orders.clear(id, daemon);
            id
        };
        self.wake.notify_one();
        match tokio::time::timeout(CLEAR_DEADLINE, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ClearFailed::Unknown),
            Err(_) => {
                let mut state = lock(&self.state);
                state.clears.remove(&id);
                state.orders.forget_clear(id);
                Err(ClearFailed::Unknown)
            }
        }
    }

    /// The agent's answer to a request to clear. One that nobody waits for any more is no mistake.
    pub(crate) fn cleared(&self, id: u64, error: String, message: String) {
        if let Some(waiting) = lock(&self.state).clears.remove(&id) {
            let outcome = match error.as_str() {
                "" => Ok(()),
                "TOO_MANY_REQUESTS" => Err(ClearFailed::TooMany),
                _ => Err(ClearFailed::Refused { error, message }),
            };
            let _ = waiting.send(outcome);
        }
    }
}
