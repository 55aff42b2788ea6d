//! Reading backwards, item by item, and finding where a time begins.

use std::io;

use zhylon_proto::daemons::v1::LogGapReason;

use super::super::LogItem;
use super::super::entries::{between, damaged};
use super::super::entry::{Entry, Kind};
use super::View;

/// Entries looked at one by one for a time; what is older is searched as if the clock had never been set back.
const STEPS_MAX: u64 = 256 * 1024;

impl View {
    /// Position after the newest entry that is older than `second`.
    pub(super) fn since_position(&mut self, second: i64) -> io::Result<u64> {
        let count = self.now.entries;
        let mut end = self.now.position;
        for number in (0..count).rev().take(STEPS_MAX as usize) {
            let entry = self.entries.get(number, count)?;
            if entry.is_timed() && entry.second < second {
                return Ok(end);
            }
            if entry.kind == Kind::Forgotten {
                return Ok(end);
            }
            end = entry.position;
        }
        let older = count.saturating_sub(STEPS_MAX);
        let first = (self.entries).partition(older, |entry| entry.second < second)?;
        match first < older {
            true => Ok(self.entries.get(first, count)?.position),
            false => Ok(end),
        }
    }

    /// `position` is behind the beginning, and not behind the end.
    pub(super) fn item_before(
        &mut self,
        position: u64,
        max_bytes: usize,
    ) -> io::Result<(u64, LogItem)> {
        let count = self.now.entries;
        let after = (self.entries).partition(count, |entry| entry.position < position)?;
        let number = after.checked_sub(1).ok_or_else(damaged)?;
        let entry = self.entries.get(number, count)?;
        if entry.kind == Kind::Forgotten {
            return self.gap_before(0, position);
        }
        if !entry.kind.in_file() {
            return self.gap_before(entry.position, position);
        }
        let len = between(entry.position, position)?.min(max_bytes as u64);
        let from = position - len;
        let mut data = self.read(&entry, from, len as usize)?;
        if (data.len() as u64) < len {
            let readable = from + data.len() as u64;
            let begin = match data.is_empty() {
                false => readable,
                true => self.gone_from(&entry, from, position)?,
            };
            return self.gap_before(begin, position);
        }
        let mut begin = from;
        if from > entry.position {
            // Not into a line, unless it is longer than that.
            let lines = data.iter().take(data.len() - 1);
            if let Some(end) = lines.copied().position(|byte| byte == b'\n') {
                data.drain(..=end);
                begin += end as u64 + 1;
            }
        }
        let item = LogItem::Data {
            next_position: position,
            instance: entry.source.instance,
            time: entry.second,
            partial: !data.ends_with(b"\n"),
            data: data.into(),
        };
        Ok((begin, item))
    }

    /// What is gone just before `position` begins at `from` or earlier: with the whole segment where nothing of that is left.
    fn gone_from(&mut self, entry: &Entry, from: u64, position: u64) -> io::Result<u64> {
        let count = self.now.entries;
        let first = (self.entries).partition(count, |other| other.segment < entry.segment)?;
        let first = self.entries.get(first, count)?;
        between(first.position, position)?;
        let there = |first: &Entry| first.segment == entry.segment && first.position < from;
        match there(&first) && self.read(&first, first.position, 1)?.is_empty() {
            true => Ok(first.position),
            false => Ok(from),
        }
    }

    /// The gap from `begin` to `position`, with the reason that a reader from there would be given.
    fn gap_before(&mut self, begin: u64, position: u64) -> io::Result<(u64, LogItem)> {
        let reason = match self.item(begin, 1)? {
            LogItem::Missing { reason, .. } => reason,
            // Gone in between.
            LogItem::Data { .. } => LogGapReason::User,
        };
        let bytes = between(begin, position)?;
        let missing = LogItem::Missing {
            next_position: position,
            bytes,
            reason,
        };
        Ok((begin, missing))
    }
}
