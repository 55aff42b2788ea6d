//! Reading from the end backwards: the last lines, the last bytes.

use std::io;

use super::super::entry::{Entry, Kind};
use super::View;

/// Bytes read at once.
const BLOCK: u64 = 64 * 1024;
/// Bytes of the file read for one tail at most; beyond, fewer lines are found than asked for. At 100 MB/s it is below a second.
const SCAN_MAX: u64 = 64 * 1024 * 1024;
/// Entries looked at for one tail at most (48 MB of index): what a quiet instance wrote long ago among busy ones is not found.
const ENTRIES_MAX: u64 = 1024 * 1024;
/// Last bytes at most: they are answered in one piece.
const BYTES_MAX: usize = 1024 * 1024;

impl View {
    pub(super) fn tail_position(&mut self, lines: u32, instance: Option<u32>) -> io::Result<u64> {
        let (mut left, mut scanned) = (u64::from(lines) + 1, 0);
        let mut begin = self.now.position;
        if lines == 0 {
            return Ok(begin);
        }
        let mut walk = self.walk();
        while let Some((entry, end)) = walk.step(self)? {
            if instance.is_some_and(|wanted| wanted != entry.source.instance) {
                continue;
            }
            let mut at = end;
            while at > entry.position {
                let from = at.saturating_sub(BLOCK).max(entry.position);
                let block = self.read(&entry, from, (at - from) as usize)?;
                if block.len() as u64 != at - from || scanned >= SCAN_MAX {
                    return Ok(begin);
                }
                scanned += at - from;
                for (index, byte) in block.iter().enumerate().rev() {
                    if *byte == b'\n' {
                        left -= 1;
                        if left == 0 {
                            let after = from + index as u64 + 1;
                            // Not into what is skipped between this entry and the one before.
                            return Ok(if after == end { begin } else { after });
                        }
                    }
                }
                (at, begin) = (from, from);
            }
        }
        Ok(begin)
    }

    pub(super) fn last_bytes(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut left = bytes.min(BYTES_MAX);
        let mut pieces = Vec::new();
        let mut walk = self.walk();
        while left > 0
            && let Some((entry, end)) = walk.step(self)?
        {
            let from = end.saturating_sub(left as u64).max(entry.position);
            let piece = self.read(&entry, from, (end - from) as usize)?;
            left -= piece.len();
            pieces.push(piece);
        }
        pieces.reverse();
        Ok(pieces.concat())
    }

    fn walk(&self) -> Walk {
        Walk::from(self.now.entries, self.now.position)
    }
}

/// From entry to entry, backwards.
pub(super) struct Walk {
    next: u64,
    end: u64,
    steps: u64,
}

impl Walk {
    /// From the first `next` entries, of which the last ends at `end`.
    pub(super) fn from(next: u64, end: u64) -> Self {
        Self {
            next,
            end,
            steps: 0,
        }
    }

    /// Where it has come to.
    pub(super) fn reached(&self) -> u64 {
        self.end
    }

    /// The next entry with bytes in a file, and where they end.
    pub(super) fn step(&mut self, view: &mut View) -> io::Result<Option<(Entry, u64)>> {
        while self.next > 0 && self.steps < ENTRIES_MAX {
            self.next -= 1;
            self.steps += 1;
            let entry = view.entries.get(self.next, view.now.entries)?;
            if entry.kind == Kind::Forgotten {
                return Ok(None);
            }
            let end = std::mem::replace(&mut self.end, entry.position);
            if matches!(entry.kind, Kind::Data | Kind::Newline) && end > entry.position {
                return Ok(Some((entry, end)));
            }
        }
        Ok(None)
    }
}
