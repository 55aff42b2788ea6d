//! How much one subscription may still send. The api-server gives as its viewer reads; nothing is sent without.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// How many bytes may still be sent.
#[derive(Debug)]
pub(in crate::link) struct Credit {
    left: AtomicU64,
    added: Notify,
}

impl Credit {
    pub(in crate::link) fn new(bytes: u64) -> Self {
        Self {
            left: AtomicU64::new(bytes),
            added: Notify::new(),
        }
    }

    /// Allows more.
    pub(in crate::link) fn add(&self, bytes: u64) {
        self.change(|left| left.saturating_add(bytes));
        self.added.notify_one();
    }

    /// Takes off what was sent.
    pub(super) fn spend(&self, bytes: usize) {
        self.change(|left| left.saturating_sub(bytes as u64));
    }

    /// Waits until there is some, and says how much, at most `most`.
    pub(super) async fn available(&self, most: usize) -> usize {
        loop {
            let left = self.left.load(Ordering::Relaxed);
            if left > 0 {
                return usize::try_from(left).map_or(most, |left| left.min(most));
            }
            self.added.notified().await;
        }
    }

    fn change(&self, new: impl Fn(u64) -> u64) {
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(new(left)));
    }
}
