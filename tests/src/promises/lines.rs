//! Checks a log against what writers say they wrote: every number once, in order, every line whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::daemon::WIDEST;

/// Where the last lines are: the other slots go on for some bursts after the first said its last.
const TAIL: u64 = 1 << 20;

/// One line of a slot.
pub(super) fn line(slot: &str, number: u64) -> String {
    format!(
        "{slot} {number:010} {}",
        "x".repeat((number % WIDEST) as usize)
    )
}

/// Whether every writer's last line is there.
pub(super) fn is_over(log: &Path, slots: usize) -> bool {
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let tail = String::from_utf8_lossy(&tail().unwrap_or_default()).into_owned();
    tail.lines().filter(|line| line.contains(" LAST ")).count() >= slots
}

/// Reads all of a log; returns how many lines.
///
/// # Panics
/// At the first line that is not the one that was written there.
pub(super) fn check(log: &Path, slots: usize) -> u64 {
    let file = File::open(log).expect("the log");
    let (mut next, mut over) = (BTreeMap::<String, u64>::new(), 0);
    let mut lines = 0;
    for found in BufReader::with_capacity(1 << 20, file).lines() {
        let found = found.expect("text");
        let slot = found.split(' ').next().unwrap_or_default().to_owned();
        let number = next.entry(slot.clone()).or_insert(1);
        if found == format!("{slot} LAST {}", *number - 1) {
            over += 1;
            *number = u64::MAX;
            continue;
        }
        assert!(
            *number != u64::MAX,
            "{found:?} after the last line of {slot}"
        );
        let expected = line(&slot, *number);
        assert_eq!(found, expected, "line {} of {}", lines + 1, log.display());
        *number += 1;
        lines += 1;
    }
    assert_eq!(over, slots, "last lines");
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_doubled_torn_or_mixed_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let whole: Vec<String> = (1..=5)
            .flat_map(|n| ["00", "01"].map(|s| line(s, n)))
            .collect();
        let ends = ["00 LAST 5".to_owned(), "01 LAST 5".to_owned()];
        let checked = |lines: &[String]| {
            std::fs::write(&log, lines.join("\n") + "\n").unwrap();
            std::panic::catch_unwind(|| check(&log, 2)).ok()
        };
        let good = [&whole[..], &ends].concat();
        assert_eq!(checked(&good), Some(10));
        assert!(is_over(&log, 2));
        for at in 0..good.len() {
            let mut lost = good.clone();
            lost.remove(at);
            assert_eq!(checked(&lost), None, "lost {at}");
            let mut twice = good.clone();
            twice.insert(at, good[at].clone());
            assert_eq!(checked(&twice), None, "twice {at}");
            let mut torn = good.clone();
            torn[at].pop();
            assert_eq!(checked(&torn), None, "torn {at}");
        }
    }
}
