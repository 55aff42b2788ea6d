//! One agent's log stream: its subscriptions, and the orders that wait to be sent to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhylon_shared::id::ServerId;

use super::orders::{Order, Orders};
use super::subscription::{LogSubscription, Viewer};
use super::{LogEvent, LogRequest, NoSubscription, SUBSCRIPTIONS_MAX, WINDOW, lock};

/// An agent sent more than it was allowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent sent more bytes of a log than it had credit for")]
pub(crate) struct Breach;

/// An agent's log stream.
#[derive(Debug)]
pub(crate) struct LogStream {
    server: ServerId,
    session_epoch: i64,
    state: Mutex<State>,
    /// There may be orders.
    wake: Notify,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    viewers: HashMap<u64, Arc<Viewer>>,
    orders: Orders,
    closed: bool,
}

impl LogStream {
    pub(super) fn new(server: ServerId, session_epoch: i64) -> Self {
        Self {
            server,
            session_epoch,
            state: Mutex::default(),
            wake: Notify::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Whose it is.
    pub(crate) fn server(&self) -> ServerId {
        self.server
    }

    /// The session it belongs to.
    pub(crate) fn session_epoch(&self) -> i64 {
        self.session_epoch
    }

    pub(super) fn subscribe(
        self: Arc<Self>,
        request: LogRequest,
    ) -> Result<LogSubscription, NoSubscription> {
        let (id, viewer) = {
            let mut state = lock(&self.state);
            if state.closed {
                return Err(NoSubscription::Offline);
            }
            // Ends that the agent was not told yet take places too, or they could pile up behind a stuck agent.
            if state.viewers.len() + state.orders.ended() >= SUBSCRIPTIONS_MAX {
                return Err(NoSubscription::TooMany);
            }
            state.last_id += 1;
            let id = state.last_id;
            let viewer = Arc::new(Viewer::new(WINDOW));
            state.viewers.insert(id, Arc::clone(&viewer));
            state.orders.subscribe(id, request, WINDOW);
            (id, viewer)
        };
        self.wake.notify_one();
        Ok(LogSubscription::new(self, id, viewer))
    }

    pub(super) fn credit(&self, id: u64, bytes: u64) {
        {
            let mut state = lock(&self.state);
            if !state.viewers.contains_key(&id) {
                return;
            }
            state.orders.credit(id, bytes);
        }
        self.wake.notify_one();
    }

    pub(super) fn unsubscribe(&self, id: u64) {
        {
            let mut state = lock(&self.state);
            if state.viewers.remove(&id).is_none() {
                return;
            }
            state.orders.unsubscribe(id);
        }
        self.wake.notify_one();
    }

    /// The next order for the agent; `None` once the stream is closed.
    pub(crate) async fn next_order(&self) -> Option<Order> {
        loop {
            {
                let mut state = lock(&self.state);
                if state.closed {
                    return None;
                }
                if let Some(order) = state.orders.next() {
                    return Some(order);
                }
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    /// What the agent says about subscription `id`. One that is not there any more is no mistake: its end may not have
    /// reached the agent yet.
    ///
    /// # Errors
    /// When the agent breaks the rule of credits: its stream can not be trusted any more.
    pub(crate) fn deliver(&self, id: u64, event: LogEvent) -> Result<(), Breach> {
        let ends = matches!(event, LogEvent::End { .. });
        let viewer = {
            let mut state = lock(&self.state);
            if ends {
                state.viewers.remove(&id)
            } else {
                state.viewers.get(&id).cloned()
            }
        };
        let Some(viewer) = viewer else { return Ok(()) };
        if !viewer.push(event)? {
            // Too many events wait: this viewer is lost at its place, the agent need not go on.
            self.unsubscribe(id);
        }
        Ok(())
    }

    /// Ends all subscriptions; none can be made any more.
    pub(super) fn close(&self) {
        let viewers = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.orders = Orders::default();
            std::mem::take(&mut state.viewers)
        };
        for viewer in viewers.into_values() {
            viewer.lose();
        }
        self.closed.cancel();
    }

    #[cfg(test)]
    pub(super) fn waiting_orders(&self) -> usize {
        lock(&self.state).orders.len()
    }

    /// Ready once the stream is closed.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }
}
