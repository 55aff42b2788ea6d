//! `GET /logtail/…`: the end of a log and everything after it, for as long as the peer is there.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::stream::{self, Stream};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::door::Log;
use super::reading::off_thread;
use crate::logs::LogItem;

/// Bytes of the log's end sent first, as Supervisor does.
const HEAD: u64 = 1024;

/// Bytes per chunk. The next is read only when the peer took the last, so a slow one costs a chunk and no more.
const CHUNK: usize = 64 * 1024;

/// What Supervisor sends when a followed file shrank; for us: bytes between these two lines are gone.
const GAP: &[u8] = b"==> File truncated <==\n";

/// Tells when the peer hung up. The HTTP layer can not: Debian's client leaves a spare line end unread in its buffer,
/// behind which it never looks for the end.
#[derive(Debug)]
pub(crate) struct Hangup(UnixStream);

impl Hangup {
    /// `connection` is a duplicate of the connection's descriptor.
    pub(crate) fn of(connection: OwnedFd) -> io::Result<Self> {
        UnixStream::from_std(connection.into()).map(Self)
    }

    async fn wait(&self) {
        // Priority data is never sent here, so what this waits for is the closed end. Waiting for readable would spin
        // on bytes that are the HTTP layer's to read.
        while let Ok(ready) = self.0.ready(Interest::PRIORITY).await {
            if ready.is_read_closed() {
                return;
            }
        }
    }
}

struct Place<L> {
    log: L,
    position: u64,
    hangup: Hangup,
    sent: bool,
}

/// The chunks. Ends when the peer hangs up, the daemon is forgotten or its log can not be read any more.
pub(crate) fn follow<L: Log>(
    log: L,
    hangup: Hangup,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let place = Place {
        position: log.end().saturating_sub(HEAD),
        log,
        hangup,
        sent: false,
    };
    stream::unfold(place, |mut place| async move {
        loop {
            let position = place.position;
            let read = off_thread(place.log, move |log| log.next(position, CHUNK)).await;
            let item = match read {
                Ok((log, item)) => {
                    place.log = log;
                    item
                }
                Err(error) => {
                    tracing::warn!(%error, "a followed log can not be read any more");
                    return None;
                }
            };
            match item {
                Some(LogItem::Data {
                    next_position,
                    data,
                    ..
                }) => {
                    place.position = next_position;
                    place.sent = true;
                    // An empty chunk would end the stream.
                    if !data.is_empty() {
                        return Some((Ok(data), place));
                    }
                }
                Some(LogItem::Missing { next_position, .. }) => {
                    place.position = next_position;
                    // What was gone before the peer came is nothing it missed.
                    if place.sent {
                        return Some((Ok(Bytes::from_static(GAP)), place));
                    }
                }
                None => {
                    let more = std::pin::pin!(place.log.wait_after(position));
                    let gone = std::pin::pin!(place.hangup.wait());
                    match futures_util::future::select(more, gone).await {
                        Either::Left((true, _)) => {}
                        Either::Left((false, _)) | Either::Right(_) => return None,
                    }
                }
            }
        }
    })
}
