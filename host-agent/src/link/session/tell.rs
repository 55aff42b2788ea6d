//! Events: told in their order, a batch at a time, the next one when the one before is acknowledged. So one frame is on
//! its way at most, and an api-server that does not know events hears of them once per session.

use tokio::sync::{mpsc, watch};
use zhylon_proto::agent::v1::{ConnectRequest, Events, connect_request};

use super::{End, closed, send};
use crate::link::door::Host;
use crate::link::event;

/// Events in one frame, as agreed with the api-server: some 20 KB, so that no heartbeat waits long behind it.
const BATCH: usize = 100;

/// Tells everything that is not acknowledged, from the oldest on, and then what comes.
pub(super) async fn tell<H: Host>(
    host: &H,
    boot_id: &str,
    outgoing: &mpsc::Sender<ConnectRequest>,
    mut acks: watch::Receiver<u64>,
) -> End {
    let events = host.events();
    let mut newest = events.newest();
    let mut told = 0;
    loop {
        newest.mark_unchanged();
        let batch = events.after(told, BATCH);
        let Some(last) = batch.last().map(|event| event.sequence) else {
            // The sender lives in the handle above.
            let _ = newest.changed().await;
            continue;
        };
        let frame = Events {
            boot_id: boot_id.to_owned(),
            events: batch.into_iter().map(event::to_wire).collect(),
        };
        if !send(outgoing, connect_request::Frame::Events(frame)).await {
            return closed().await;
        }
        let acknowledged = acks.wait_for(|acknowledged| *acknowledged >= last).await;
        let Ok(acknowledged) = acknowledged.map(|acknowledged| *acknowledged) else {
            // The receiving half ended and says why itself.
            return std::future::pending().await;
        };
        events.acknowledged(acknowledged);
        told = acknowledged;
    }
}
