//! Reading the index: entry by entry through a small window, never the whole of it. Many may read while one writes: an entry
//! that was published is never changed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::entry::{ENTRY_LEN, Entry};

/// Entries read at once: 6 KiB, so that following costs one read per so many entries and a search one per step. More would
/// only cost memory per reader.
const WINDOW: u64 = 128;

/// The entries of one index file.
#[derive(Debug)]
pub(super) struct Entries {
    file: Arc<File>,
    /// Number of the first entry in `window`; a multiple of `WINDOW`.
    first: u64,
    window: Vec<Entry>,
}

impl Entries {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            first: 0,
            window: Vec::new(),
        }
    }

    /// Entry `number` of `count` valid ones.
    ///
    /// # Errors
    /// When the index cannot be read, or is damaged there.
    pub(super) fn get(&mut self, number: u64, count: u64) -> io::Result<Entry> {
        debug_assert!(number < count);
        if self.in_window(number).is_none() {
            self.load(number - number % WINDOW, count)?;
        }
        self.in_window(number).ok_or_else(damaged)
    }

    /// How many of the first `count` entries come before the first that is not `early`. They must be sorted so.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(super) fn partition(
        &mut self,
        count: u64,
        early: impl Fn(&Entry) -> bool,
    ) -> io::Result<u64> {
        // Followers stay in the window they are in: look there first.
        let (mut low, mut high) = (0, count);
        if let (Some(first), Some(last)) = (self.window.first(), self.window.last()) {
            let end = self.first + self.window.len() as u64;
            if early(first) && (!early(last) || end == count) {
                (low, high) = (self.first, end);
            }
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if early(&self.get(middle, count)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn in_window(&self, number: u64) -> Option<Entry> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.window.get(at).copied()
    }

    fn load(&mut self, first: u64, count: u64) -> io::Result<()> {
        let wanted = (count - first).min(WINDOW) as usize;
        let mut bytes = vec![0; wanted * ENTRY_LEN];
        self.file.read_exact_at(&mut bytes, Entry::place(first))?;
        let decoded = bytes
            .chunks_exact(ENTRY_LEN)
            .map(Entry::decode_or_forgotten);
        let window: Option<Vec<Entry>> = decoded.collect();
        self.window = window.ok_or_else(damaged)?;
        self.first = first;
        Ok(())
    }
}

/// How many bytes lie between two positions that the index names.
///
/// # Errors
/// When they are not in order: then the index is damaged.
pub(super) fn between(from: u64, to: u64) -> io::Result<u64> {
    to.checked_sub(from).ok_or_else(damaged)
}

pub(super) fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the log's index is damaged: an entry is torn, or not in its place",
    )
}
