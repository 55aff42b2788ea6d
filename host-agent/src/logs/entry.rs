//! The index, word by word: its entries, and the state in front of them. Pure: no file, no clock.
//!
//! Both are a fixed number of little-endian 64-bit words; the low half of the last word is a check sum over the rest, so that
//! a torn or foreign one is told from a right one.

use host_agent_engine::input::Run;

/// Bytes of one entry.
pub(super) const ENTRY_LEN: usize = 8 * ENTRY_WORDS;
/// Bytes of the state.
pub(super) const STATE_LEN: usize = 8 * STATE_WORDS;
/// Where the first entry is. The state has the page before it for itself.
pub(super) const FIRST_ENTRY: u64 = 4096;

const ENTRY_WORDS: usize = 6;
const STATE_WORDS: usize = 10;
/// First word of the state: what it is, and version 1 of it.
const MAGIC: u64 = u64::from_le_bytes(*b"zhy-log\x01");
const SUM_MASK: u64 = 0xffff_ffff;

/// Which run of the daemon wrote something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// 0 … `processes` - 1.
    pub(super) instance: u32,
    /// Which spawn of it.
    pub(super) generation: u64,
}

impl From<Run> for Source {
    fn from(run: Run) -> Self {
        Self {
            instance: run.slot.index,
            generation: run.generation,
        }
    }
}

/// What an entry's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    /// Not an entry any more: zeroes, where entries of bytes were that are in no file. Such come first of all.
    Forgotten = 0,
    /// Bytes the run wrote.
    Data = 1,
    /// A line end that we put there, because the run will not (or not soon).
    Newline = 2,
    /// Bytes that were dropped because the file could not be written. They are in no file.
    Dropped = 3,
    /// Bytes whose entries were lost with power.
    IndexLost = 4,
    /// No bytes: the segment before this one was cut at this offset by the user.
    CutByUser = 5,
    /// No bytes: the segment before this one lost what was behind this offset, with power.
    CutByPowerLoss = 6,
    /// No bytes: everything before was cleared on request, and the file emptied.
    Cleared = 7,
    /// No bytes: the segment before this one is in a rotated file, which bears its number; the source's generation is that
    /// file's inode.
    Rotated = 8,
}

impl Kind {
    fn from_word(word: u32) -> Option<Self> {
        let all = [
            Self::Data,
            Self::Newline,
            Self::Dropped,
            Self::IndexLost,
            Self::CutByUser,
            Self::CutByPowerLoss,
            Self::Cleared,
            Self::Rotated,
        ];
        all.into_iter().find(|kind| *kind as u32 == word)
    }

    /// Whether the segment before it went on in the same file.
    pub(super) fn is_cut(self) -> bool {
        matches!(self, Self::CutByUser | Self::CutByPowerLoss | Self::Cleared)
    }

    /// Whether its bytes are in the file.
    pub(super) fn in_file(self) -> bool {
        matches!(self, Self::Data | Self::Newline)
    }
}

/// Says whose the bytes are from `position` up to the next entry's (or to the end of the stream).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where in the daemon's stream.
    pub(super) position: u64,
    /// Where in the file.
    pub(super) offset: u64,
    /// Who.
    pub(super) source: Source,
    /// When: Unix seconds.
    pub(super) second: i64,
    /// Which file, or which life of it: raised when the file was replaced or cut. Never falls from entry to entry.
    pub(super) segment: u32,
    /// What.
    pub(super) kind: Kind,
}

impl Entry {
    pub(super) fn encode(&self) -> [u8; ENTRY_LEN] {
        let words = seal([
            self.position,
            self.offset,
            self.source.generation,
            self.second.cast_unsigned(),
            high_low(self.segment, self.source.instance),
            high_low(self.kind as u32, 0),
        ]);
        to_bytes(words)
    }

    /// What stands for every entry that is forgotten.
    pub(super) const FORGOTTEN: Self = Self {
        position: 0,
        offset: 0,
        source: Source {
            instance: 0,
            generation: 0,
        },
        second: i64::MIN,
        segment: 0,
        kind: Kind::Forgotten,
    };

    /// As [`Self::decode`], or that it is forgotten.
    pub(super) fn decode_or_forgotten(bytes: &[u8]) -> Option<Self> {
        let forgotten = || bytes.iter().all(|byte| *byte == 0);
        Self::decode(bytes).or_else(|| forgotten().then_some(Self::FORGOTTEN))
    }

    /// `None` if it is torn, or was never one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let words: [u64; ENTRY_WORDS] = check(bytes)?;
        let [position, offset, generation, second, place, kind] = words;
        Some(Self {
            position,
            offset,
            source: Source {
                instance: low(place),
                generation,
            },
            second: second.cast_signed(),
            segment: high(place),
            kind: Kind::from_word(high(kind))?,
        })
    }

    /// Whether it says when its bytes came: what is left of a damaged index does not.
    pub(super) fn is_timed(&self) -> bool {
        !matches!(self.kind, Kind::IndexLost | Kind::Forgotten)
    }

    /// Where in the index file entry `number` is.
    pub(super) fn place(number: u64) -> u64 {
        // A number from a damaged state may be anything.
        FIRST_ENTRY.saturating_add(number.saturating_mul(ENTRY_LEN as u64))
    }
}

/// Where writing is. Stored before every move, in one place, so that after a kill at any moment the file's size says what of
/// the last move happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    /// How many entries are valid.
    pub(super) entries: u64,
    /// End of the stream.
    pub(super) position: u64,
    /// End of what is ours in the file.
    pub(super) offset: u64,
    /// How many bytes of the last entry's run are under way: so much of what is behind `offset` may be ours.
    pub(super) moving: u64,
    /// Device of the file.
    pub(super) device: u64,
    /// Inode of the file.
    pub(super) inode: u64,
    /// Which boot it was written in.
    pub(super) boot: u64,
    /// Current segment; 0 if there never was a file.
    pub(super) segment: u32,
    /// The file is being emptied. Whether that happened is not known; nothing was written since.
    pub(super) clearing: bool,
}

impl State {
    pub(super) fn encode(&self) -> [u8; STATE_LEN] {
        to_bytes(seal([
            MAGIC,
            self.entries,
            self.position,
            self.offset,
            self.moving,
            self.device,
            self.inode,
            self.boot,
            u64::from(self.segment),
            high_low(u32::from(self.clearing), 0),
        ]))
    }

    /// `None` if it is torn, or was never one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let words: [u64; STATE_WORDS] = check(bytes)?;
        let [
            magic,
            entries,
            position,
            offset,
            moving,
            device,
            inode,
            boot,
            segment,
            flags,
        ] = words;
        (magic == MAGIC).then_some(())?;
        Some(Self {
            entries,
            position,
            offset,
            moving,
            device,
            inode,
            boot,
            segment: segment.try_into().ok()?,
            clearing: high(flags) != 0,
        })
    }
}

fn high_low(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

fn low(word: u64) -> u32 {
    (word & SUM_MASK) as u32
}

fn sum<const WORDS: usize>(words: [u64; WORDS]) -> u64 {
    u64::from(crc32fast::hash(words.map(u64::to_le_bytes).as_flattened()))
}

fn seal<const WORDS: usize>(mut words: [u64; WORDS]) -> [u64; WORDS] {
    words[WORDS - 1] &= !SUM_MASK;
    words[WORDS - 1] |= sum(words);
    words
}

fn check<const WORDS: usize>(bytes: &[u8]) -> Option<[u64; WORDS]> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return None;
    }
    let chunks: [[u8; 8]; WORDS] = chunks.try_into().ok()?;
    let words = chunks.map(u64::from_le_bytes);
    (seal(words) == words).then_some(words)
}

fn to_bytes<const WORDS: usize, const BYTES: usize>(words: [u64; WORDS]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes.copy_from_slice(words.map(u64::to_le_bytes).as_flattened());
    bytes
}

/// Makes any bytes pass for a record of ours, so that a fuzzer gets behind the check sum.
#[cfg(any(test, fuzzing))]
pub(super) fn seal_bytes<const LEN: usize>(bytes: &mut [u8; LEN], state: bool) {
    if state {
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
    }
    let sum_at = LEN - 8;
    bytes[sum_at..sum_at + 4].fill(0);
    let sum = crc32fast::hash(bytes);
    bytes[sum_at..sum_at + 4].copy_from_slice(&sum.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry = Entry {
        position: 7,
        offset: 1 << 40,
        source: Source {
            instance: 63,
            generation: u64::MAX,
        },
        second: -1,
        segment: 9,
        kind: Kind::Cleared,
    };

    #[test]
    fn round_trip() {
        assert_eq!(Entry::decode(&ENTRY.encode()), Some(ENTRY));
        let state = State {
            entries: 3,
            segment: 4,
            moving: 5,
            boot: 6,
            clearing: true,
            ..State::default()
        };
        assert_eq!(State::decode(&state.encode()), Some(state));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (entry, state) = (ENTRY.encode(), State::default().encode());
        for bit in 0..8 * ENTRY_LEN {
            let mut torn = entry;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Entry::decode(&torn), None, "bit {bit}");
        }
        for bit in 0..8 * STATE_LEN {
            let mut torn = state;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(State::decode(&torn), None, "bit {bit}");
        }
        assert_eq!(Entry::decode(&[0; ENTRY_LEN]), None);
        assert_eq!(State::decode(&[0; STATE_LEN]), None);
        assert_eq!(Entry::decode(&entry[1..]), None);
    }
}
