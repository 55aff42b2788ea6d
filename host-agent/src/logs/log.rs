//! One daemon's log: its FIFOs, its file, its index. Its thread gives it a turn whenever something may have changed; between turns
//! it holds nothing back. It never waits, except where the user's home makes a file call wait.

mod clear;
mod estate;
mod feed;
mod lines;
mod place;
mod relief;
mod rotate;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use host_agent_engine::input::Run;
use zhylon_shared::id::DaemonId;
use zhylon_shared::name;

pub(super) use self::estate::{Book, Estate};
use self::feed::Feed;
use self::lines::OpenLine;
use self::place::Place;
use self::relief::Trouble;
pub(super) use self::rotate::Aside;
use super::Owner;
use super::desk::Desk;
use super::entry::{Kind, Source};
use super::home::Unwritable;
use super::index::Index;

/// How long after the last move the index is told that nothing is under way.
const SETTLE: Duration = Duration::from_millis(50);

/// One daemon's log.
#[derive(Debug)]
pub(super) struct Log {
    daemon: DaemonId,
    owner: Owner,
    name: String,
    /// When its next turn is; its thread keeps it.
    pub(super) scheduled: Option<Instant>,
    book: Option<Book>,
    /// Whether its estate came; until then it may still come.
    inherited: bool,
    place: Place,
    feeds: Vec<Feed>,
    /// Whose turn comes first, so that nobody always comes last.
    first: usize,
    /// The line that is begun in the file: nobody else writes before it ends.
    open: Option<OpenLine>,
    trouble: Option<Trouble>,
    /// Dropped bytes that no index entry tells of yet.
    unrecorded: u64,
    /// Runs that ended before their FIFO came with the estate.
    ended_early: Vec<Run>,
    /// The file could not be rotated; not tried again before.
    rotate_after: Option<Instant>,
    /// A file was put aside: the user's logs may take too much now.
    put_aside: bool,
    forgotten: bool,
}

impl Log {
    pub(super) fn new(daemon: DaemonId, owner: Owner) -> Self {
        Self {
            daemon,
            owner,
            name: name::log_file(&daemon),
            scheduled: None,
            book: None,
            inherited: false,
            place: Place::default(),
            feeds: Vec::new(),
            first: 0,
            open: None,
            trouble: None,
            unrecorded: 0,
            ended_early: Vec::new(),
            rotate_after: None,
            put_aside: false,
            forgotten: false,
        }
    }

    pub(super) fn inherit(&mut self, estate: Estate, desk: &mut Desk) {
        self.inherited = true;
        self.trouble = None;
        if estate.book.is_some() {
            self.book = estate.book;
        }
        self.unrecorded += estate.unrecorded;
        for feed in estate.feeds {
            self.add(feed, desk);
        }
        for run in std::mem::take(&mut self.ended_early) {
            self.ended(run, desk);
        }
    }

    /// Leaves the place as it should be left, if it can.
    pub(super) fn hand_over(mut self, desk: &mut Desk) -> Estate {
        if self.open.is_some() && self.trouble.is_none() {
            let closed = self.end_line(desk);
            self.note(closed.err(), desk);
        }
        for feed in &mut self.feeds {
            feed.unwatch(desk);
        }
        Estate {
            book: self.book,
            feeds: self.feeds,
            unrecorded: self.unrecorded,
        }
    }

    pub(super) fn attach(&mut self, run: Run, fifo: OwnedFd, desk: &mut Desk) {
        if self.feeds.iter().all(|feed| feed.run != run) {
            let older = self.feeds.iter().any(|feed| feed.same_slot_before(run));
            self.add(Feed::new(run, fifo, older.then_some(desk.now)), desk);
        }
    }

    pub(super) fn ended(&mut self, run: Run, desk: &mut Desk) {
        match self.feeds.iter_mut().find(|feed| feed.run == run) {
            Some(feed) => feed.end(),
            None if !self.inherited => self.ended_early.push(run),
            // Never attached, or finished already.
            None => desk.drained.push(run),
        }
    }

    pub(super) fn forget(&mut self) {
        self.forgotten = true;
        self.feeds.iter_mut().for_each(Feed::end);
    }

    pub(super) fn given_up(&mut self, bytes: u64) {
        self.unrecorded += bytes;
    }

    /// The FIFO with this token may have something.
    pub(super) fn ring(&mut self, token: u64) {
        for feed in &mut self.feeds {
            feed.ready |= feed.token == Some(token);
        }
    }

    /// Whether it can go: forgotten, and nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        self.forgotten && self.inherited && self.feeds.is_empty()
    }

    /// Whether everything of every run is moved or counted.
    #[cfg(any(test, fuzzing))]
    pub(super) fn has_no_feeds(&self) -> bool {
        self.feeds.is_empty()
    }

    /// Moves what can be moved now; says how many bytes.
    pub(super) fn turn(&mut self, desk: &mut Desk) -> u64 {
        // What it will work with is on its way to it.
        if !self.inherited {
            return 0;
        }
        let before = self.position();
        for feed in &mut self.feeds {
            feed.look_at_clock(desk.now);
        }
        if self.trouble.as_ref().is_none_or(|t| t.retry_at <= desk.now) {
            let outcome = self.work(desk);
            self.note(outcome.err(), desk);
        }
        if self.trouble.is_some() {
            self.relieve(desk);
        }
        self.sweep(desk);
        let moved = self.position().saturating_sub(before);
        if moved == 0 {
            self.settle();
        }
        self.publish();
        moved
    }

    fn publish(&self) {
        if let Some(book) = &self.book {
            book.publish(self.place.segments());
        }
    }

    /// Leaves word that nothing is under way.
    pub(super) fn settle(&mut self) {
        if let Some(index) = self.index_mut()
            && index.is_unsettled()
        {
            // Should it fail, the next move says it anyway.
            let _ = index.settle();
        }
    }

    /// When it wants its next turn though no FIFO rings.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let settle = self.index().filter(|index| index.is_unsettled());
        let settle = settle.map(|_| now + SETTLE);
        if let Some(trouble) = &self.trouble {
            return [settle, Some(self.relief_due(trouble, now))]
                .into_iter()
                .flatten()
                .min();
        }
        let lines = self.lines_due(now);
        [settle, lines].into_iter().flatten().min()
    }

    fn work(&mut self, desk: &mut Desk) -> Result<(), Unwritable> {
        self.look(desk)?;
        self.record_dropped(desk)?;
        self.serve(desk)
    }

    /// Makes sure that index and file (if it is there) were taken over.
    fn look(&mut self, desk: &Desk) -> Result<(), Unwritable> {
        let Some(book) = &mut self.book else {
            return Err(Unwritable::new("its index could not be opened"));
        };
        book.load(&self.daemon)?;
        self.look_for_file(desk)
    }

    /// Writes down bytes that were dropped while nothing could be written down.
    fn record_dropped(&mut self, desk: &Desk) -> Result<(), Unwritable> {
        let (bytes, second) = (self.unrecorded, desk.second);
        if bytes > 0 {
            let source = Source {
                instance: 0,
                generation: 0,
            };
            self.indexed(|index| index.dropped(source, second, bytes))?;
            self.unrecorded = 0;
        }
        Ok(())
    }

    fn index(&self) -> Option<&Index> {
        self.book.as_ref()?.index.as_ref()
    }

    fn index_mut(&mut self) -> Option<&mut Index> {
        self.book.as_mut()?.index.as_mut()
    }

    fn indexed<T>(
        &mut self,
        act: impl FnOnce(&mut Index) -> std::io::Result<T>,
    ) -> Result<T, Unwritable> {
        let index = self
            .index_mut()
            .ok_or_else(|| Unwritable::new("its index is not there"))?;
        act(index).map_err(|error| Unwritable::by("its index", error))
    }

    /// A line end of ours, flagged as such: the begun line goes no further.
    fn end_line(&mut self, desk: &mut Desk) -> Result<(), Unwritable> {
        let Some(source) = self.open.as_ref().map(|line| line.source) else {
            return Ok(());
        };
        let second = desk.second;
        self.find_place(desk)?;
        // Cut away, or left behind in another file, meanwhile.
        if self.open.is_some() {
            self.indexed(|index| index.intend(Kind::Newline, source, second, 1))?;
            self.put_newline()?;
            self.indexed(|index| {
                index.moved(1);
                Ok(())
            })?;
            self.open = None;
        }
        Ok(())
    }

    fn add(&mut self, mut feed: Feed, desk: &mut Desk) {
        if let Err(error) = feed.watch(self.daemon, desk) {
            // Without a bell it is asked every round.
            tracing::error!(daemon = %self.daemon, %error, "a log FIFO cannot be watched");
        }
        if self.forgotten {
            feed.end();
        }
        self.feeds.push(feed);
    }

    /// Lets go of finished FIFOs.
    fn sweep(&mut self, desk: &mut Desk) {
        for feed in self.feeds.iter_mut().filter(|feed| feed.done) {
            feed.unwatch(desk);
            desk.drained.push(feed.run);
        }
        self.feeds.retain(|feed| !feed.done);
    }

    pub(super) fn position(&self) -> u64 {
        self.index().map_or(0, |index| index.state().position)
    }
}
