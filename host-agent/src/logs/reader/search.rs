//! Finding places: by time, and so far before another place.

use std::io;

use super::super::entries::{between, damaged};
use super::super::entry::{Entry, Kind};
use super::View;
use super::tail::Walk;

/// Bytes looked through for the line end at which to begin. A longer line is begun within.
const LINE_MAX: u64 = 1024 * 1024;
/// Entries looked at one by one for a time; what is older is searched as if the clock had never been set back.
const STEPS_MAX: u64 = 256 * 1024;

impl View {
    /// Position after the newest entry that is older than `second`.
    pub(super) fn since(&mut self, second: i64) -> io::Result<u64> {
        let count = self.now.entries;
        let mut end = self.now.position;
        for number in (0..count).rev().take(STEPS_MAX as usize) {
            let entry = self.entries.get(number, count)?;
            let is_older = entry.is_timed() && entry.second < second;
            if is_older || entry.kind == Kind::Forgotten {
                return Ok(end);
            }
            end = entry.position;
        }
        let older = count.saturating_sub(STEPS_MAX);
        let first = (self.entries).partition(older, |entry| entry.second < second)?;
        if first < older {
            Ok(self.entries.get(first, count)?.position)
        } else {
            Ok(end)
        }
    }

    pub(super) fn before(
        &mut self,
        position: u64,
        (cost, per_piece): (u64, u64),
        instance: Option<u32>,
    ) -> io::Result<u64> {
        let position = position.min(self.now.position);
        let count = self.now.entries;
        let earlier = (self.entries).partition(count, |entry| entry.position < position)?;
        let mut walk = Walk::from(earlier, position);
        let (mut left, mut begin) = (cost, position);
        while let Some((entry, end)) = walk.step(self)? {
            if instance.is_some_and(|wanted| wanted != entry.source.instance) {
                continue;
            }
            let piece = between(entry.position, end)?.saturating_add(per_piece);
            if piece <= left {
                left -= piece;
                begin = entry.position;
                continue;
            }
            let nothing_yet = begin == position;
            let room = left.saturating_sub(per_piece).max(u64::from(nothing_yet));
            let within = self.begin_within(&entry, end, room)?;
            let begin = within.unwrap_or(if nothing_yet { end - room } else { begin });
            return before_it(begin, position);
        }
        // Before this there is not even an entry any more: all of that is one gap.
        let reached = walk.reached();
        before_it(if reached == position { 0 } else { reached }, position)
    }

    /// Where in the last `room` bytes of an entry to begin; `None` where no line does.
    fn begin_within(&mut self, entry: &Entry, end: u64, room: u64) -> io::Result<Option<u64>> {
        let from = end - room;
        let block = self.read(entry, from, room.min(LINE_MAX) as usize)?;
        if block.is_empty() && room > 0 {
            // It is in no file any more. If nothing of its segment is, all of that is one gap.
            let count = self.now.entries;
            let first = (self.entries).partition(count, |other| other.segment < entry.segment)?;
            let first = self.entries.get(first, count)?;
            let is_gone = self.read(&first, first.position, 1)?.is_empty();
            return Ok(is_gone.then_some(first.position));
        }
        let line_end = block.iter().position(|byte| *byte == b'\n');
        let after = line_end.map(|at| from + at as u64 + 1);
        Ok(after.filter(|after| *after < end))
    }
}

/// A page ends after it begins, unless the index says otherwise.
fn before_it(begin: u64, position: u64) -> io::Result<u64> {
    let is_before = begin < position || position == 0;
    is_before.then_some(begin).ok_or_else(damaged)
}
