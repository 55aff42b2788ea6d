//! A watch as a stream of messages.

use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use zhylon_proto::daemons::v1::watch_daemons_response::Event;
use zhylon_proto::daemons::v1::{Bookmark, WatchDaemonsResponse};

use crate::domain::{Error, Watch, WatchEvent};
use crate::grpc::convert;
use crate::grpc::status::to_status;

/// The events of a watch, made as the viewer takes them; ends when this api-server drains.
pub(super) fn events(
    watch: Watch,
    draining: CancellationToken,
) -> impl Stream<Item = Result<WatchDaemonsResponse, Status>> + Send {
    stream::unfold(Some((watch, draining)), |state| async move {
        let (mut watch, draining) = state?;
        let next = draining.run_until_cancelled(watch.next()).await;
        match next.unwrap_or(Some(Err(Error::Draining)))? {
            Ok(event) => Some((Ok(encode(event)), Some((watch, draining)))),
            Err(error) => Some((Err(to_status(error)), None)),
        }
    })
}

fn encode(event: WatchEvent) -> WatchDaemonsResponse {
    let event = match event {
        WatchEvent::Upsert(view) => Event::Upsert(convert::daemon(*view)),
        WatchEvent::Removed(id) => Event::Removed(id.to_string()),
        WatchEvent::Bookmark => Event::Bookmark(Bookmark {}),
    };
    WatchDaemonsResponse { event: Some(event) }
}
