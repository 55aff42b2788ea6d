//! Reading log files where a home that hangs can hang alone: never on the link's own thread.

use std::io;

use super::Cut;
use crate::link::door::{LogRead, LogSource};
use crate::link::log_stream::LogRoom;
use crate::logs::LogItem;

/// Most items read in one go: one hop to another thread for many short items.
const ITEMS_MAX: usize = 64;
/// Below this much room a batch is sent as it is, instead of filling it with a torn line.
pub(super) const CHUNK_MIN: usize = 4 * 1024;

/// Runs what may hang with somebody's home where it can hang alone.
pub(super) async fn off_thread<L: LogSource, T: Send + 'static>(
    room: &LogRoom<L>,
    reader: L::Reader,
    work: impl FnOnce(&L::Reader) -> io::Result<T> + Send + 'static,
) -> Result<(L::Reader, T), Cut> {
    let permit = (room.reads.clone().acquire_owned().await).map_err(Cut::unreadable)?;
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&reader);
        drop(permit);
        (reader, result)
    });
    let (reader, result) = done.await.map_err(Cut::unreadable)?;
    Ok((reader, result.map_err(Cut::unreadable)?))
}

/// As many items as `limit` bytes of data allow.
pub(super) fn batch(
    reader: &impl LogRead,
    mut position: u64,
    limit: usize,
) -> io::Result<Vec<LogItem>> {
    let mut items = Vec::new();
    let mut left = limit;
    while items.len() < ITEMS_MAX && (left >= CHUNK_MIN || (items.is_empty() && left > 0)) {
        let Some(item) = reader.next(position, left)? else {
            break;
        };
        let (next, bytes) = match &item {
            LogItem::Data {
                next_position,
                data,
                ..
            } => (*next_position, data.len()),
            LogItem::Missing { next_position, .. } => (*next_position, 0),
        };
        if next <= position {
            return Err(io::Error::other("the log's index does not advance"));
        }
        position = next;
        left = left.saturating_sub(bytes);
        items.push(item);
    }
    Ok(items)
}
