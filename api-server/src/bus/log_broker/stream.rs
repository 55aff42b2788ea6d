//! One agent's log stream: the pages and feeds it serves, and the orders that wait to be sent to it.

mod clear;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use zhylon_shared::id::{DaemonId, ServerId};

use super::feed::{Due, Feed, NoPlace, Place};
use super::orders::{Order, Orders};
use super::subscription::{LogSubscription, RangeRead};
use super::viewer::Viewer;
use super::{
    LogEvent, LogRequest, NoSubscription, PAGE, RANGES_MAX, Range, Start, VIEWERS_MAX, WINDOW, lock,
};

pub(crate) use clear::{CLEAR_DEADLINE, ClearFailed};

/// An agent sent more than it was allowed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent sent more bytes of a log than it had credit for")]
pub(crate) struct Breach;

/// One page of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Page {
    /// Chunks and gaps.
    pub(crate) events: Vec<LogEvent>,
    /// What was read.
    pub(crate) range: Range,
}

/// An agent's log stream.
#[derive(Debug)]
pub(crate) struct LogStream {
    server: ServerId,
    session_epoch: i64,
    state: Mutex<State>,
    /// There may be orders.
    wake: Notify,
    closed: CancellationToken,
    /// Pages that may be read at once.
    ranges: Arc<Semaphore>,
}

/// Where what the agent sends goes.
#[derive(Debug, Clone)]
enum Sink {
    Page(Arc<Viewer>),
    Feed(Arc<Feed>),
}

type Cleared = oneshot::Sender<Result<(), ClearFailed>>;

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    viewers: usize,
    sinks: HashMap<u64, Sink>,
    feeds: HashMap<DaemonId, Arc<Feed>>,
    clears: HashMap<u64, Cleared>,
    orders: Orders,
    closed: bool,
}

impl State {
    fn open(&mut self, id: u64, request: LogRequest, (credit, limit): (u64, u64), sink: Sink) {
        self.sinks.insert(id, sink);
        self.orders.subscribe(id, request, credit, limit);
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn close(&mut self, id: u64) {
        if self.sinks.remove(&id).is_some() {
            self.orders.unsubscribe(id);
        }
    }
}

impl LogStream {
    pub(super) fn new(server: ServerId, session_epoch: i64) -> Self {
        Self {
            server,
            session_epoch,
            state: Mutex::default(),
            wake: Notify::new(),
            closed: CancellationToken::new(),
            ranges: Arc::new(Semaphore::new(RANGES_MAX)),
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
        let id = {
            let mut state = lock(&self.state);
            if state.closed {
                return Err(NoSubscription::Offline);
            }
            // Ends that the agent was not told yet take places too, or they could pile up behind a stuck agent.
            if state.viewers + state.orders.ended() >= VIEWERS_MAX {
                return Err(NoSubscription::TooMany);
            }
            state.viewers += 1;
            state.new_id()
        };
        // At once, if there is a place: what is written after the call is not in the last lines that are asked for.
        let place = Arc::clone(&self.ranges).try_acquire_owned().ok();
        let page = place.map(|place| self.begin_range(request, PAGE, Some(place)));
        Ok(LogSubscription::new(self, id, request, page))
    }

    pub(super) fn viewer_gone(&self) {
        lock(&self.state).viewers -= 1;
    }

    /// Begins to read a page that costs at most `limit`, once there is a place.
    ///
    /// Safe to cancel: then nothing was begun.
    pub(super) async fn open_range(self: &Arc<Self>, request: LogRequest, limit: u64) -> RangeRead {
        // Never closed.
        let place = Arc::clone(&self.ranges).acquire_owned().await.ok();
        self.begin_range(request, limit, place)
    }

    fn begin_range(
        self: &Arc<Self>,
        request: LogRequest,
        limit: u64,
        place: Option<OwnedSemaphorePermit>,
    ) -> RangeRead {
        let viewer = Arc::new(Viewer::new(limit, place));
        let request = LogRequest {
            follow: false,
            ..request
        };
        let id = {
            let mut state = lock(&self.state);
            let id = state.new_id();
            if state.closed {
                viewer.lose();
            } else {
                let sink = Sink::Page(Arc::clone(&viewer));
                state.open(id, request, (limit, limit), sink);
            }
            id
        };
        self.wake.notify_one();
        RangeRead::new(Arc::clone(self), id, viewer)
    }

    /// One page, all of it; `None` when the agent went meanwhile.
    ///
    /// # Errors
    /// What the agent says: its error, and in words.
    pub(crate) async fn read(
        self: &Arc<Self>,
        request: LogRequest,
        limit: u64,
    ) -> Result<Option<Page>, (String, String)> {
        let mut page = Page::default();
        let mut range = self.open_range(request, limit).await;
        loop {
            match range.next().await {
                None | Some(LogEvent::Lost { .. }) => return Ok(None),
                Some(LogEvent::End {
                    error,
                    message,
                    range,
                }) => {
                    page.range = range;
                    return if error.is_empty() {
                        Ok(Some(page))
                    } else {
                        Err((error, message))
                    };
                }
                Some(event) => page.events.push(event),
            }
        }
    }

    /// Forgets a page that is not wanted any more.
    pub(super) fn close_range(&self, id: u64) {
        lock(&self.state).close(id);
        self.wake.notify_one();
    }

    /// A place in the daemon's feed at `position`. `begin`: the log's end is near, so that a feed may begin there.
    pub(super) fn join(
        &self,
        viewer: u64,
        daemon: DaemonId,
        position: u64,
        begin: bool,
        outrun: bool,
    ) -> Option<(Arc<Feed>, Place)> {
        let joined = {
            let mut state = lock(&self.state);
            if state.closed {
                return None;
            }
            let there = state.feeds.get(&daemon).cloned();
            let refused = match &there {
                Some(feed) => match feed.join(viewer, position, outrun) {
                    Ok(place) => return Some((Arc::clone(feed), place)),
                    Err(refused) => refused,
                },
                None => NoPlace::StandsStill,
            };
            if !begin || refused != NoPlace::StandsStill {
                return None;
            }
            let request = LogRequest {
                daemon,
                start: Start::Position(position),
                follow: true,
                instance: None,
            };
            let id = state.new_id();
            let feed = match there {
                Some(feed) => {
                    state.close(feed.upstream());
                    feed.begin_anew(id, position);
                    feed
                }
                None => Arc::new(Feed::new(daemon, id, position)),
            };
            let sink = Sink::Feed(Arc::clone(&feed));
            state.open(id, request, (WINDOW, 0), sink);
            state.feeds.insert(daemon, Arc::clone(&feed));
            let place = feed.join(viewer, position, outrun).ok();
            place.map(|place| (feed, place))
        };
        self.wake.notify_one();
        joined
    }

    pub(super) fn leave(&self, viewer: u64, feed: &Arc<Feed>) {
        let due = {
            let mut state = lock(&self.state);
            let (last, due) = feed.leave(viewer);
            let current = state.feeds.get(&feed.daemon);
            if last && current.is_some_and(|current| Arc::ptr_eq(current, feed)) {
                state.feeds.remove(&feed.daemon);
                state.close(feed.upstream());
            }
            due
        };
        self.credit(due);
        self.wake.notify_one();
    }

    pub(super) fn credit(&self, due: Due) {
        let Some((id, bytes)) = due else { return };
        {
            let mut state = lock(&self.state);
            if !state.sinks.contains_key(&id) {
                return;
            }
            state.orders.credit(id, bytes);
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
        let sink = {
            let mut state = lock(&self.state);
            let sink = if ends {
                state.sinks.remove(&id)
            } else {
                state.sinks.get(&id).cloned()
            };
            if let (true, Some(Sink::Feed(feed))) = (ends, &sink) {
                state.feeds.remove(&feed.daemon);
            }
            sink
        };
        match sink {
            None => Ok(()),
            Some(Sink::Feed(feed)) => feed.push(id, event),
            Some(Sink::Page(page)) => {
                if !page.push(event)? {
                    self.close_range(id);
                }
                Ok(())
            }
        }
    }

    /// Ends all subscriptions; none can be made any more.
    pub(super) fn close(&self) {
        let sinks = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.orders = Orders::default();
            state.feeds.clear();
            state.clears.clear();
            std::mem::take(&mut state.sinks)
        };
        for (id, sink) in sinks {
            match sink {
                Sink::Page(page) => page.lose(),
                // Takes it: it is the feed's own id.
                Sink::Feed(feed) => drop(feed.push(id, LogEvent::Lost { position: None })),
            }
        }
        self.closed.cancel();
    }

    /// Whether it is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
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
