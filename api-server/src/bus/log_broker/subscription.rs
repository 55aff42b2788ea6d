//! A viewer's end: pages of history until it is near the log's end, then its place in the feed; pages again whenever it
//! fell out of that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::feed::{Feed, Found, Place, RING_BYTES};
use super::stream::LogStream;
use super::viewer::Viewer;
use super::{LogEvent, LogRequest, PAGE, Range, Start};

/// Rest between two pages that brought nothing: the feed is on its way to where this viewer is already.
const REST: Duration = Duration::from_millis(50);

/// A page on its way. Dropping it ends it on the agent too.
#[derive(Debug)]
pub(super) struct RangeRead {
    stream: Arc<LogStream>,
    id: u64,
    viewer: Arc<Viewer>,
}

impl RangeRead {
    pub(super) fn new(stream: Arc<LogStream>, id: u64, viewer: Arc<Viewer>) -> Self {
        Self { stream, id, viewer }
    }

    /// The next event; `None` when it is lost.
    pub(super) async fn next(&mut self) -> Option<LogEvent> {
        self.viewer.next().await
    }
}

impl Drop for RangeRead {
    fn drop(&mut self) {
        self.stream.close_range(self.id);
    }
}

/// A log as it comes from an agent. Dropping it ends it on the agent too.
#[derive(Debug)]
pub(crate) struct LogSubscription {
    stream: Arc<LogStream>,
    id: u64,
    request: LogRequest,
    state: State,
    /// Where the viewer is.
    position: Option<u64>,
    /// Where a log that is not followed ended when it was asked for.
    until: Option<u64>,
    /// The others waited for it once.
    outrun: bool,
    /// No page before that.
    rest_until: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// A page is to be asked for.
    Ask,
    Page(RangeRead),
    Live(Arc<Feed>, Place),
    /// All was sent.
    Done,
}

impl LogSubscription {
    pub(super) fn new(
        stream: Arc<LogStream>,
        id: u64,
        request: LogRequest,
        page: Option<RangeRead>,
    ) -> Self {
        let position = match request.start {
            Start::Position(position) => Some(position),
            _ => None,
        };
        Self {
            stream,
            id,
            request,
            state: page.map_or(State::Ask, State::Page),
            position,
            until: None,
            outrun: false,
            rest_until: None,
        }
    }

    /// Where the viewer is; `None` before anything is known.
    pub(crate) fn position(&self) -> Option<u64> {
        self.position
    }

    /// Whether the feed it follows has gone on without it.
    pub(crate) fn is_outrun(&self) -> bool {
        match &self.state {
            State::Live(feed, place) => feed.has_lost(place),
            _ => false,
        }
    }

    /// The next event. After `End` and `Lost` nothing comes: `Lost` again and again.
    ///
    /// Safe to cancel: an event is taken only when it is returned.
    pub(crate) async fn next(&mut self) -> LogEvent {
        loop {
            let event = match &mut self.state {
                State::Done => return self.lost(),
                State::Ask => {
                    if !self.join(false) {
                        if self.stream.is_closed() {
                            return self.lost();
                        }
                        if let Some(until) = self.rest_until {
                            tokio::time::sleep_until(until).await;
                            self.rest_until = None;
                        }
                        let start = self.position.map_or(self.request.start, Start::Position);
                        let request = LogRequest {
                            start,
                            ..self.request
                        };
                        self.state = State::Page(self.stream.open_range(request, PAGE).await);
                    }
                    continue;
                }
                State::Page(page) => page.next().await,
                State::Live(feed, place) => {
                    let (found, due) = feed.take(place);
                    self.stream.credit(due);
                    match found {
                        Found::Event(event) => Some(event),
                        Found::Passed => continue,
                        Found::Nothing(until) => {
                            place.wait(until).await;
                            continue;
                        }
                        Found::Outrun => {
                            self.leave();
                            continue;
                        }
                        Found::Over(LogEvent::Lost { .. }) => None,
                        Found::Over(end) => return end,
                    }
                }
            };
            match event {
                None if self.stream.is_closed() => return self.lost(),
                // Only this page: the next begins where it got to.
                None => self.leave(),
                Some(LogEvent::End { error, range, .. }) if error.is_empty() => {
                    if let Some(event) = self.turn_page(range) {
                        return event;
                    }
                }
                Some(event) => {
                    if let Some(event) = self.pass_on(event) {
                        return event;
                    }
                }
            }
        }
    }

    /// Moves on with an event; `None` for what this viewer did not ask for.
    fn pass_on(&mut self, event: LogEvent) -> Option<LogEvent> {
        match &event {
            LogEvent::Chunk {
                next_position,
                instance,
                ..
            } => {
                self.position = Some(*next_position);
                let other = self.request.instance.is_some_and(|only| only != *instance);
                return (!other).then_some(event);
            }
            LogEvent::Gap { next_position, .. } => self.position = Some(*next_position),
            LogEvent::CaughtUp { .. } | LogEvent::End { .. } | LogEvent::Lost { .. } => {}
        }
        Some(event)
    }

    /// A page is read to its end: the next one, or the feed, or that was all.
    fn turn_page(&mut self, range: Range) -> Option<LogEvent> {
        self.position = Some(range.position);
        let until = *self.until.get_or_insert(range.log_end);
        self.state = State::Ask;
        if !self.request.follow {
            if range.position < until {
                return None;
            }
            self.state = State::Done;
            return Some(LogEvent::End {
                error: String::new(),
                message: String::new(),
                range,
            });
        }
        let near = range.log_end.saturating_sub(range.position) <= RING_BYTES;
        let position = range.position;
        if self.join(near) {
            return Some(LogEvent::CaughtUp { position });
        }
        if range.position == range.begin {
            self.rest_until = Some(Instant::now() + REST);
        }
        None
    }

    fn join(&mut self, begin: bool) -> bool {
        let (true, Some(position)) = (self.request.follow, self.position) else {
            return false;
        };
        let daemon = self.request.daemon;
        let joined = self
            .stream
            .join(self.id, daemon, position, begin, self.outrun);
        if let Some((feed, place)) = joined {
            self.state = State::Live(feed, place);
            return true;
        }
        false
    }

    /// Out of page or feed; goes on with a page.
    fn leave(&mut self) {
        if let State::Live(feed, place) = std::mem::replace(&mut self.state, State::Ask) {
            self.outrun |= feed.is_outrun(place.viewer());
            self.stream.leave(place.viewer(), &feed);
        }
    }

    fn lost(&self) -> LogEvent {
        LogEvent::Lost {
            position: self.position,
        }
    }
}

impl Drop for LogSubscription {
    fn drop(&mut self) {
        self.leave();
        self.stream.viewer_gone();
    }
}
