//! The host's time zone, read from its zone file: `status` shows stop times in local time. No `localtime(3)`: that
//! needs `unsafe` and a lock around the environment.

use std::path::Path;

/// Where the host's zone is; absent means UTC.
const ZONE_FILE: &str = "/etc/localtime";

/// Longest zone file read; the largest of Debian's has 3.6 KB.
const ZONE_FILE_MAX: usize = 64 * 1024;

/// Offsets from UTC over time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Zone {
    /// Before the first transition, seconds east of UTC.
    first: i64,
    /// From this Unix time on, this offset; ascending.
    transitions: Vec<(i64, i64)>,
}

impl Zone {
    /// The host's zone as it is now; UTC if there is none or it can not be read.
    pub(crate) fn of_host() -> Self {
        Self::read(Path::new(ZONE_FILE)).unwrap_or_default()
    }

    fn read(path: &Path) -> Option<Self> {
        let file = std::fs::read(path).ok()?;
        if file.len() > ZONE_FILE_MAX {
            return None;
        }
        Self::parse(&file)
    }

    /// Reads a TZif file (RFC 8536), version 2 or later. Its footer, the rule for times after the last transition, is
    /// not read: Debian's and Ubuntu's files list transitions until 2037; after that the last offset stays.
    fn parse(file: &[u8]) -> Option<Self> {
        // The first block has 32-bit times; the second repeats it in 64 bits.
        let first = Header::read(file)?;
        let file = file.get(first.block_length(4)?..)?;
        let header = Header::read(file)?;
        let body = file.get(HEADER_LENGTH..header.block_length(8)?)?;
        let (times, body) = body.split_at_checked(header.times * 8)?;
        let (kinds, body) = body.split_at_checked(header.times)?;
        let (types, _) = body.split_at_checked(header.types * 6)?;
        let offset = |kind: usize| -> Option<i64> {
            let bytes = types.get(kind * 6..kind * 6 + 4)?;
            Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?)))
        };
        let transitions = times
            .chunks_exact(8)
            .zip(kinds)
            .map(|(time, kind)| {
                let time = i64::from_be_bytes(time.try_into().ok()?);
                Some((time, offset(usize::from(*kind))?))
            })
            .collect::<Option<_>>()?;
        Some(Self {
            first: offset(0)?,
            transitions,
        })
    }

    /// Seconds east of UTC at a Unix time.
    pub(crate) fn offset_at(&self, unix: i64) -> i64 {
        let after = self.transitions.partition_point(|(time, _)| *time <= unix);
        match after.checked_sub(1) {
            Some(last) => self.transitions[last].1,
            None => self.first,
        }
    }
}

const HEADER_LENGTH: usize = 44;

struct Header {
    times: usize,
    types: usize,
    characters: usize,
    leaps: usize,
    is_standard: usize,
    is_universal: usize,
}

impl Header {
    fn read(file: &[u8]) -> Option<Self> {
        let header = file.get(..HEADER_LENGTH)?;
        if !header.starts_with(b"TZif") || !matches!(header[4], b'2'..=b'9') {
            return None;
        }
        let count = |at: usize| -> Option<usize> {
            let bytes = header.get(20 + at * 4..24 + at * 4)?;
            let count = usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()?;
            // No count of a file this short is longer; keeps the sums below from overflowing.
            (count <= ZONE_FILE_MAX).then_some(count)
        };
        Some(Self {
            is_universal: count(0)?,
            is_standard: count(1)?,
            leaps: count(2)?,
            times: count(3)?,
            types: count(4)?,
            characters: count(5)?,
        })
    }

    /// Bytes of header and data with times of `width` bytes.
    fn block_length(&self, width: usize) -> Option<usize> {
        HEADER_LENGTH
            .checked_add(self.times * (width + 1))?
            .checked_add(self.types * 6)?
            .checked_add(self.characters)?
            .checked_add(self.leaps * (width + 4))?
            .checked_add(self.is_standard + self.is_universal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn agrees_with_the_c_library() {
        for zone in [
            "Europe/Berlin",
            "America/New_York",
            "Asia/Kolkata",
            "Etc/UTC",
        ] {
            let path = Path::new("/usr/share/zoneinfo").join(zone);
            if !path.exists() {
                continue;
            }
            let parsed = Zone::read(&path).unwrap();
            // Summer, winter, the hour before and after a change, long ago, and far ahead.
            for unix in [
                1_784_000_000,
                1_768_000_000,
                1_774_745_999,
                1_774_746_000,
                -3_000_000_000,
                2_100_000_000,
            ] {
                let out = Command::new("date")
                    .env("TZ", zone)
                    .args([&format!("-d@{unix}"), "+%::z"])
                    .output()
                    .unwrap();
                let shown = String::from_utf8(out.stdout).unwrap();
                let offset = parsed.offset_at(unix);
                let sign = if offset < 0 { '-' } else { '+' };
                let (h, m, s) = (
                    offset.abs() / 3600,
                    offset.abs() / 60 % 60,
                    offset.abs() % 60,
                );
                assert_eq!(
                    shown.trim(),
                    format!("{sign}{h:02}:{m:02}:{s:02}"),
                    "{zone} at {unix}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(mut file in proptest::collection::vec(any::<u8>(), 0..400), seed: bool) {
            if seed && file.len() > 5 {
                file[..5].copy_from_slice(b"TZif2");
            }
            if let Some(zone) = Zone::parse(&file) {
                zone.offset_at(0);
            }
        }
    }
}
