//! Where a log is written: the file in the user's home, checked before every move, because its user may cut, replace or append to it
//! at any moment. What others wrote is never streamed and never written over.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{fstat, fstatvfs};

use super::super::desk::Desk;
use super::super::entry::Kind;
use super::super::home::{self, Unwritable};
use super::super::pipe;
use super::super::rules::{KeepFree, Size};
use super::super::segment::{SEGMENTS_MAX, Segment};
use super::super::steps::step;
use super::Log;
use super::lines::OpenLine;

/// How often a log that is written checks that its path still leads to its file.
const PATH_CHECK: Duration = Duration::from_secs(1);
/// How often a log that is written looks at how much of its disk is free.
const ROOM_CHECK: Duration = Duration::from_millis(100);
/// The same in bytes: so much more than it should, a flood takes.
const ROOM_STEP: u64 = 4 * 1024 * 1024;

const KIB: u64 = 1024;

/// The file, and what of it is ours.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Whether it was looked for.
    looked: bool,
    /// Whether writing went on where an earlier agent stopped, or began anew.
    resumed: bool,
    pub(super) file: Option<Arc<File>>,
    segments: Arc<[Arc<Segment>]>,
    pub(super) path_checked: Option<Instant>,
    /// When, and at which position, there was last seen to be enough free space.
    room_checked: Option<(Instant, u64)>,
}

impl Place {
    pub(super) fn segments(&self) -> Arc<[Arc<Segment>]> {
        Arc::clone(&self.segments)
    }

    pub(super) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        let mut segments = self.segments.iter();
        segments.find(|here| here.number == number).cloned()
    }

    pub(super) fn add_segment(&mut self, segment: Segment) {
        let skip = (self.segments.len() + 1).saturating_sub(SEGMENTS_MAX);
        let kept = self.segments.iter().skip(skip).cloned();
        self.segments = kept.chain([Arc::new(segment)]).collect();
    }
}

impl Log {
    /// Opens the file if it is there, once, so that what it has can be read. Nothing is made.
    pub(super) fn look_for_file(&mut self, desk: &Desk) -> Result<(), Unwritable> {
        if !self.place.looked {
            self.open_file(desk, false)?;
            if self.place.file.is_none() && self.was_rotated() {
                // An agent was killed between its two steps.
                self.open_file(desk, true)?;
            }
            self.place.looked = true;
        }
        Ok(())
    }

    /// Makes sure that the next byte goes where it belongs: opens or makes the file, notices what its user did to it.
    pub(super) fn find_place(&mut self, desk: &Desk) -> Result<(), Unwritable> {
        if self.place.file.is_none() {
            self.open_file(desk, true)?;
        }
        let mut stat = self.stat()?;
        let checked = self.place.path_checked;
        let check = checked.is_none_or(|at| desk.now.duration_since(at) >= PATH_CHECK);
        if check {
            self.place.path_checked = Some(desk.now);
        }
        let here = Some(home::identity(&stat));
        if stat.st_nlink == 0 || (check && home::identity_at_path(&self.owner, &self.name) != here)
        {
            // The old file stays with whoever still reads it.
            self.place.file = None;
            self.open_file(desk, true)?;
            stat = self.stat()?;
        }
        let size = stat.st_size.cast_unsigned();
        let offset = self.indexed(|index| Ok(index.state().offset))?;
        if size < offset {
            self.cut_at(size, Kind::CutByUser, desk)?;
        } else if size > offset {
            self.skip_to(size)?;
        }
        self.find_room(desk)?;
        self.rotate_if_due(desk)
    }

    /// Stops before the disk is full: what else is on it needs the rest.
    fn find_room(&mut self, desk: &Desk) -> Result<(), Unwritable> {
        let position = self.position();
        let checked = self.place.room_checked.is_some_and(|(at, from)| {
            desk.now.duration_since(at) < ROOM_CHECK && position - from < ROOM_STEP
        });
        if checked || desk.rules.keep_free.is_nothing() {
            return Ok(());
        }
        self.place.room_checked = None;
        let (file, _) = self.end()?;
        enough_room(file, desk.rules.keep_free)?;
        self.place.room_checked = Some((desk.now, position));
        Ok(())
    }

    pub(super) fn splice(
        &self,
        fifo: &OwnedFd,
        len: usize,
    ) -> Result<(usize, Result<(), Unwritable>), Unwritable> {
        let (file, offset) = self.end()?;
        let (moved, outcome) = pipe::move_to_file(fifo, file, offset, len);
        Ok((
            moved,
            outcome.map_err(|error| Unwritable::by("write it", error)),
        ))
    }

    pub(super) fn put_newline(&self) -> Result<(), Unwritable> {
        let (file, offset) = self.end()?;
        let put = file.write_all_at(b"\n", offset);
        put.map_err(|error| Unwritable::by("write it", error))
    }

    /// Whether the last byte of the file, which is ours, ends a line.
    pub(super) fn file_ends_line(&self) -> Result<bool, Unwritable> {
        let (file, offset) = self.end()?;
        ends_line(file, offset)
    }

    fn end(&self) -> Result<(&File, u64), Unwritable> {
        let file = self.place.file.as_deref();
        file.zip(self.index().map(|index| index.state().offset))
            .ok_or_else(|| Unwritable::new("it is not open"))
    }

    fn stat(&self) -> Result<rustix::fs::Stat, Unwritable> {
        let (file, _) = self.end()?;
        fstat(file).map_err(|error| Unwritable::by("stat it", error))
    }

    pub(super) fn open_file(&mut self, desk: &Desk, make: bool) -> Result<(), Unwritable> {
        if let Some(reason) = &desk.refusal {
            return Err(Unwritable::new(reason.clone()));
        }
        let Some((file, stat)) = home::open_log(&self.owner, &self.name, make)? else {
            return Ok(());
        };
        let (file, size) = (Arc::new(file), stat.st_size.cast_unsigned());
        let state = self.indexed(|index| Ok(*index.state()))?;
        let identity = home::identity(&stat);
        let known = state.segment > 0 && (state.device, state.inode) == identity;
        self.place.file = Some(Arc::clone(&file));
        let outcome = if known && !self.place.resumed {
            self.resume(&file, size, desk)
        } else {
            self.begin(&file, identity, size, desk)
        };
        match outcome {
            Ok(()) => {
                self.place.path_checked = Some(desk.now);
                self.place.resumed = true;
            }
            // Then the next attempt begins at the beginning.
            Err(_) => self.place.file = None,
        }
        outcome
    }

    /// A file that is new to us. What is in it already is not ours.
    fn begin(
        &mut self,
        file: &Arc<File>,
        identity: (u64, u64),
        size: u64,
        desk: &Desk,
    ) -> Result<(), Unwritable> {
        self.open = None;
        let offset = size + u64::from(end_foreign_line(file, size)?);
        let rotated = self.was_rotated().then_some((Kind::Rotated, desk.second));
        step("file-made");
        self.indexed(|index| index.begin_segment(identity, offset, rotated))?;
        let number = self.indexed(|index| Ok(index.state().segment))?;
        self.place.segments =
            Arc::new([Arc::new(Segment::new(number, Arc::clone(file), u64::MAX))]);
        Ok(())
    }

    /// The file we know, after a restart or a kill: its size says how much of the last move happened.
    fn resume(&mut self, file: &Arc<File>, size: u64, desk: &Desk) -> Result<(), Unwritable> {
        let state = self.indexed(|index| Ok(*index.state()))?;
        self.place.segments = self.indexed(|index| index.segments_of(file))?.into();
        if state.clearing {
            return self.end_clearing(file);
        }
        if size < state.offset {
            let rebooted = self.indexed(|index| Ok(index.rebooted()))?;
            let kind = match rebooted {
                true => Kind::CutByPowerLoss,
                false => Kind::CutByUser,
            };
            return self.cut_at(size, kind, desk);
        }
        let arrived = (size - state.offset).min(state.moving);
        let (position, offset) = (state.position + arrived, state.offset + arrived);
        self.indexed(|index| {
            index.continue_at(position, offset);
            Ok(())
        })?;
        let newest = self.indexed(|index| index.newest_data())?;
        if let Some((entry, bytes, dropped)) = newest
            && entry.kind == Kind::Data
            && !ends_line(file, entry.offset + bytes)?
        {
            self.open = Some(OpenLine {
                source: entry.source,
                since: desk.now,
                len: bytes,
                broken: dropped,
            });
        }
        if size > offset {
            self.skip_to(size)
        } else {
            Ok(())
        }
    }

    /// The file lost what was behind `size`. The stream goes on there, in a new segment.
    fn cut_at(&mut self, size: u64, kind: Kind, desk: &Desk) -> Result<(), Unwritable> {
        let (file, _) = self.end()?;
        let stat = fstat(file).map_err(|error| Unwritable::by("stat it", error))?;
        let (identity, second) = (home::identity(&stat), desk.second);
        self.open = None;
        self.indexed(|index| index.begin_segment(identity, size, Some((kind, second))))?;
        for segment in self.place.segments.iter() {
            segment.cut(size);
        }
        let number = self.indexed(|index| Ok(index.state().segment))?;
        if let Some(file) = &self.place.file {
            let segment = Segment::new(number, Arc::clone(file), u64::MAX);
            self.place.add_segment(segment);
        }
        self.skip_to(size)
    }

    /// What is before `size` is not ours, or not any more.
    fn skip_to(&mut self, size: u64) -> Result<(), Unwritable> {
        let mut offset = size;
        if self.open.is_none() {
            let (file, _) = self.end()?;
            offset += u64::from(end_foreign_line(file, size)?);
        }
        self.indexed(|index| {
            index.continue_at(index.state().position, offset);
            Ok(())
        })
    }
}

/// Says no when less is free than is to stay free. A file system that knows no sizes is never full.
fn enough_room(file: &File, keep_free: KeepFree) -> Result<(), Unwritable> {
    let system = fstatvfs(file).map_err(|error| Unwritable::by("look at its disk", error))?;
    let bytes = |blocks: u64| blocks.saturating_mul(system.f_frsize);
    let (free, keep) = (bytes(system.f_bavail), keep_free.of(bytes(system.f_blocks)));
    if system.f_blocks > 0 && free < keep {
        // The bound, not what is free: it is said once, not whenever a byte comes or goes.
        return Err(Unwritable::full(format!(
            "its disk has less than {} free (`keep_free` under [logs])",
            Size(keep / KIB * KIB)
        )));
    }
    Ok(())
}

/// Whether the byte before `offset` ends a line. So does no byte.
fn ends_line(file: &File, offset: u64) -> Result<bool, Unwritable> {
    let Some(last) = offset.checked_sub(1) else {
        return Ok(true);
    };
    let mut byte = [0];
    match file.read_at(&mut byte, last) {
        Ok(read) => Ok(read == 0 || byte == *b"\n"),
        Err(error) => Err(Unwritable::by("read it", error)),
    }
}

/// Our lines must not begin in the middle of others': ends theirs, unlisted. Whether that took a byte.
fn end_foreign_line(file: &File, size: u64) -> Result<bool, Unwritable> {
    if ends_line(file, size)? {
        return Ok(false);
    }
    let put = file.write_all_at(b"\n", size);
    put.map(|()| true)
        .map_err(|error| Unwritable::by("write it", error))
}
