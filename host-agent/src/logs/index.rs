//! Writing the index: intent before act. An entry says whose the next bytes are, the state says how many may be under way;
//! both are in the kernel's hands before the first byte moves, so a kill at any moment leaves the truth behind.
//!
//! No fsync: entries need to survive a kill. After a power cut the check sums tell what is left.

mod past;
mod recovery;

pub(super) use past::Rotated;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use zhylon_shared::id::DaemonId;

use super::entry::{ENTRY_LEN, Entry, FIRST_ENTRY, Kind, Source, State};
use super::steps::step;

/// Bytes allocated at once: 1 365 entries. A full disk is met here, before any byte moves, not in the middle of an entry.
const ROOM_STEP: u64 = 64 * 1024;

/// Of entries that are nobody's bytes.
const NOBODY: Source = Source {
    instance: 0,
    generation: 0,
};

/// Makes the directory of all indexes; root's alone.
///
/// # Errors
/// When it cannot be made.
pub(super) fn make_dir(index_dir: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(index_dir)
}

/// Opens (makes) the index file of a daemon with the caller's own identity: once for the writer, once for readers, who must not
/// keep the writer's lock alive.
///
/// # Errors
/// When directory or file cannot be made or opened.
pub(super) fn open(index_dir: &Path, daemon: &DaemonId) -> io::Result<(File, File)> {
    let dir = index_dir.join(daemon.bare());
    make_dir(&dir)?;
    let path = dir.join("index");
    let writer = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    Ok((writer, File::open(&path)?))
}

/// The index of one daemon's log, as its only writer has it.
#[derive(Debug)]
pub(super) struct Index {
    file: Arc<File>,
    /// What is true now.
    state: State,
    /// What the file says.
    stored: State,
    last: Option<Entry>,
    /// Size of the index file: what is allocated.
    room: u64,
    /// This boot.
    boot: u64,
    /// Number of the first entry of the file that is written.
    file_begins: u64,
}

impl Index {
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Entries that readers may rely on: one without bytes may still be written over.
    pub(super) fn published_entries(&self) -> u64 {
        self.state.entries - u64::from(self.last_is_empty())
    }

    /// Says that up to `bytes` bytes of `source` come next. Nothing may move before this has succeeded.
    ///
    /// # Errors
    /// When it cannot be written (no room); then nothing has changed.
    pub(super) fn intend(
        &mut self,
        kind: Kind,
        source: Source,
        second: i64,
        bytes: u64,
    ) -> io::Result<()> {
        let entry = self.entry_here(kind, source, second);
        let next = State {
            moving: bytes,
            ..self.state
        };
        self.store((!self.goes_on(&entry)).then_some(entry), next)?;
        self.state.moving = 0;
        Ok(())
    }

    /// So many bytes have moved since [`Self::intend`].
    pub(super) fn moved(&mut self, bytes: u64) {
        self.state.position += bytes;
        self.state.offset += bytes;
    }

    /// Whether the file says more than is true: that bytes may be under way.
    pub(super) fn is_unsettled(&self) -> bool {
        self.stored != self.state
    }

    /// Says that nothing is under way. What others append from now on, even while nobody watches, is theirs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        let state = self.state;
        self.store(None, state)
    }

    /// Records bytes of `source` that are, or are about to be, dropped.
    ///
    /// # Errors
    /// As [`Self::intend`].
    pub(super) fn dropped(&mut self, source: Source, second: i64, bytes: u64) -> io::Result<()> {
        let entry = self.entry_here(Kind::Dropped, source, second);
        let same_gap = self.last.is_some_and(|last| {
            last.kind == Kind::Dropped && last.segment == entry.segment && last.source == source
        });
        let next = State {
            position: self.state.position + bytes,
            ..self.state
        };
        self.store((!same_gap).then_some(entry), next)
    }

    /// From now on the log goes on in another file, or another life of the same one, at `offset`. `why` says, and when,
    /// unless the user replaced the file: then nothing is known of the bytes before.
    ///
    /// # Errors
    /// As [`Self::intend`].
    pub(super) fn begin_segment(
        &mut self,
        (device, inode): (u64, u64),
        offset: u64,
        why: Option<(Kind, i64)>,
    ) -> io::Result<()> {
        let next = State {
            offset,
            moving: 0,
            device,
            inode,
            segment: self.state.segment + 1,
            clearing: why.is_some_and(|(kind, _)| kind == Kind::Cleared),
            ..self.state
        };
        let entry = why.map(|(kind, second)| {
            let source = match kind {
                Kind::Rotated => Source {
                    generation: self.state.inode,
                    ..NOBODY
                },
                _ => NOBODY,
            };
            Entry {
                offset,
                segment: next.segment,
                ..self.entry_here(kind, source, second)
            }
        });
        let begins = self.state.entries;
        self.store(entry, next)?;
        if why.is_none_or(|(kind, _)| !kind.is_cut() || kind == Kind::Cleared) {
            self.file_begins = begins;
        }
        Ok(())
    }

    /// The file that [`Self::begin_segment`] began to clear is empty, or can not be emptied: what is written from now on
    /// stays. Nothing is moved before that is stored, here or with the next intent.
    ///
    /// # Errors
    /// As [`Self::intend`].
    pub(super) fn end_clearing(&mut self) -> io::Result<()> {
        self.state.clearing = false;
        self.store_state(self.state)
    }

    /// Corrects where the end is: after a recovery, or behind bytes of others.
    pub(super) fn continue_at(&mut self, position: u64, offset: u64) {
        self.state.position = position;
        self.state.offset = offset;
        self.state.moving = 0;
    }

    /// Whether the machine was started anew since the state was stored.
    pub(super) fn rebooted(&self) -> bool {
        self.state.boot != self.boot
    }

    fn entry_here(&self, kind: Kind, source: Source, second: i64) -> Entry {
        Entry {
            position: self.state.position,
            offset: self.state.offset,
            source,
            second,
            segment: self.state.segment,
            kind,
        }
    }

    /// Whether the last entry already says what `entry` would.
    fn goes_on(&self, entry: &Entry) -> bool {
        self.last.is_some_and(|last| {
            let here = Entry {
                position: entry.position,
                offset: last.offset + (entry.position - last.position),
                ..last
            };
            entry.kind == Kind::Data && here == *entry
        })
    }

    fn last_is_empty(&self) -> bool {
        self.last
            .is_some_and(|last| last.kind.in_file() && last.position == self.state.position)
    }

    fn store(&mut self, entry: Option<Entry>, next: State) -> io::Result<()> {
        match entry {
            None => self.store_state(next),
            Some(entry) if self.last_is_empty() => {
                let number = self.state.entries - 1;
                self.file
                    .write_all_at(&entry.encode(), Entry::place(number))?;
                self.last = Some(entry);
                self.store_state(next)
            }
            Some(entry) => self.append(entry, next),
        }
    }

    fn append(&mut self, entry: Entry, next: State) -> io::Result<()> {
        let place = Entry::place(self.state.entries);
        if place + ENTRY_LEN as u64 > self.room {
            self.make_room()?;
        }
        self.file.write_all_at(&entry.encode(), place)?;
        step(match entry.kind {
            Kind::Rotated => "rotate-entry",
            Kind::Cleared => "clear-entry",
            _ => "move-entry",
        });
        self.store_state(State {
            entries: self.state.entries + 1,
            ..next
        })?;
        self.last = Some(entry);
        Ok(())
    }

    fn store_state(&mut self, next: State) -> io::Result<()> {
        let next = State {
            boot: self.boot,
            ..next
        };
        if self.room < FIRST_ENTRY {
            self.make_room()?;
        }
        self.file.write_all_at(&next.encode(), 0)?;
        self.stored = next;
        self.state = next;
        Ok(())
    }

    fn make_room(&mut self) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::empty(), self.room, ROOM_STEP) {
            Ok(()) => {}
            // A file system without it: a full disk is then met by the write itself.
            Err(Errno::OPNOTSUPP) => self.file.set_len(self.room + ROOM_STEP)?,
            Err(error) => return Err(error.into()),
        }
        self.room += ROOM_STEP;
        Ok(())
    }
}
