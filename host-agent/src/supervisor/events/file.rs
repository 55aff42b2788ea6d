//! The file of the events that are not acknowledged: appended to as they come, written anew when most of it is over. It
//! needs to survive a kill, not a power cut, so nothing is synced.
//!
//! One line of JSON each: the boot it belongs to, then events and acknowledgements in their order. Only the thread here
//! writes it; a line that was cut off is the last one, and is not believed.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::ring::{EVENTS_MAX, Ring};
use super::{HostEvent, Shared};

/// A longer file is not one of ours: all events there can be, twice over, stay far below it.
const FILE_MAX: u64 = 64 * 1024 * 1024;
/// Lines appended before the file is written anew: enough that this is rare, and some 300 KB at most beside the events.
const LINES_MAX: usize = 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Boot(String),
    Event(HostEvent),
    Acknowledged(u64),
}

/// Puts what a former worker of this boot left into the ring. What can not be read is lost, and said so.
pub(super) fn load(path: &Path, boot_id: &str, ring: &mut Ring) {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(%error, "{} can not be read: events of the past are lost", path.display());
            return;
        }
    };
    let mut lines = BufReader::new(file.take(FILE_MAX)).split(b'\n');
    let mut next = || serde_json::from_slice::<Line>(&lines.next()?.ok()?).ok();
    if !matches!(next(), Some(Line::Boot(boot)) if boot == boot_id) {
        return;
    }
    while let Some(line) = next() {
        match line {
            Line::Event(event) => ring.restore(event),
            Line::Acknowledged(sequence) => ring.acknowledged(sequence),
            Line::Boot(_) => return,
        }
    }
}

/// What is not in the file yet.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) events: Vec<HostEvent>,
    /// Of the ring; above the last of `events` where newer ones were acknowledged before they could be written.
    pub(super) newest: u64,
    pub(super) acknowledged: u64,
}

/// The writing side.
#[derive(Debug)]
pub(super) struct EventsFile {
    path: PathBuf,
    boot_id: String,
    /// `None`: to be written anew.
    file: Option<File>,
    lines: usize,
    /// Up to here everything is in the file.
    written: u64,
    acknowledged: u64,
    /// It could not be written: tried again, as a whole, with the next event.
    broken: bool,
}

impl EventsFile {
    pub(super) fn new(path: &Path, boot_id: &str) -> Self {
        Self {
            path: path.to_owned(),
            boot_id: boot_id.to_owned(),
            file: None,
            lines: 0,
            written: 0,
            acknowledged: 0,
            broken: false,
        }
    }

    /// Writes what comes, and tells repetitions whose time has come. Never returns.
    pub(super) fn keep(mut self, shared: &Shared) {
        loop {
            let news = self.news(shared);
            self.write(shared, &news);
        }
    }

    pub(super) fn write(&mut self, shared: &Shared, news: &News) {
        let written = match &mut self.file {
            Some(_) if self.lines < LINES_MAX => self.append(news),
            _ => self.write_anew(shared),
        };
        self.broken = written.is_err();
        if let Err(error) = written {
            tracing::warn!(%error, "{} can not be written: events would not survive a kill", self.path.display());
            self.file = None;
        }
    }

    /// Waits for something to write.
    pub(super) fn news(&mut self, shared: &Shared) -> News {
        loop {
            let mut ring = shared.lock();
            while self.is_current(&ring) {
                ring = match ring.next_due() {
                    None => shared
                        .changed
                        .wait(ring)
                        .unwrap_or_else(std::sync::PoisonError::into_inner),
                    Some(due) => {
                        let wait = due.saturating_duration_since(Instant::now());
                        if wait.is_zero() {
                            break;
                        }
                        let waited = shared.changed.wait_timeout(ring, wait);
                        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
                    }
                };
            }
            if !self.is_current(&ring) {
                return News {
                    events: ring.after(self.written, EVENTS_MAX),
                    newest: ring.newest(),
                    acknowledged: ring.acknowledged_up_to(),
                };
            }
            drop(ring);
            shared.change(|ring, when| ring.tell_due(when.at));
        }
    }

    /// Whether there is nothing to write, or no use in trying again before something happens.
    pub(super) fn is_current(&self, ring: &Ring) -> bool {
        (self.file.is_some() || self.broken)
            && ring.newest() == self.written
            && ring.acknowledged_up_to() == self.acknowledged
    }

    fn append(&mut self, news: &News) -> io::Result<()> {
        let mut bytes = Vec::new();
        for event in &news.events {
            line(&mut bytes, &Line::Event(event.clone()))?;
        }
        self.lines += news.events.len();
        if news.acknowledged != self.acknowledged {
            line(&mut bytes, &Line::Acknowledged(news.acknowledged))?;
            self.lines += 1;
        }
        self.written = news.newest;
        self.acknowledged = news.acknowledged;
        match &mut self.file {
            Some(file) => file.write_all(&bytes),
            None => Ok(()),
        }
    }

    fn write_anew(&mut self, shared: &Shared) -> io::Result<()> {
        let events = {
            let ring = shared.lock();
            self.written = ring.newest();
            self.acknowledged = ring.acknowledged_up_to();
            ring.after(0, EVENTS_MAX)
        };
        let mut bytes = Vec::new();
        line(&mut bytes, &Line::Boot(self.boot_id.clone()))?;
        for event in events {
            line(&mut bytes, &Line::Event(event))?;
        }
        let temporary = self.path.with_extension("tmp");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&bytes)?;
        std::fs::rename(&temporary, &self.path)?;
        self.lines = 0;
        self.file = Some(file);
        Ok(())
    }
}

fn line(bytes: &mut Vec<u8>, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *bytes, line)?;
    bytes.push(b'\n');
    Ok(())
}
