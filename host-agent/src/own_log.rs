//! The agent's own newest log lines, in memory: what `supervisorctl maintail` shows where Supervisor has a log file. The
//! real log is the system's (stderr); this is a copy of its end, and gone with the worker.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Bytes kept: some hundred lines, what a person reads before turning to the system's log.
const KEPT_MAX: usize = 64 * 1024;

static KEPT: LazyLock<OwnLog> = LazyLock::new(OwnLog::default);

/// Where this process keeps its newest lines. One per process, as its log is.
pub(crate) fn kept() -> OwnLog {
    KEPT.clone()
}

/// The newest lines. Positions count all bytes there ever were.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnLog(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lines: Mutex<VecDeque<u8>>,
    end: watch::Sender<u64>,
}

impl OwnLog {
    /// Tells who follows that there is more.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.end.subscribe()
    }

    /// Position behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        *self.0.end.borrow()
    }

    /// What is kept from `position` on, at most `most` bytes, and where it really begins.
    pub(crate) fn read(&self, position: u64, most: usize) -> (u64, Vec<u8>) {
        let lines = self.lines();
        let begin = self.end() - lines.len() as u64;
        let from = position.max(begin);
        let skip = usize::try_from(from - begin).unwrap_or(usize::MAX);
        (from, lines.iter().skip(skip).take(most).copied().collect())
    }

    /// The last `most` bytes.
    pub(crate) fn last(&self, most: usize) -> Vec<u8> {
        let lines = self.lines();
        let skip = lines.len().saturating_sub(most);
        lines.iter().skip(skip).copied().collect()
    }

    /// Forgets all of it.
    pub(crate) fn clear(&self) {
        self.lines().clear();
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what is written; whole lines are given up from the beginning.
impl io::Write for OwnLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines();
        lines.extend(bytes);
        let excess = lines.len().saturating_sub(KEPT_MAX);
        if excess > 0 {
            let rest = lines.iter().skip(excess - 1);
            let line = rest.take_while(|byte| **byte != b'\n').count();
            let through = (excess + line).min(lines.len());
            lines.drain(..through);
        }
        // Under the lock, so that end and lines belong together for who has it.
        self.0.end.send_modify(|end| *end += bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn keeps_the_newest_whole_lines() {
        let mut log = OwnLog::default();
        for number in 0..20_000 {
            writeln!(log, "line {number}").unwrap();
        }
        let kept = log.last(usize::MAX);
        assert!(kept.len() <= KEPT_MAX && kept.len() > KEPT_MAX - 20);
        let text = String::from_utf8(kept.clone()).unwrap();
        assert!(text.starts_with("line 1") && text.ends_with("line 19999\n"));
        let begin = log.end() - kept.len() as u64;
        assert_eq!(log.read(0, 5), (begin, b"line ".to_vec()));
        assert_eq!(
            log.read(log.end() - 6, 99),
            (log.end() - 6, b"19999\n".to_vec())
        );
        assert_eq!(log.read(log.end(), 99), (log.end(), Vec::new()));
        assert_eq!(log.last(6), b"19999\n");
        log.clear();
        assert_eq!(log.read(0, 99), (log.end(), Vec::new()));
        writeln!(log, "new").unwrap();
        assert_eq!(log.last(99), b"new\n");
    }

    #[test]
    fn a_line_that_is_too_long_goes_whole() {
        let mut log = OwnLog::default();
        log.write_all(&vec![b'x'; KEPT_MAX + 1]).unwrap();
        assert_eq!(log.last(9), b"");
        log.write_all(b"\nafter\n").unwrap();
        assert_eq!(log.last(9), b"\nafter\n");
        assert_eq!(log.end(), KEPT_MAX as u64 + 8);
    }
}
