//! Which rotated file an older segment is in, and which rotated files there should be.

use std::io;
use std::sync::Arc;

use super::super::entries::Entries;
use super::super::entry::Kind;
use super::Index;

/// Segments looked back over at most for rotated files: a user who cuts or replaces the file again and again between two
/// rotations keeps older ones from being found, and so from being removed.
const SEGMENTS_BACK: u32 = 256;

/// A rotated file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::logs) struct Rotated {
    /// Its last segment, and its name's number.
    pub(in crate::logs) number: u32,
    /// Whether a file of that name is the one.
    pub(in crate::logs) inode: u64,
}

impl Index {
    /// The rotated file that segment `number` is in, and where in it the segment ends. `None` if it is in none: in the
    /// file that is written, in one that its user replaced, or nowhere.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(in crate::logs) fn rotated_with(&self, number: u32) -> io::Result<Option<(Rotated, u64)>> {
        let mut entries = Entries::new(Arc::clone(&self.file));
        let mut limit = u64::MAX;
        for next in number + 1..=self.state.segment {
            let first = entries.partition(self.state.entries, |entry| entry.segment < next)?;
            if first == self.state.entries {
                return Ok(None);
            }
            let first = entries.get(first, self.state.entries)?;
            if first.segment != next {
                return Ok(None);
            }
            match first.kind {
                Kind::Rotated => {
                    let (number, inode) = (next - 1, first.source.generation);
                    return Ok(Some((Rotated { number, inode }, limit)));
                }
                kind if kind.is_cut() => limit = limit.min(first.offset),
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The newest rotated files, newest first, at most `most`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(in crate::logs) fn rotated(&self, most: usize) -> io::Result<Vec<Rotated>> {
        let mut entries = Entries::new(Arc::clone(&self.file));
        let mut found = Vec::new();
        let last = self.state.segment;
        for segment in (last.saturating_sub(SEGMENTS_BACK)..=last).rev() {
            let first = entries.partition(self.state.entries, |entry| entry.segment < segment)?;
            if found.len() == most {
                break;
            }
            if first < self.state.entries
                && let first = entries.get(first, self.state.entries)?
                && (first.segment, first.kind) == (segment, Kind::Rotated)
            {
                let (number, inode) = (segment - 1, first.source.generation);
                found.push(Rotated { number, inode });
            }
        }
        Ok(found)
    }
}
