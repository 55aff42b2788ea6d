//! What writer and readers share of a log: the open file and the published end. Nothing here waits.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Segments of one file that readers can still reach; a user who cuts it more often leaves gaps to slow readers.
pub(super) const SEGMENTS_MAX: usize = 16;

/// One life of the log file: a new one begins when the file was replaced (another file) or cut (the same file).
#[derive(Debug)]
pub(super) struct Segment {
    /// Its number in the index.
    pub(super) number: u32,
    file: Arc<File>,
    /// What is behind it no longer belongs to this segment: it was cut there, and a later one goes on.
    limit: AtomicU64,
    cleared: AtomicBool,
}

impl Segment {
    pub(super) fn new(number: u32, file: Arc<File>, limit: u64) -> Self {
        Self {
            number,
            file,
            limit: AtomicU64::new(limit),
            cleared: AtomicBool::new(false),
        }
    }

    /// Ends the segment at `offset`. Must come before anything is written behind `offset`.
    pub(super) fn cut(&self, offset: u64) {
        self.limit.fetch_min(offset, Ordering::SeqCst);
    }

    /// Ends the segment before its beginning, on request. Must come before the file is emptied.
    pub(super) fn clear(&self) {
        self.cleared.store(true, Ordering::SeqCst);
        self.cut(0);
    }

    /// Whether it ended on request.
    pub(super) fn is_cleared(&self) -> bool {
        self.cleared.load(Ordering::SeqCst)
    }

    /// Reads up to `len` bytes at `offset`; less only where the segment ends.
    pub(super) fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut read = 0;
        while read < len {
            match self.file.read_at(&mut bytes[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // After the read: what a later segment has written there by now is not ours.
        let ours = self
            .limit
            .load(Ordering::SeqCst)
            .saturating_sub(offset)
            .min(read as u64);
        bytes.truncate(usize::try_from(ours).unwrap_or(read));
        Ok(bytes)
    }
}

/// What readers may read. Everything before `position` is in its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Published {
    /// Whether the file thread has looked at index and file yet.
    pub(super) ready: bool,
    /// End of the stream.
    pub(super) position: u64,
    /// Entries that are final.
    pub(super) entries: u64,
    /// The segments of the file that is written now, oldest first. Readers keep older ones themselves, so that a deleted
    /// file's space is held only while somebody still reads it.
    pub(super) segments: Arc<[Arc<Segment>]>,
}
