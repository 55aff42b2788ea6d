//! Emptying the file on request. The index says so first: killed at any point, the next agent finishes what was begun,
//! and nothing that was written after the request is touched.

use std::fs::File;

use rustix::fs::fstat;

use super::super::desk::Desk;
use super::super::entry::Kind;
use super::super::home::{self, Unwritable};
use super::super::segment::Segment;
use super::super::steps::step;
use super::Log;

impl Log {
    /// Empties the file, if there is one, and shows readers that it did.
    pub(in crate::logs) fn clear(&mut self, desk: &Desk) -> Result<(), Unwritable> {
        let outcome = self.empty(desk);
        self.publish();
        if let (Ok(()), Some(trouble)) = (&outcome, &mut self.trouble) {
            // There may be room now.
            trouble.retry_at = desk.now;
        }
        outcome
    }

    fn empty(&mut self, desk: &Desk) -> Result<(), Unwritable> {
        self.look(desk)?;
        if self.place.file.is_none() {
            return Ok(());
        }
        // Only what is at the path, and all that is in it.
        self.place.path_checked = None;
        self.find_place(desk)?;
        let Some(file) = self.place.file.clone() else {
            return Ok(());
        };
        if self.indexed(|index| Ok(index.state().offset))? == 0 && !self.has_rotated()? {
            // Empty already: no entry for it, so that asking again and again fills nothing.
            return Ok(());
        }
        let stat = fstat(&file).map_err(|error| Unwritable::by("stat it", error))?;
        let (identity, second) = (home::identity(&stat), desk.second);
        self.open = None;
        step("clear-begun");
        self.indexed(|index| index.begin_segment(identity, 0, Some((Kind::Cleared, second))))?;
        step("clear-recorded");
        // Before the file is emptied: readers must not take what follows for what was there.
        for segment in self.place.segments().iter() {
            segment.clear();
        }
        let number = self.indexed(|index| Ok(index.state().segment))?;
        let segment = Segment::new(number, file.clone(), u64::MAX);
        self.place.add_segment(segment);
        step("clear-shown");
        self.end_clearing(&file)
    }

    /// The second half: the index says already that nothing of the file is in the stream.
    pub(super) fn end_clearing(&mut self, file: &File) -> Result<(), Unwritable> {
        let emptied = file.set_len(0);
        step("clear-emptied");
        self.remove_rotated(0)?;
        step("clear-removed");
        self.indexed(|index| index.end_clearing())?;
        step("clear-ended");
        emptied.map_err(|error| Unwritable::by("empty it", error))
    }
}
