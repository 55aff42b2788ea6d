//! Log streams: subscriptions down, bytes up, on the session's channel and beside it. A lost log stream is opened again
//! while the session lives; it never ends the session.
//!
//! All subscriptions share one short queue to the transport. Its waiters are served in turn, so a flood of one daemon
//! delays the others by one chunk each; a subscription without credit is not among them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use zhylon_proto::agent::v1::agent_service_client::AgentServiceClient;
use zhylon_proto::agent::v1::{
    LogClear, LogCleared, LogEnd, LogHello, LogSubscribe, StreamLogsRequest, StreamLogsResponse,
    stream_logs_request, stream_logs_response,
};

use super::backoff::Backoff;
use super::connect::random;
use super::door::LogSource;
use super::report::describe;
use super::subscription::{self, Credit};

/// Most subscriptions at once; one more is ended with `TOO_MANY_SUBSCRIPTIONS`. Each may hold one batch (64 KiB) while
/// the transport is slow: 16 MiB in all.
pub(super) const SUBSCRIPTIONS_MAX: usize = 256;
/// Frames on their way to the transport, at most 64 KiB each. When full, senders wait in line.
pub(super) const OUTGOING: usize = 4;
/// Logs being cleared at once for the api-server. It asks one by one, and a home that hangs holds each for seconds.
const CLEARS_MAX: usize = 8;
/// Most reads of log files at once, over all sessions. A home that hangs holds the threads of its readers for as long
/// as it hangs; this many are fewer than the link's runtime has for what may block (16), so that looking up the
/// api-server's name goes on. When all are taken, logs wait and nothing else does.
const READS_MAX: usize = 12;

/// What subscriptions read from.
#[derive(Debug, Clone)]
pub(super) struct LogRoom<L> {
    pub(super) logs: L,
    pub(super) reads: Arc<Semaphore>,
}

impl<L> LogRoom<L> {
    pub(super) fn new(logs: L) -> Self {
        let reads = Arc::new(Semaphore::new(READS_MAX));
        Self { logs, reads }
    }
}

/// Keeps a log stream open until dropped, which ends all its subscriptions.
pub(super) async fn keep<L: LogSource>(
    channel: Channel,
    session_epoch: i64,
    room: LogRoom<L>,
) -> Infallible {
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let why = once(channel.clone(), session_epoch, &room).await;
        tracing::debug!(why, "the log stream ended");
        sleep(backoff.next(began.elapsed(), random())).await;
    }
}

async fn once<L: LogSource>(channel: Channel, session_epoch: i64, room: &LogRoom<L>) -> String {
    let (outgoing, requests) = mpsc::channel(OUTGOING);
    let hello = stream_logs_request::Frame::Hello(LogHello { session_epoch });
    // There is room: the queue is new.
    let _ = outgoing.send(request(hello)).await;
    let mut client = AgentServiceClient::new(channel);
    match client.stream_logs(ReceiverStream::new(requests)).await {
        Ok(response) => serve(room, response.into_inner(), outgoing).await,
        Err(status) => describe(&status),
    }
}

/// A frame for the wire.
pub(super) fn request(frame: stream_logs_request::Frame) -> StreamLogsRequest {
    StreamLogsRequest { frame: Some(frame) }
}

/// Serves subscriptions until the stream ends; returns why it did.
pub(super) async fn serve<L: LogSource>(
    room: &LogRoom<L>,
    incoming: impl Stream<Item = Result<StreamLogsResponse, tonic::Status>>,
    outgoing: mpsc::Sender<StreamLogsRequest>,
) -> String {
    let mut incoming = std::pin::pin!(incoming);
    let mut running = Running {
        room: room.clone(),
        outgoing,
        tasks: JoinSet::new(),
        by_id: HashMap::new(),
        clears: JoinSet::new(),
    };
    loop {
        let response = tokio::select! {
            Some(ended) = running.tasks.join_next_with_id() => {
                let task = match ended {
                    Ok((task, ())) => task,
                    Err(error) => {
                        if error.is_panic() {
                            tracing::error!(%error, "a log subscription failed");
                        }
                        error.id()
                    }
                };
                running.by_id.retain(|_, one| one.task.id() != task);
                continue;
            }
            Some(_) = running.clears.join_next() => continue,
            response = incoming.next() => response,
        };
        let frame = match response {
            None => return "the api-server ended the log stream".to_owned(),
            Some(Err(status)) => return describe(&status),
            Some(Ok(StreamLogsResponse { frame })) => frame,
        };
        match frame {
            Some(stream_logs_response::Frame::Subscribe(ask)) => running.subscribe(ask).await,
            Some(stream_logs_response::Frame::Credit(more)) => {
                if let Some(one) = running.by_id.get(&more.subscription_id) {
                    one.credit.add(more.bytes);
                }
            }
            Some(stream_logs_response::Frame::Unsubscribe(end)) => {
                if let Some(one) = running.by_id.remove(&end.subscription_id) {
                    one.task.abort();
                }
            }
            Some(stream_logs_response::Frame::Clear(ask)) => running.clear(ask).await,
            // Of a newer protocol.
            None => {}
        }
    }
}

/// The subscriptions of one stream. Dropping it ends them all.
struct Running<L> {
    room: LogRoom<L>,
    outgoing: mpsc::Sender<StreamLogsRequest>,
    tasks: JoinSet<()>,
    by_id: HashMap<u64, One>,
    clears: JoinSet<()>,
}

struct One {
    task: AbortHandle,
    credit: Arc<Credit>,
}

impl<L: LogSource> Running<L> {
    async fn clear(&mut self, ask: LogClear) {
        let request_id = ask.request_id;
        if self.clears.len() >= CLEARS_MAX {
            let message = format!("{CLEARS_MAX} logs of this host are being cleared");
            let refused = cleared(request_id, "TOO_MANY_REQUESTS", message);
            // Waits like any sender.
            let _ = self.outgoing.send(refused).await;
            return;
        }
        let (logs, outgoing) = (self.room.logs.clone(), self.outgoing.clone());
        self.clears.spawn(async move {
            let (error, message) = match clear(&logs, &ask).await {
                Ok(true) => ("", String::new()),
                Ok(false) => (
                    "UNKNOWN_DAEMON",
                    format!("{} has no log on this host", ask.daemon_id),
                ),
                Err(error) => ("LOG_UNREADABLE", error.to_string()),
            };
            let _ = outgoing.send(cleared(request_id, error, message)).await;
        });
    }

    async fn subscribe(&mut self, ask: LogSubscribe) {
        let id = ask.subscription_id;
        // A name that is given again names the new one.
        if let Some(old) = self.by_id.remove(&id) {
            old.task.abort();
        }
        // Ended ones that were not collected yet still count: they may still hold a chunk.
        if self.tasks.len() >= SUBSCRIPTIONS_MAX {
            let message =
                format!("this agent serves {SUBSCRIPTIONS_MAX} log subscriptions at once");
            let end = LogEnd {
                subscription_id: id,
                error: "TOO_MANY_SUBSCRIPTIONS".to_owned(),
                message,
                ..LogEnd::default()
            };
            // Waits like any sender; nothing is read from a peer that reads nothing.
            let _ = (self
                .outgoing
                .send(request(stream_logs_request::Frame::End(end))))
            .await;
            return;
        }
        let credit = Arc::new(Credit::new(ask.credit_bytes));
        let subscription = subscription::run(
            self.room.clone(),
            ask,
            credit.clone(),
            self.outgoing.clone(),
        );
        let task = self.tasks.spawn(subscription);
        self.by_id.insert(id, One { task, credit });
    }
}

async fn clear(logs: &impl LogSource, ask: &LogClear) -> std::io::Result<bool> {
    let Ok(daemon) = ask.daemon_id.parse() else {
        return Ok(false);
    };
    let deadline = Duration::from_millis(ask.deadline_ms.into());
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let done = tokio::time::timeout(deadline, logs.clear(daemon)).await;
    done.unwrap_or_else(|_| Err(late()))
}

fn cleared(request_id: u64, error: &str, message: String) -> StreamLogsRequest {
    request(stream_logs_request::Frame::Cleared(LogCleared {
        request_id,
        error: error.to_owned(),
        message,
    }))
}

#[cfg(test)]
mod tests;
