//! Which rotated file an older segment is in, and which rotated files there should be.

use std::io;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};

use super::super::entries::Entries;
use super::super::entry::{ENTRY_LEN, FIRST_ENTRY, Kind};
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

/// Rotations for which the entries of a removed file stay: a reader that still has the file open goes on with them.
const REMEMBERED: usize = 4;

impl Index {
    /// The number of the first entry of a segment; of the next one, if it has none.
    pub(super) fn first_of(&self, segment: u32) -> io::Result<u64> {
        let mut entries = Entries::new(Arc::clone(&self.file));
        entries.partition(self.state.entries, |entry| entry.segment < segment)
    }

    /// How many entries the file that is written has: each costs room in the agent's own directory, however short its bytes.
    pub(in crate::logs) fn entries_of_file(&self) -> u64 {
        self.state.entries.saturating_sub(self.file_begins)
    }

    /// Gives back the room of entries whose bytes are in no file, once `rotated` (newest first, `keep` of which stay) has become
    /// long enough. Without it the index of a log would grow as long as its daemon lives.
    ///
    /// # Errors
    /// When the index can not be read. A file system that can not give room back keeps it.
    pub(in crate::logs) fn forget(&mut self, rotated: &[Rotated], keep: usize) -> io::Result<()> {
        let Some(gone) = rotated.get(keep + REMEMBERED) else {
            return Ok(());
        };
        let first = self.first_of(gone.number + 1)?;
        // The last entry says where the stream goes on.
        let bytes = first.min(self.state.entries.saturating_sub(1)) * ENTRY_LEN as u64;
        if bytes > 0 {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Tried again at the next rotation.
            let _ = fallocate(&self.file, punch, FIRST_ENTRY, bytes);
        }
        Ok(())
    }

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
