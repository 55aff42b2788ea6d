//! Whole lines, one instance at a time: who may write how much now.
//!
//! A turn moves what is in a FIFO up to its last line end. What has no line end waits for it, until it is old, or the FIFO is
//! full: then it is moved, and its run keeps the file's end until the line ends or gets a line end from us.

use std::time::{Duration, Instant};

use super::super::desk::Desk;
use super::super::entry::{Kind, Source};
use super::super::home::Unwritable;
use super::super::pipe::{self, Look};
use super::super::steps::step;
use super::Log;

/// A line of which so much is in the file while its end is not in sight gets a line end from us. One whose end is in the FIFO
/// already is left whole: no line is longer than this and what a FIFO holds.
const LINE_MAX: u64 = 1024 * 1024;
/// How long a begun line keeps others waiting. With nobody waiting it may stay open: there is nobody to mix with.
const LINE_AGE: Duration = Duration::from_secs(1);

/// A line in the file that has no end yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenLine {
    pub(super) source: Source,
    /// Since when it keeps the file's end.
    pub(super) since: Instant,
    /// Its length so far.
    pub(super) len: u64,
    /// Its rest will never come: the run is finished, or bytes were dropped.
    pub(super) broken: bool,
}

impl Log {
    /// Serves every FIFO once.
    pub(super) fn serve(&mut self, desk: &mut Desk) -> Result<(), Unwritable> {
        self.finish_exhausted(desk)?;
        if let Some(line) = self.open {
            if let Some(at) = self.feeds.iter().position(|f| f.source() == line.source) {
                self.serve_feed(at, desk)?;
            }
            let ends = |line: OpenLine| line.broken || line.len >= LINE_MAX;
            if self.open.is_some_and(ends) || self.keeps_others_too_long(desk.now) {
                self.end_line(desk)?;
            }
        }
        let count = self.feeds.len();
        for turn in 0..count {
            if self.open.is_some() {
                break;
            }
            self.serve_feed((self.first + turn) % count, desk)?;
        }
        self.first = (self.first + 1) % count.max(1);
        self.finish_exhausted(desk)
    }

    /// When waiting lines want a turn.
    pub(super) fn lines_due(&self, now: Instant) -> Option<Instant> {
        let pieces = self.feeds.iter().filter(|feed| !feed.ready);
        let pieces = pieces.filter_map(super::Feed::piece_due).min();
        let ready = self.feeds.iter().filter(|feed| feed.ready);
        let ready = match self.open {
            Some(line) => ready
                .map(|feed| match feed.source() == line.source {
                    true => now,
                    false => line.since + LINE_AGE,
                })
                .min(),
            None => ready
                .map(|feed| self.held_until(feed, now).unwrap_or(now))
                .min(),
        };
        [pieces, ready].into_iter().flatten().min()
    }

    /// A run that is over and whose FIFO is empty is finished, with its line.
    fn finish_exhausted(&mut self, desk: &mut Desk) -> Result<(), Unwritable> {
        for at in 0..self.feeds.len() {
            if !self.feeds[at].done && self.feeds[at].is_exhausted() {
                let source = self.feeds[at].source();
                self.feeds[at].done = true;
                if let Some(line) = self.open.as_mut().filter(|line| line.source == source) {
                    line.broken = true;
                    self.end_line(desk)?;
                }
            }
        }
        Ok(())
    }

    fn keeps_others_too_long(&mut self, now: Instant) -> bool {
        let Some(line) = self.open else { return false };
        let mut others = false;
        for feed in &mut self.feeds {
            if feed.ready && feed.source() != line.source {
                let waiting = pipe::waiting(&feed.fifo) > 0;
                // One the kernel can not watch is looked at every turn.
                feed.ready = waiting || feed.token.is_none();
                others |= waiting;
            }
        }
        others && now.duration_since(line.since) >= LINE_AGE
    }

    fn held_until(&self, feed: &super::Feed, now: Instant) -> Option<Instant> {
        let before = |other: &super::Feed| !other.done && other.same_slot_before(feed.run);
        feed.held_until(now)
            .filter(|_| self.feeds.iter().any(before))
    }

    fn serve_feed(&mut self, at: usize, desk: &mut Desk) -> Result<(), Unwritable> {
        let feed = &self.feeds[at];
        if !feed.ready || feed.done || self.held_until(feed, desk.now).is_some() {
            return Ok(());
        }
        let look = desk
            .pipes
            .look(&feed.fifo)
            .map_err(|error| Unwritable::by("its FIFO", error))?;
        let take = self.share(at, look, desk.now);
        if take == 0 {
            let feed = &mut self.feeds[at];
            // One that cannot ring is asked again and again.
            feed.ready = feed.token.is_none();
            feed.piece_since = (look.len > 0).then(|| feed.piece_since.unwrap_or(desk.now));
            return Ok(());
        }
        self.move_bytes(at, take, take == look.lines, desk)
    }

    /// How many of the bytes in the FIFO are moved now.
    fn share(&self, at: usize, look: Look, now: Instant) -> usize {
        let feed = &self.feeds[at];
        let left = feed.left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        if look.lines > 0 {
            return look.lines.min(left);
        }
        let begun = self.open.filter(|line| line.source == feed.source());
        let old = feed.piece_due().is_some_and(|due| due <= now);
        if begun.is_some() || look.full || old || feed.left.is_some() {
            let room = LINE_MAX - begun.map_or(0, |line| line.len).min(LINE_MAX);
            look.len
                .min(left)
                .min(usize::try_from(room).unwrap_or(usize::MAX))
        } else {
            0
        }
    }

    fn move_bytes(
        &mut self,
        at: usize,
        len: usize,
        whole: bool,
        desk: &mut Desk,
    ) -> Result<(), Unwritable> {
        self.find_place(desk)?;
        let (source, second) = (self.feeds[at].source(), desk.second);
        let begun = self.open.filter(|line| line.source == source);
        self.indexed(|index| index.intend(Kind::Data, source, second, len as u64))?;
        step("move-intended");
        let (moved, outcome) = self.splice(&self.feeds[at].fifo, len)?;
        step("move-moved");
        let moved_bytes = moved as u64;
        self.indexed(|index| {
            index.moved(moved_bytes);
            Ok(())
        })?;
        self.feeds[at].took(moved_bytes);
        if moved > 0 {
            let ends = match whole && moved == len {
                true => true,
                false => self.file_ends_line()?,
            };
            self.open = (!ends).then(|| OpenLine {
                source,
                since: begun.map_or(desk.now, |line| line.since),
                len: begun.map_or(0, |line| line.len) + moved_bytes,
                broken: false,
            });
        }
        outcome?;
        match self.open {
            Some(line) if line.len >= LINE_MAX => self.end_line(desk),
            _ => Ok(()),
        }
    }
}
