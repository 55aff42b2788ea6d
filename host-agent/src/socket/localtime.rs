//! The host's time zone, read from its zone file: `status` shows stop times in local time. No `localtime(3)`: that
//! needs `unsafe` and a lock around the environment.

use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Where the host's zone is; absent means UTC.
const ZONE_FILE: &str = "/etc/localtime";

/// Longest zone file read; the largest of Debian's has 3.6 KB.
const ZONE_FILE_MAX: usize = 64 * 1024;

/// The host's time zone: its transitions, and its rule for the years after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
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
        TimeZone::tzif("host", &file).ok().map(Self)
    }

    /// `%b %d %I:%M %p`, as Supervisor shows it; empty for a time that no calendar has.
    pub(crate) fn show(&self, unix: i64) -> String {
        let Ok(time) = Timestamp::from_second(unix) else {
            return String::new();
        };
        let local = time.to_zoned(self.0.clone());
        local.strftime("%b %d %I:%M %p").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Summer, winter, around a change, long before the first and long after the last transition of any file.
    const TIMES: [i64; 14] = [
        1_784_000_000,
        1_768_000_000,
        1_774_745_999,
        1_774_746_000,
        1_793_494_799,
        1_793_494_800,
        -3_000_000_000,
        -1,
        0,
        // July and December 2050 and 2090.
        2_540_000_000,
        2_554_000_000,
        3_803_000_000,
        3_816_000_000,
        253_300_000_000,
    ];

    const ZONES: [&str; 9] = [
        "Africa/Casablanca",
        "America/New_York",
        "America/Sao_Paulo",
        "Asia/Kolkata",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "Etc/UTC",
        "Europe/Berlin",
        "Europe/Dublin",
    ];

    const SCRIPT: &str = "
import datetime, sys, time
for unix in sys.argv[1:]:
    print(datetime.datetime(*time.localtime(int(unix))[:7]).strftime('%b %d %I:%M %p'))";

    /// Supervisor's own words for these times, by Python.
    #[test]
    fn agrees_with_python() {
        let times = TIMES.map(|time| time.to_string());
        let mut compared = 0;
        for name in ZONES {
            let path = Path::new("/usr/share/zoneinfo").join(name);
            let Some(zone) = Zone::read(&path) else {
                continue;
            };
            let python = Command::new("python3")
                .env("TZ", name)
                .args(["-c", SCRIPT])
                .args(&times)
                .output();
            let Ok(python) = python else { continue };
            let shown = String::from_utf8(python.stdout).unwrap();
            let ours = TIMES.map(|time| zone.show(time));
            assert_eq!(shown.lines().collect::<Vec<_>>(), ours, "{name}");
            compared += ours.len();
        }
        if compared == 0 {
            let skipped = b"\nSKIPPED agrees_with_python: no python3, or no zone files\n";
            let _ = std::io::Write::write_all(&mut std::io::stdout(), skipped);
        }
    }

    #[test]
    fn what_is_no_zone_file_is_utc() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("zone");
        for bytes in [&b""[..], b"TZif2", &[b'x'; ZONE_FILE_MAX + 1]] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Zone::read(&path), None);
        }
        assert_eq!(Zone::default().show(0), "Jan 01 12:00 AM");
        assert_eq!(Zone::default().show(i64::MAX), "");
    }
}
