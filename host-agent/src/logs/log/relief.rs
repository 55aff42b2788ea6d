//! What happens while a log cannot be written: bytes wait in their FIFOs, and when a FIFO is full they are dropped and counted, so
//! that no daemon stands still because of its log. Where the host rather wants it to ([`WhenFull::Block`]), and there is no room,
//! nothing of a run that lives is dropped.

use std::time::{Duration, Instant};

use super::super::desk::Desk;
use super::super::entry::Source;
use super::super::home::{self, Unwritable};
use super::super::pipe;
use super::super::rules::WhenFull;
use super::Log;

/// How long until the next attempt.
const RETRY: Duration = Duration::from_secs(1);
/// The same while there is no room: that is a cheap question, and a FIFO fills quickly.
const RETRY_ROOM: Duration = Duration::from_millis(200);
/// The same while the index is locked: an agent that was killed lets go within a moment, if it can.
const RETRY_LOCK: Duration = Duration::from_millis(50);
/// How often FIFOs that have something are looked at meanwhile: a writer that fills one in a single write rings no bell.
const LOOK: Duration = Duration::from_millis(100);
/// Runs that are over and wait for the file; each holds a FIFO. Of more (a crash loop before a locked door) the oldest are
/// dropped.
const ENDED_MAX: usize = 64;

/// Why nothing is written.
#[derive(Debug)]
pub(super) struct Trouble {
    reason: Unwritable,
    pub(super) retry_at: Instant,
    /// Bytes dropped since it began.
    dropped: u64,
}

impl Log {
    /// Remembers (and says, once) that the log cannot be written, or that it can again.
    pub(super) fn note(&mut self, trouble: Option<Unwritable>, desk: &Desk) {
        let before = self.trouble.take();
        let Some(reason) = trouble else {
            if let Some(before) = before {
                let dropped = before.dropped;
                tracing::info!(daemon = %self.daemon, dropped, "the log is written again");
            }
            return;
        };
        if before.as_ref().is_none_or(|before| before.reason != reason) {
            tracing::warn!(
                daemon = %self.daemon,
                file = %home::path(&self.owner, &self.name).display(),
                %reason,
                "the log cannot be written; output waits, {}",
                match reason.no_room && desk.rules.when_full == WhenFull::Block {
                    true => "and then its daemon does",
                    false => "and is dropped when its FIFO is full",
                }
            );
        }
        let retry = match self.book.as_ref().is_some_and(|book| book.index.is_none()) {
            true => RETRY_LOCK,
            false if reason.no_room => RETRY_ROOM,
            false => RETRY,
        };
        self.trouble = Some(Trouble {
            reason,
            retry_at: desk.now + retry,
            dropped: before.map_or(0, |before| before.dropped),
        });
    }

    pub(super) fn relief_due(&self, trouble: &Trouble, now: Instant) -> Instant {
        let waits = |feed: &super::Feed| pipe::waiting(&feed.fifo) > 0;
        match self.feeds.iter().any(waits) {
            true => trouble.retry_at.min(now + LOOK),
            false => trouble.retry_at,
        }
    }

    /// Drops what can wait no longer.
    pub(super) fn relieve(&mut self, desk: &mut Desk) {
        let no_room = self.trouble.as_ref().is_some_and(|it| it.reason.no_room);
        let may_wait = no_room && desk.rules.when_full == WhenFull::Block;
        let ended = self.feeds.iter().filter(|feed| feed.left.is_some()).count();
        let mut excess = ended.saturating_sub(ENDED_MAX);
        for at in 0..self.feeds.len() {
            // The next attempt looks at all of them.
            self.feeds[at].ready = true;
            if self.feeds[at].left.is_some() {
                let give_up = self.forgotten || excess > 0;
                excess = excess.saturating_sub(1);
                if give_up {
                    let left = self.feeds[at].left.unwrap_or(0);
                    self.drop_bytes(at, left.min(pipe::waiting(&self.feeds[at].fifo)), desk);
                }
                if give_up || self.feeds[at].is_exhausted() {
                    self.feeds[at].done = true;
                    self.break_line(self.feeds[at].source());
                }
                continue;
            }
            if may_wait {
                continue;
            }
            match desk.pipes.look(&self.feeds[at].fifo) {
                Ok(look) if look.full => {
                    let whole = if look.lines > 0 { look.lines } else { look.len };
                    self.drop_bytes(at, whole as u64, desk);
                }
                // Not even looking works: the writer waits.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Counts, then drops: a kill in between counts too much, never too little.
    fn drop_bytes(&mut self, at: usize, bytes: u64, desk: &mut Desk) {
        if bytes == 0 {
            return;
        }
        let (source, second) = (self.feeds[at].source(), desk.second);
        // While a move of an earlier life is unresolved, its bytes come first in the stream.
        let resolved = self.index().is_some_and(|index| index.state().moving == 0);
        let told = resolved
            && self
                .index_mut()
                .is_some_and(|index| index.dropped(source, second, bytes).is_ok());
        if !told {
            self.unrecorded += bytes;
        }
        if let Some(trouble) = &mut self.trouble {
            if trouble.dropped == 0 {
                desk.gaps.push((self.daemon, trouble.reason.to_string()));
            }
            trouble.dropped += bytes;
        }
        let len = usize::try_from(bytes).unwrap_or(usize::MAX);
        // What somebody else read from its own FIFO in between is gone as well.
        let _ = desk.pipes.discard(&self.feeds[at].fifo, len);
        self.feeds[at].took(bytes);
        self.break_line(source);
    }

    fn break_line(&mut self, source: Source) {
        if let Some(line) = self.open.as_mut().filter(|line| line.source == source) {
            line.broken = true;
        }
    }
}
