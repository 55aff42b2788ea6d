//! Taking an index over from an earlier life: what it says, what of it can be believed, where writing stopped.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use zhylon_shared::id::DaemonId;

use super::super::entries::{Entries, between};
use super::super::entry::{ENTRY_LEN, Entry, Kind, STATE_LEN, State};
use super::super::segment::{SEGMENTS_MAX, Segment};
use super::{Index, NOBODY};

impl Index {
    /// Takes the index over. It stays locked until the file is closed: a killed process that still hangs in a dead home
    /// keeps its successor from writing the same log.
    ///
    /// # Errors
    /// `WouldBlock` while another process has it. Otherwise what reading or writing it said.
    pub(in crate::logs) fn load(file: File, daemon: &DaemonId) -> io::Result<Self> {
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let room = file.metadata()?.len();
        let mut bytes = [0; STATE_LEN];
        let state = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => State::decode(&bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(error),
        };
        let last = match state {
            Some(State { entries: 0, .. }) => None,
            Some(state) if Entry::place(state.entries) <= room => {
                valid_entry(&file, state.entries - 1)?
            }
            Some(_) => None,
            None => None,
        };
        let whole = state.filter(|state| state.entries == 0 || last.is_some());
        let mut index = Self {
            file: Arc::new(file),
            state: whole.unwrap_or_default(),
            stored: whole.unwrap_or_default(),
            last,
            room,
            boot: boot(),
            file_begins: 0,
        };
        if whole.is_none() {
            index.salvage(state, daemon)?;
        }
        index.file_begins = index.first_of(index.state.segment)?;
        Ok(index)
    }

    /// The newest bytes of a run: the entry, and how many. Also whether bytes of the same run were dropped since.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(in crate::logs) fn newest_data(&self) -> io::Result<Option<(Entry, u64, bool)>> {
        let mut entries = Entries::new(Arc::clone(&self.file));
        let (mut end, mut dropped) = (self.state.position, None);
        for number in (0..self.state.entries).rev() {
            let entry = entries.get(number, self.state.entries)?;
            let bytes = between(entry.position, end)?;
            match entry.kind {
                Kind::Data | Kind::Newline if bytes > 0 => {
                    return Ok(Some((entry, bytes, dropped == Some(entry.source))));
                }
                Kind::Dropped => dropped = Some(entry.source),
                Kind::Forgotten
                | Kind::IndexLost
                | Kind::CutByUser
                | Kind::CutByPowerLoss
                | Kind::Cleared
                | Kind::Rotated => return Ok(None),
                Kind::Data | Kind::Newline => {}
            }
            end = entry.position;
        }
        Ok(None)
    }

    /// The segments of the file that is written, as far back as they are in the same file.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(in crate::logs) fn segments_of(&self, file: &Arc<File>) -> io::Result<Vec<Arc<Segment>>> {
        let mut entries = Entries::new(Arc::clone(&self.file));
        let (count, mut number, mut limit) = (self.state.entries, self.state.segment, u64::MAX);
        let mut segments = Vec::new();
        loop {
            segments.insert(0, Arc::new(Segment::new(number, Arc::clone(file), limit)));
            let first = entries.partition(count, |entry| entry.segment < number)?;
            if segments.len() == SEGMENTS_MAX || first == count {
                return Ok(segments);
            }
            let first = entries.get(first, count)?;
            if !first.kind.is_cut() || first.segment != number {
                return Ok(segments);
            }
            number -= 1;
            limit = limit.min(first.offset);
        }
    }

    /// New, or damaged by a power cut: takes what the check sums vouch for. Where the state is whole but entries are not,
    /// their bytes become a gap; where the state is torn, the stream goes on from the last entry.
    fn salvage(&mut self, state: Option<State>, daemon: &DaemonId) -> io::Result<()> {
        let (entries, last) = count_valid(&self.file, state.map_or(u64::MAX, |s| s.entries))?;
        if state.is_some() || last.is_some() {
            tracing::warn!(%daemon, entries, "the log's index was damaged; the rest of it is gone");
        }
        self.last = last;
        let from = last.map_or(0, |last| last.position);
        self.state = State {
            entries,
            position: from,
            segment: last.map_or(0, |last| last.segment),
            ..State::default()
        };
        let Some(state) = state else { return Ok(()) };
        let gap = self.entry_here(Kind::IndexLost, NOBODY, 0);
        self.append(gap, State { entries, ..state })
    }
}

fn valid_entry(file: &File, number: u64) -> io::Result<Option<Entry>> {
    let mut bytes = [0; ENTRY_LEN];
    match file.read_exact_at(&mut bytes, Entry::place(number)) {
        Ok(()) => Ok(Entry::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_forgotten(file: &File, number: u64) -> io::Result<bool> {
    let mut bytes = [1; ENTRY_LEN];
    match file.read_exact_at(&mut bytes, Entry::place(number)) {
        Ok(()) => Ok(bytes == [0; ENTRY_LEN]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// How many entries are valid from the beginning, at most `most`, and the last of them. Only after damage.
fn count_valid(file: &File, most: u64) -> io::Result<(u64, Option<Entry>)> {
    let (mut count, mut last) = (0, None);
    while count < most && is_forgotten(file, count)? {
        count += 1;
    }
    while count < most
        && let Some(entry) = valid_entry(file, count)?
    {
        count += 1;
        last = Some(entry);
    }
    // Zeroes alone are room that was never used.
    Ok((if last.is_some() { count } else { 0 }, last))
}

/// Tells boots apart; 0 where the system does not say.
fn boot() -> u64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}
