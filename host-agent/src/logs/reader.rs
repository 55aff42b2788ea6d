//! Reading one daemon's log by position: strictly what the index lists. Every reader reads the file for itself, so a slow one
//! slows nobody, and none slows the writer.

mod search;
mod tail;

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;
use zhylon_proto::daemons::v1::LogGapReason;

use super::LogItem;
use super::entries::{Entries, between, damaged};
use super::entry::{Entry, Kind};
use super::past::Past;
use super::pipe::last_newline;
use super::segment::{Published, Segment};

/// Data of one item at most, whatever the caller allows: it is read into memory at once.
const ITEM_MAX: usize = 1024 * 1024;
/// Segments a reader keeps open for itself. More than that only with a reader that stands still while the file is cut,
/// replaced or rotated again and again; then the oldest are looked for anew, and are a gap where they are gone.
const SEGMENTS_KEPT: usize = 32;
/// Segments looked at for whether the log was cleared since. Beyond, a gap has the reason of its own end.
const SEGMENTS_FORTH: usize = 256;

/// Reads one daemon's log by position. Positions count the bytes of the daemon's own stream since creation.
#[derive(Debug)]
pub(crate) struct LogReader {
    published: watch::Receiver<Published>,
    view: Mutex<View>,
}

/// What a reader has in hand.
#[derive(Debug)]
struct View {
    now: Published,
    entries: Entries,
    segments: Vec<Arc<Segment>>,
    /// Where all others come from.
    past: Past,
}

impl LogReader {
    pub(super) fn new(index: Arc<File>, published: watch::Receiver<Published>, past: Past) -> Self {
        let view = View {
            now: Published::default(),
            entries: Entries::new(index),
            segments: Vec::new(),
            past,
        };
        let reader = Self {
            published,
            view: Mutex::new(view),
        };
        // From here on the file that is written now stays readable to this reader.
        drop(reader.view());
        reader
    }

    /// Position of the current end.
    pub(crate) fn end(&self) -> u64 {
        self.published.borrow().position
    }

    /// Position from which `lines` whole lines remain until the end (of one instance only, if given). Fewer remain where the
    /// log has fewer, where bytes are missing, or where finding them would take more than 64 MiB of reading. A line that is
    /// not ended yet comes on top.
    ///
    /// # Errors
    /// When the log cannot be read, or its index is damaged.
    pub(crate) fn tail_position(&self, lines: u32, instance: Option<u32>) -> io::Result<u64> {
        self.view().tail_position(lines, instance)
    }

    /// Where what was taken over at `second` (Unix time) or later begins; the end if nothing was. By the host's clock: where
    /// that was set back, everything since it last was that late.
    ///
    /// # Errors
    /// As [`Self::tail_position`].
    pub(crate) fn since(&self, second: i64) -> io::Result<u64> {
        self.view().since(second)
    }

    /// Position from which at most `cost` remain until `position`, in whole lines where there is one (of one instance only,
    /// if given). Each piece costs its bytes and `per_piece`.
    ///
    /// # Errors
    /// As [`Self::tail_position`].
    pub(crate) fn before(
        &self,
        position: u64,
        (cost, per_piece): (u64, u64),
        instance: Option<u32>,
    ) -> io::Result<u64> {
        self.view().before(position, (cost, per_piece), instance)
    }

    /// The last `bytes` bytes of the log (at most 1 MiB), for `supervisorctl tail`. Missing ones are skipped.
    ///
    /// # Errors
    /// As [`Self::tail_position`].
    pub(crate) fn last_bytes(&self, bytes: usize) -> io::Result<Vec<u8>> {
        self.view().last_bytes(bytes)
    }

    /// The next item at `position`, at most `max_bytes` of data; `None` when there is nothing yet. Never waits for new bytes.
    ///
    /// # Errors
    /// As [`Self::tail_position`].
    pub(crate) fn next(&self, position: u64, max_bytes: usize) -> io::Result<Option<LogItem>> {
        let mut view = self.view();
        if position >= view.now.position {
            return Ok(None);
        }
        let item = view.item(position, max_bytes.clamp(1, ITEM_MAX))?;
        Ok(Some(item))
    }

    /// Returns once there is something after `position`, or the daemon is forgotten (then false).
    pub(crate) async fn wait_after(&mut self, position: u64) -> bool {
        let there = self.published.wait_for(|now| now.position > position);
        there.await.is_ok()
    }

    fn view(&self) -> MutexGuard<'_, View> {
        let mut view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.refresh(self.published.borrow().clone());
        view
    }
}

impl View {
    fn refresh(&mut self, now: Published) {
        for segment in now.segments.iter() {
            if self
                .segments
                .iter()
                .all(|kept| kept.number != segment.number)
            {
                self.segments.push(Arc::clone(segment));
            }
        }
        let excess = self.segments.len().saturating_sub(SEGMENTS_KEPT);
        self.segments.drain(..excess);
        self.now = now;
    }

    /// `position` is before the end.
    fn item(&mut self, position: u64, max_bytes: usize) -> io::Result<LogItem> {
        let count = self.now.entries;
        let after = self
            .entries
            .partition(count, |entry| entry.position <= position)?;
        let number = after.checked_sub(1).ok_or_else(no_beginning)?;
        let entry = self.entries.get(number, count)?;
        let end = self.end_of(number)?;
        if end <= position {
            return Err(damaged());
        }
        // What a reader has gone past is no longer held open for it.
        self.segments.retain(|kept| kept.number >= entry.segment);
        let reason = match entry.kind {
            Kind::Forgotten => return self.forgotten(position),
            Kind::Dropped => LogGapReason::Dropped,
            Kind::IndexLost => LogGapReason::PowerLoss,
            Kind::Data
            | Kind::Newline
            | Kind::CutByUser
            | Kind::CutByPowerLoss
            | Kind::Cleared
            | Kind::Rotated => {
                let len = (end - position).min(max_bytes as u64) as usize;
                let data = self.read(&entry, position, len)?;
                return match data.is_empty() {
                    true => self.unreadable(&entry, position),
                    false => Ok(data_item(&entry, position, data)),
                };
            }
        };
        Ok(LogItem::Missing {
            next_position: end,
            bytes: end - position,
            reason,
        })
    }

    /// Where the bytes of entry `number` end.
    fn end_of(&mut self, number: u64) -> io::Result<u64> {
        let count = self.now.entries;
        if number + 1 < count {
            Ok(self.entries.get(number + 1, count)?.position)
        } else {
            Ok(self.now.position)
        }
    }

    /// Reads at most `len` bytes of an entry; less where the file has less, none where it is gone.
    fn read(&mut self, entry: &Entry, position: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut kept = self.segments.iter();
        let segment = match kept.find(|segment| segment.number == entry.segment) {
            Some(segment) => Some(Arc::clone(segment)),
            None => self.past.segment(entry.segment)?,
        };
        match segment {
            Some(segment) => {
                let offset = (entry.offset).checked_add(between(entry.position, position)?);
                segment.read(offset.ok_or_else(damaged)?, len)
            }
            None => Ok(Vec::new()),
        }
    }

    /// Not even the entries are there any more, up to the first that is.
    fn forgotten(&mut self, position: u64) -> io::Result<LogItem> {
        let count = self.now.entries;
        let first = (self.entries).partition(count, |entry| entry.kind == Kind::Forgotten)?;
        if first == count {
            return Err(damaged());
        }
        let first = self.entries.get(first, count)?;
        let cleared = self.cleared_after(first.segment.saturating_sub(1))?;
        let end = cleared.unwrap_or(first.position);
        Ok(LogItem::Missing {
            next_position: end,
            bytes: between(position, end)?,
            reason: match cleared {
                Some(_) => LogGapReason::Cleared,
                None => LogGapReason::Rotated,
            },
        })
    }

    /// The rest of the segment is gone: up to the next one, in one piece.
    fn unreadable(&mut self, entry: &Entry, position: u64) -> io::Result<LogItem> {
        if let Some(end) = self.cleared_after(entry.segment)? {
            return Ok(LogItem::Missing {
                next_position: end,
                bytes: between(position, end)?,
                reason: LogGapReason::Cleared,
            });
        }
        let count = self.now.entries;
        let next = self
            .entries
            .partition(count, |other| other.segment <= entry.segment)?;
        let (end, kind) = if next < count {
            let first = self.entries.get(next, count)?;
            (first.position, first.kind)
        } else {
            // The entry that tells is not shown yet.
            let mut kept = self.segments.iter();
            let cleared = kept.any(|kept| kept.number == entry.segment && kept.is_cleared());
            let kind = match cleared {
                true => Kind::Cleared,
                false => Kind::CutByUser,
            };
            (self.now.position, kind)
        };
        let reason = match kind {
            Kind::CutByPowerLoss => LogGapReason::PowerLoss,
            Kind::Cleared => LogGapReason::Cleared,
            Kind::Rotated => LogGapReason::Rotated,
            _ => LogGapReason::User,
        };
        Ok(LogItem::Missing {
            next_position: end,
            bytes: between(position, end)?,
            reason,
        })
    }

    /// Where the log was first cleared after this segment: everything before is gone, whatever else happened to it.
    fn cleared_after(&mut self, segment: u32) -> io::Result<Option<u64>> {
        let count = self.now.entries;
        let last = match count.checked_sub(1) {
            Some(last) => self.entries.get(last, count)?.segment,
            None => return Ok(None),
        };
        for later in (segment + 1..=last).take(SEGMENTS_FORTH) {
            let first = (self.entries).partition(count, |entry| entry.segment < later)?;
            let first = self.entries.get(first, count)?;
            if (first.segment, first.kind) == (later, Kind::Cleared) {
                return Ok(Some(first.position));
            }
        }
        Ok(None)
    }
}

/// Whole lines if there is one; else a piece of one.
fn data_item(entry: &Entry, position: u64, mut data: Vec<u8>) -> LogItem {
    let whole = last_newline(&data).map(|last| last + 1);
    data.truncate(whole.unwrap_or(data.len()));
    LogItem::Data {
        next_position: position + data.len() as u64,
        instance: entry.source.instance,
        time: entry.second,
        data: Bytes::from(data),
        partial: whole.is_none(),
    }
}

fn no_beginning() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the log's index is damaged: it has no beginning",
    )
}
