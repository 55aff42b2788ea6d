//! What part of a log was asked for: from where, until where, how much of it.

use zhylon_proto::agent::v1::{LogSubscribe, log_subscribe};

use super::read::{CHUNK_MIN, off_thread};
use super::{Cut, PIECE_COST};
use crate::link::door::{LogRead, LogSource};
use crate::link::log_stream::LogRoom;

/// Bytes of other instances that one range passes over. Beyond, it ends there, and whoever asked asks on.
const PASSED_OVER_MAX: u64 = 64 * 1024 * 1024;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Span {
    begin: u64,
    /// Where it ends; none when it follows, or is bounded by `left` alone.
    until: Option<u64>,
    /// What may still be sent, where that is bounded.
    left: Option<u64>,
    spent: bool,
    passed_over: u64,
}

impl Span {
    pub(super) fn begin(&self) -> u64 {
        self.begin
    }

    /// Nothing at or behind this place.
    pub(super) fn until(&self) -> u64 {
        self.until.unwrap_or(u64::MAX)
    }

    /// Whether it ends without more being written.
    pub(super) fn is_bounded(&self) -> bool {
        self.until.is_some()
    }

    /// Whether all of it was sent that is to be sent. What is left is not filled with a torn line.
    pub(super) fn is_used_up(&self, position: u64) -> bool {
        let full = |left: u64| self.spent && left < CHUNK_MIN as u64 + PIECE_COST;
        self.left.is_some_and(full)
            || self.left.is_some() && self.passed_over >= PASSED_OVER_MAX
            || self.left.is_some() && position >= self.until()
    }

    /// How much to read at `position`, at most `chunk`.
    pub(super) fn most(&self, position: u64, chunk: usize) -> usize {
        let left = self
            .left
            .map_or(u64::MAX, |left| left.saturating_sub(PIECE_COST));
        let most = left.min(self.until() - position).min(chunk as u64);
        (most as usize).max(1)
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.spent = true;
        let cost = bytes as u64 + PIECE_COST;
        self.left = self.left.map(|left| left.saturating_sub(cost));
    }

    pub(super) fn pass_over(&mut self, bytes: usize) {
        self.passed_over += bytes as u64;
    }
}

/// Finds out where to begin.
pub(super) async fn start<L: LogSource>(
    room: &LogRoom<L>,
    reader: L::Reader,
    ask: &LogSubscribe,
) -> Result<(L::Reader, Span), Cut> {
    let (end, instance, limit) = (reader.end(), ask.instance, ask.limit_bytes);
    // What is written while it is read is not asked for.
    let mut until = (!ask.follow).then_some(end);
    let mut left = (limit > 0).then_some(limit);
    let (reader, begin) = match ask.start {
        // A place that is not there yet, after a host lost the end of a log: go on from what there is.
        Some(log_subscribe::Start::Position(position)) => (reader, position.min(end)),
        Some(log_subscribe::Start::Since(second)) => {
            off_thread(room, reader, move |reader| reader.since(second)).await?
        }
        Some(log_subscribe::Start::Before(position)) => {
            let position = position.min(end);
            (until, left) = (Some(position), None);
            let find = move |reader: &L::Reader| {
                reader.before(position, (limit.max(1), PIECE_COST), instance)
            };
            off_thread(room, reader, find).await?
        }
        start @ (Some(log_subscribe::Start::TailLines(_)) | None) => {
            let lines = match start {
                Some(log_subscribe::Start::TailLines(lines)) => lines,
                _ => 0,
            };
            let find = move |reader: &L::Reader| reader.tail_position(lines, instance);
            off_thread(room, reader, find).await?
        }
    };
    let span = Span {
        begin,
        until,
        left,
        spent: false,
        passed_over: 0,
    };
    Ok((reader, span))
}
