//! One viewer of one daemon's log: reads by position, sends as much as was allowed, waits. Holds nothing while it has no
//! credit. Must never touch a file on the link's own thread: a home that hangs would take the heartbeats with it.

mod credit;
mod read;
mod span;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use zhylon_proto::agent::v1::{
    LogCaughtUp, LogData, LogEnd, LogMissing, LogSubscribe, StreamLogsRequest, stream_logs_request,
};
use zhylon_shared::id::DaemonId;

use super::door::{LogRead, LogSource};
use super::log_stream::{LogRoom, request};
use crate::logs::LogItem;
pub(super) use credit::Credit;
use read::{batch, off_thread};
use span::{Span, start};

/// What every piece of data costs in a range besides its bytes: so that one is bounded in pieces, too.
pub(super) const PIECE_COST: u64 = 64;
/// Most bytes of one chunk, and of what one subscription holds at once.
const CHUNK_MAX: usize = 64 * 1024;
/// How often a viewer of one instance is told how far the others' lines have come.
const PROGRESS: Duration = Duration::from_secs(1);
/// Rest after a wake-up that brought nothing, so that a reader in disorder costs little.
const REST: Duration = Duration::from_millis(50);

/// Why a subscription ended before everything asked for was sent.
struct Cut {
    error: &'static str,
    message: String,
}

impl Cut {
    fn unknown(daemon: &str) -> Self {
        Self {
            error: "UNKNOWN_DAEMON",
            message: format!("{daemon} has no log on this host"),
        }
    }
    fn unreadable(error: impl std::fmt::Display) -> Self {
        Self {
            error: "LOG_UNREADABLE",
            message: error.to_string(),
        }
    }
}

/// Whether the stream to the server still stands.
enum Ended {
    /// Everything asked for was sent.
    All {
        /// Where it began.
        begin: u64,
        /// Where it ended.
        position: u64,
        /// The end of the log then.
        log_end: u64,
    },
    StreamClosed,
}

/// Serves one subscription to its end, and says that it ended.
pub(super) async fn run<L: LogSource>(
    room: LogRoom<L>,
    ask: LogSubscribe,
    credit: Arc<Credit>,
    outgoing: mpsc::Sender<StreamLogsRequest>,
) {
    let mut end = LogEnd {
        subscription_id: ask.subscription_id,
        ..LogEnd::default()
    };
    match subscribe(&room, ask, credit, &outgoing).await {
        Ok(Ended::StreamClosed) => return,
        Ok(Ended::All {
            begin,
            position,
            log_end,
        }) => (end.begin, end.position, end.log_end) = (begin, position, log_end),
        Err(cut) => (end.error, end.message) = (cut.error.to_owned(), cut.message),
    }
    let _ = (outgoing.send(request(stream_logs_request::Frame::End(end)))).await;
}

async fn subscribe<L: LogSource>(
    room: &LogRoom<L>,
    ask: LogSubscribe,
    credit: Arc<Credit>,
    outgoing: &mpsc::Sender<StreamLogsRequest>,
) -> Result<Ended, Cut> {
    let unknown = || Cut::unknown(&ask.daemon_id);
    let daemon: DaemonId = ask.daemon_id.parse().map_err(|_| unknown())?;
    let reader = (room.logs.reader(daemon).await)
        .map_err(Cut::unreadable)?
        .ok_or_else(unknown)?;
    let (reader, span) = start(room, reader, &ask).await?;
    let viewer = Viewer {
        room,
        reader,
        position: span.begin(),
        span,
        id: ask.subscription_id,
        instance: ask.instance,
        credit,
        outgoing,
        news: News::Sent,
        told: Instant::now(),
    };
    viewer.run().await
}

/// What happened since the viewer was last told that it has everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    /// Nothing.
    None,
    /// Only lines of other instances.
    Skipped,
    /// Something was sent; or it was never told yet.
    Sent,
}

struct Viewer<'a, L: LogSource> {
    room: &'a LogRoom<L>,
    reader: L::Reader,
    position: u64,
    span: Span,
    id: u64,
    instance: Option<u32>,
    credit: Arc<Credit>,
    outgoing: &'a mpsc::Sender<StreamLogsRequest>,
    news: News,
    told: Instant,
}

impl<L: LogSource> Viewer<'_, L> {
    async fn run(mut self) -> Result<Ended, Cut> {
        let mut woken = false;
        loop {
            let mut items = Vec::new();
            if self.span.is_used_up(self.position) {
                return Ok(self.all());
            }
            let more = self.position < self.span.until().min(self.reader.end());
            if more {
                let most = self.span.most(self.position, CHUNK_MAX);
                let allowed = self.credit.available(most).await;
                let position = self.position;
                let read = off_thread(self.room, self.reader, move |reader| {
                    batch(reader, position, allowed)
                });
                (self.reader, items) = read.await?;
            }
            if items.is_empty() {
                if woken {
                    sleep(REST).await;
                }
                match self.at_end(more).await? {
                    Some(ended) => return Ok(ended),
                    None => woken = true,
                }
                continue;
            }
            woken = false;
            for item in items {
                if !self.pass_on(item).await {
                    return Ok(Ended::StreamClosed);
                }
            }
        }
    }

    /// Sends an item, or passes it over; false when the stream is closed.
    async fn pass_on(&mut self, item: LogItem) -> bool {
        let frame = match item {
            LogItem::Data {
                next_position,
                instance,
                time,
                data,
                partial,
            } => {
                self.position = next_position;
                if self.instance.is_some_and(|only| only != instance) {
                    self.span.pass_over(data.len());
                    self.news = self.news.max(News::Skipped);
                    return true;
                }
                self.span.spend(data.len());
                self.credit.spend(data.len());
                stream_logs_request::Frame::Data(LogData {
                    subscription_id: self.id,
                    next_position,
                    instance,
                    time,
                    data,
                    partial,
                })
            }
            LogItem::Missing {
                next_position,
                bytes,
                reason,
            } => {
                // One that goes on behind what was asked for is the next one's to tell.
                let beyond = next_position.saturating_sub(self.span.until());
                self.position = next_position - beyond;
                self.span.spend(0);
                stream_logs_request::Frame::Missing(LogMissing {
                    subscription_id: self.id,
                    next_position: self.position,
                    bytes: bytes - beyond,
                    reason: reason.into(),
                })
            }
        };
        self.news = News::Sent;
        self.send(frame).await
    }

    /// Everything there is was passed on: says so once, then waits for more. `Some` when there will be no more. `tried`:
    /// whether a read has just found nothing although there should be something.
    async fn at_end(&mut self, tried: bool) -> Result<Option<Ended>, Cut> {
        let bounded = self.span.is_bounded();
        if (self.news == News::Sent || bounded) && !self.tell().await {
            return Ok(Some(Ended::StreamClosed));
        }
        if bounded {
            return Ok(Some(self.all()));
        }
        loop {
            tokio::select! {
                more = self.reader.wait_after(self.position) => {
                    return if more || (!tried && self.position < self.reader.end()) {
                        Ok(None)
                    } else {
                        let message = "the daemon was deleted".to_owned();
                        Err(Cut { error: "DELETED", message })
                    };
                }
                () = sleep_until(self.told + PROGRESS), if self.news == News::Skipped => {
                    if !self.tell().await {
                        return Ok(Some(Ended::StreamClosed));
                    }
                }
            }
        }
    }

    fn all(&self) -> Ended {
        Ended::All {
            begin: self.span.begin(),
            position: self.position,
            log_end: self.reader.end(),
        }
    }

    async fn tell(&mut self) -> bool {
        self.news = News::None;
        self.told = Instant::now();
        let caught_up = LogCaughtUp {
            subscription_id: self.id,
            position: self.position,
        };
        self.send(stream_logs_request::Frame::CaughtUp(caught_up))
            .await
    }

    async fn send(&mut self, frame: stream_logs_request::Frame) -> bool {
        self.outgoing.send(request(frame)).await.is_ok()
    }
}
