//! The host's rules for log files: when one is put aside, how much of them stays, how much of the disk is not theirs, and what
//! happens when there is no room. Pure: no file, no clock.
//!
//! The api-server can not change them: they are about this host's disks.

use std::fmt;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// When a log file is put aside, and how many of those stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// A file of this size or more is rotated at its next line end. Bytes.
    pub(crate) bytes: u64,
    /// So many rotated files stay, besides the one that is written.
    pub(crate) keep: usize,
    /// So is one that took so many index entries: they are in the agent's own directory, where no user's quota counts. Only
    /// short lines of several instances in turn come to it. Not configurable.
    pub(crate) entries: u64,
}

impl Default for Rotation {
    /// What Supervisor does with a program's log by default (`stdout_logfile_maxbytes`, `stdout_logfile_backups`).
    fn default() -> Self {
        Self {
            bytes: 50 * MIB,
            keep: 10,
            // 48 MiB of index: about as much as the file may be.
            entries: 1024 * 1024,
        }
    }
}

/// How much of a file system logs leave free, for those who may not use the reserve of root: the smaller of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeepFree {
    /// Bytes.
    pub(crate) bytes: u64,
    /// Of its size. 0–100.
    pub(crate) percent: u8,
}

impl KeepFree {
    /// Nothing is left free.
    #[cfg(test)]
    pub(crate) const NOTHING: Self = Self {
        bytes: 0,
        percent: 0,
    };

    /// Whether everything may be taken.
    pub(crate) fn is_nothing(self) -> bool {
        self.bytes == 0 || self.percent == 0
    }

    /// What of a file system of `size` bytes is to stay free.
    pub(crate) fn of(self, size: u64) -> u64 {
        // Without overflow, and exact enough: a hundredth first.
        self.bytes.min(size / 100 * u64::from(self.percent))
    }
}

impl Default for KeepFree {
    /// A twentieth of a small disk; of a large one not more than a program needs to get by until somebody comes.
    fn default() -> Self {
        Self {
            bytes: GIB,
            percent: 5,
        }
    }
}

/// What happens to output that finds no room: disk full, quota used up, or [`KeepFree`] reached. It waits in its FIFO first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WhenFull {
    /// When the FIFO is full it is dropped and counted: no daemon stands still because of its log.
    #[default]
    Drop,
    /// When the FIFO is full the daemon waits in its `write`: no line is lost because of the disk.
    Block,
}

impl WhenFull {
    /// As the configuration has it.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "drop" => Some(Self::Drop),
            "block" => Some(Self::Block),
            _ => None,
        }
    }
}

impl fmt::Display for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Drop => "drop",
            Self::Block => "block",
        })
    }
}

/// All of them: `[logs]` in the agent's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rules {
    pub(crate) rotation: Rotation,
    /// What all log files of one user's daemons may take together, in bytes: above, the oldest rotated ones go. `None`: no
    /// such bound.
    pub(crate) total_bytes: Option<u64>,
    pub(crate) keep_free: KeepFree,
    pub(crate) when_full: WhenFull,
}

/// In words, for who checks a configuration.
impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rotation { bytes, keep, .. } = self.rotation;
        write!(f, "a file of {} is put aside, {keep} stay", Size(bytes))?;
        if let Some(total) = self.total_bytes {
            write!(f, ", {} per user at most", Size(total))?;
        }
        let KeepFree { bytes, percent } = self.keep_free;
        write!(
            f,
            "; {} or {percent} % of a disk stay free; no room: {}",
            Size(bytes),
            self.when_full
        )
    }
}

/// A number of bytes as people write it: `50 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// Units, largest first.
const UNITS: [(&str, u64); 4] = [("GiB", GIB), ("MiB", MIB), ("KiB", 1024), ("B", 1)];

impl Size {
    /// A whole number and a unit, with or without a space between: `50 MiB`, `1GiB`. A bare `0` needs none.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self(0));
        }
        let (number, unit) = UNITS.iter().find_map(|(name, unit)| {
            let number = text.strip_suffix(name)?.trim_end();
            // `iB` is not a number of `B`.
            number
                .ends_with(|c: char| c.is_ascii_digit())
                .then_some((number, unit))
        })?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        number.parse::<u64>().ok()?.checked_mul(*unit).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, unit): &&(&str, u64)| self.0 >= *unit && self.0.is_multiple_of(*unit);
        match UNITS.iter().find(exact) {
            Some((name, unit)) => write!(f, "{} {name}", self.0 / unit),
            None => f.write_str("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("7B", 7),
            ("64 KiB", 65_536),
            ("50MiB", 50 * MIB),
            ("3 GiB", 3 * GIB),
        ] {
            assert_eq!(Size::from_text(text), Some(Size(bytes)), "{text}");
        }
        for text in [
            "",
            "7",
            "MiB",
            "-1 MiB",
            "1.5 GiB",
            "+1 B",
            "1 MB",
            "1 mib",
            "1 iB",
            "1 2 B",
            "17179869184 GiB",
        ] {
            assert_eq!(Size::from_text(text), None, "{text}");
        }
        for text in ["0", "7 B", "65 KiB", "50 MiB", "3 GiB"] {
            let size = Size::from_text(text).unwrap();
            assert_eq!(size.to_string(), text);
        }
    }

    #[test]
    fn a_small_disk_keeps_a_share_free_and_a_large_one_an_amount() {
        let keep = KeepFree::default();
        assert_eq!(keep.of(10 * GIB), 10 * GIB / 100 * 5);
        assert_eq!(keep.of(1000 * GIB), GIB);
        assert_eq!(KeepFree::NOTHING.of(u64::MAX), 0);
        assert_eq!(
            Rules::default().to_string(),
            "a file of 50 MiB is put aside, 10 stay; 1 GiB or 5 % of a disk stay free; no room: drop"
        );
    }
}
