//! Rotation: one rename at a line end, then a new file. The rename comes first and the index afterwards; killed in between,
//! the next agent finds its file under the rotated name, and goes on as if it had just renamed it.

use std::sync::Arc;
use std::time::Duration;

use super::super::Rotation;
use super::super::desk::Desk;
use super::super::home::{self, Unwritable};
use super::super::index::Rotated;
use super::super::segment::Segment;
use super::Log;

/// When a rename failed: how long until the next attempt. The file grows meanwhile.
const RETRY: Duration = Duration::from_secs(60);
/// How many rotated files too many are removed at one rotation: what could not be removed before, and what a lowered limit
/// leaves over.
const REMOVED_AT_ONCE: usize = 16;

impl Log {
    /// Begins a new file if this one is as large as it may become, and whole lines are in it.
    pub(super) fn rotate_if_due(&mut self, desk: &Desk) -> Result<(), Unwritable> {
        let state = self.indexed(|index| Ok(*index.state()))?;
        let too_early = self.rotate_after.is_some_and(|after| desk.now < after);
        if state.offset < desk.rotation.bytes || self.open.is_some() || too_early {
            return Ok(());
        }
        self.rotate_after = None;
        // Whoever finds it renamed must know how much of it is ours without its size.
        self.indexed(super::Index::settle)?;
        let rotated = rotated_name(&self.name, state.segment);
        if let Err(error) = home::rename_log(&self.owner, &self.name, &rotated) {
            tracing::warn!(
                daemon = %self.daemon,
                file = %home::path(&self.owner, &rotated).display(),
                %error,
                "the log cannot be rotated to this name; it grows on"
            );
            self.rotate_after = Some(desk.now + RETRY);
            return Ok(());
        }
        self.place.file = None;
        self.open_file(desk, true)?;
        self.remove_rotated(desk.rotation.keep)
    }

    /// Whether the file that was written last now bears the name that rotation gives it.
    pub(super) fn was_rotated(&self) -> bool {
        self.index().is_some_and(|index| {
            let state = index.state();
            let name = rotated_name(&self.name, state.segment);
            let there = home::identity_at_path(&self.owner, &name);
            state.segment > 0 && there == Some((state.device, state.inode))
        })
    }

    /// Removes what is more than `keep` rotated files. Only what is known to be ours, whatever else bears such a name.
    pub(super) fn remove_rotated(&mut self, keep: usize) -> Result<(), Unwritable> {
        let most = keep + REMOVED_AT_ONCE;
        let rotated = self.indexed(|index| index.rotated(most))?;
        for Rotated { number, inode } in rotated.into_iter().skip(keep) {
            let name = rotated_name(&self.name, number);
            let there = home::identity_at_path(&self.owner, &name);
            if there.is_some_and(|(_, found)| found == inode) {
                // What can not be removed now is tried at the next rotation.
                let _ = home::remove_log(&self.owner, &name);
            }
        }
        Ok(())
    }

    /// Whether there is a rotated file.
    pub(super) fn has_rotated(&mut self) -> Result<bool, Unwritable> {
        let newest = self.indexed(|index| index.rotated(1))?;
        Ok(!newest.is_empty())
    }

    /// Opens an older segment for a reader; `None` if its bytes are in no file any more.
    pub(in crate::logs) fn past(
        &mut self,
        number: u32,
    ) -> Result<Option<Arc<Segment>>, Unwritable> {
        if let Some(here) = self.place.segment(number) {
            return Ok(Some(here));
        }
        let Some((rotated, limit)) = self.indexed(|index| index.rotated_with(number))? else {
            return Ok(None);
        };
        let name = rotated_name(&self.name, rotated.number);
        let ours = |(_, inode): (u64, u64)| inode == rotated.inode;
        // Whatever else stands there is not opened.
        if !home::identity_at_path(&self.owner, &name).is_some_and(ours) {
            return Ok(None);
        }
        let Some((file, stat)) = home::open_log(&self.owner, &name, false)? else {
            return Ok(None);
        };
        let segment = Segment::new(number, Arc::new(file), limit);
        Ok(ours(home::identity(&stat)).then(|| Arc::new(segment)))
    }
}

/// `daemon-….log.000017`. Numbers only rise, and no file is ever renamed again.
fn rotated_name(name: &str, number: u32) -> String {
    format!("{name}.{number:06}")
}

impl Default for Rotation {
    /// What Supervisor does with a program's log by default (`stdout_logfile_maxbytes`, `stdout_logfile_backups`).
    fn default() -> Self {
        Self {
            bytes: 50 * 1024 * 1024,
            keep: 10,
        }
    }
}
