//! Finding places: by time, and so far before another place.

use std::io;

use super::super::entry::Entry;
use super::View;
use super::tail::Walk;

/// Bytes looked through for the line end at which to begin. A longer line is begun within.
const LINE_MAX: u64 = 1024 * 1024;

impl View {
    /// A clock that was set back makes times repeat: then it is one of the places with that time.
    pub(super) fn since(&mut self, second: i64) -> io::Result<u64> {
        let count = self.now.entries;
        let first = (self.entries).partition(count, |entry| entry.second < second)?;
        if first < count {
            Ok(self.entries.get(first, count)?.position)
        } else {
            Ok(self.now.position)
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
            let piece = end - entry.position;
            if piece + per_piece <= left {
                left -= piece + per_piece;
                begin = entry.position;
                continue;
            }
            let nothing_yet = begin == position;
            let room = left.saturating_sub(per_piece).max(u64::from(nothing_yet));
            let within = self.begin_within(&entry, end, room)?;
            return Ok(within.unwrap_or(if nothing_yet { end - room } else { begin }));
        }
        Ok(walk.reached())
    }

    /// Where in the last `room` bytes of an entry to begin; `None` where no line does.
    fn begin_within(&mut self, entry: &Entry, end: u64, room: u64) -> io::Result<Option<u64>> {
        let from = end - room;
        let block = self.read(entry, from, room.min(LINE_MAX) as usize)?;
        if block.is_empty() && room > 0 {
            // It is in no file any more: all of that segment is one gap.
            let count = self.now.entries;
            let first = (self.entries).partition(count, |other| other.segment < entry.segment)?;
            return Ok(Some(self.entries.get(first, count)?.position));
        }
        let line_end = block.iter().position(|byte| *byte == b'\n');
        let after = line_end.map(|at| from + at as u64 + 1);
        Ok(after.filter(|after| *after < end))
    }
}
