//! Hints: something changed, look again. Lossy by design: a listener that lagged hears `Lagged` from its receiver and
//! looks at everything again; every listener also looks by itself every few seconds.

use tokio::sync::broadcast;
use zhylon_shared::id::{DaemonId, ServerId};

/// Hints kept for the slowest listener. At 24 bytes each this is small; a listener further behind than this has more to
/// gain from one full look than from each hint. When full the oldest are dropped and the listener is told that it lagged.
const CAPACITY: usize = 1024;

/// Something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::enum_variant_names,
    reason = "`Hint::Server` would read as if the server itself were told"
)]
pub(crate) enum Hint {
    /// What this server should run, or the server itself (also that it was deleted).
    ServerChanged(ServerId),
    /// A daemon: its spec, its intent or its status.
    DaemonChanged {
        /// Its server.
        server: ServerId,
        /// The daemon.
        daemon: DaemonId,
    },
    /// The agent of this server came or went.
    ConnectionChanged(ServerId),
    /// A membership, a permission or a token: whoever serves a stream asks again whether it may.
    MembershipChanged,
}

/// Tells and hears hints.
#[derive(Debug, Clone)]
pub(crate) struct Hints(broadcast::Sender<Hint>);

impl Hints {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    /// Tells everyone who listens; no one listening is fine.
    pub(crate) fn tell(&self, hint: Hint) {
        let _ = self.0.send(hint);
    }

    /// Hears all hints from now on. `Lagged` means: look at everything.
    #[must_use]
    pub(crate) fn listen(&self) -> broadcast::Receiver<Hint> {
        self.0.subscribe()
    }
}
