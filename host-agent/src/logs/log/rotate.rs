//! Rotation: one rename at a line end, then a new file. The rename comes first and the index afterwards; killed in between,
//! the next agent finds its file under the rotated name, and goes on as if it had just renamed it.

use std::sync::Arc;
use std::time::Duration;

use super::super::desk::Desk;
use super::super::home::{self, Unwritable};
use super::super::index::Rotated;
use super::super::segment::Segment;
use super::super::steps::step;
use super::Log;

/// When a rename failed: how long until the next attempt. The file grows meanwhile.
const RETRY: Duration = Duration::from_secs(60);
/// How many rotated files too many are removed at one rotation: what could not be removed before, and what a lowered limit
/// leaves over.
const REMOVED_AT_ONCE: usize = 16;

/// A rotated file, as it lies there.
#[derive(Debug, Clone, Copy)]
pub(in crate::logs) struct Aside {
    pub(in crate::logs) rotated: Rotated,
    pub(in crate::logs) bytes: u64,
    /// Unix seconds, nanoseconds. Its user can say what it likes, to the loss of its own logs.
    pub(in crate::logs) written: (i64, i64),
}

impl Log {
    /// Begins a new file if this one is as large as it may become, and whole lines are in it.
    pub(super) fn rotate_if_due(&mut self, desk: &Desk) -> Result<(), Unwritable> {
        let state = self.indexed(|index| Ok(*index.state()))?;
        let too_early = self.rotate_after.is_some_and(|after| desk.now < after);
        let entries = self.indexed(|index| Ok(index.entries_of_file()))?;
        let rotation = desk.rules.rotation;
        let small = state.offset < rotation.bytes && entries < rotation.entries;
        if small || self.open.is_some() || too_early {
            return Ok(());
        }
        self.rotate_after = None;
        // Whoever finds it renamed must know how much of it is ours without its size.
        self.indexed(super::Index::settle)?;
        step("rotate-settled");
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
        step("rotate-renamed");
        self.put_aside = true;
        self.place.file = None;
        self.open_file(desk, true)?;
        step("rotate-recorded");
        self.remove_rotated(desk.rules.rotation.keep)
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
        for rotated in rotated.iter().skip(keep) {
            self.remove_if_ours(*rotated);
            step("aside-removed");
        }
        self.indexed(|index| index.forget(&rotated, keep))?;
        step("aside-forgotten");
        Ok(())
    }

    /// Removes a rotated file, if what bears its name is it.
    pub(in crate::logs) fn remove_if_ours(&self, Rotated { number, inode }: Rotated) {
        let name = rotated_name(&self.name, number);
        let there = home::identity_at_path(&self.owner, &name);
        if there.is_some_and(|(_, found)| found == inode) {
            // What can not be removed now is tried at the next rotation.
            let _ = home::remove_log(&self.owner, &name);
        }
    }

    /// Whether a file was put aside since this was last asked.
    pub(in crate::logs) fn was_put_aside(&mut self) -> bool {
        std::mem::take(&mut self.put_aside)
    }

    /// The rotated files that are there, newest first.
    pub(in crate::logs) fn files_aside(&self, most: usize) -> Vec<Aside> {
        let rotated = self.index().and_then(|index| index.rotated(most).ok());
        let found = rotated.into_iter().flatten().filter_map(|rotated| {
            let name = rotated_name(&self.name, rotated.number);
            let stat = home::stat_at_path(&self.owner, &name)?;
            (stat.st_ino == rotated.inode).then_some(Aside {
                rotated,
                bytes: stat.st_size.cast_unsigned(),
                written: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            })
        });
        found.collect()
    }

    /// Size of the file that is written.
    pub(in crate::logs) fn file_bytes(&self) -> u64 {
        self.index().map_or(0, |index| index.state().offset)
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
