//! What a log consists of apart from its place, and the part of it that readers see.

use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

use host_agent_engine::input::Run;
use tokio::sync::watch;
use zhylon_shared::id::DaemonId;

use super::super::home::Unwritable;
use super::super::index::Index;
use super::super::segment::{Published, Segment};
use super::feed::Feed;

/// The index of a log, and where its readers look.
#[derive(Debug)]
pub(in crate::logs) struct Book {
    /// The index file, until it could be locked and loaded.
    unread: Option<File>,
    pub(super) index: Option<Index>,
    publisher: watch::Sender<Published>,
}

impl Book {
    pub(in crate::logs) fn new(file: File, publisher: watch::Sender<Published>) -> Self {
        Self {
            unread: Some(file),
            index: None,
            publisher,
        }
    }

    /// Takes over the index, once.
    pub(super) fn load(&mut self, daemon: &DaemonId) -> Result<(), Unwritable> {
        let Some(file) = &self.unread else {
            return Ok(());
        };
        let file = file.try_clone();
        let index = file.and_then(|file| Index::load(file, daemon));
        self.index = Some(index.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => Unwritable::new("an agent that was killed still writes it"),
            _ => Unwritable::by("its index", error),
        })?);
        self.unread = None;
        Ok(())
    }

    /// Shows readers what is in its place.
    pub(super) fn publish(&self, segments: Arc<[Arc<Segment>]>) {
        let Some(index) = &self.index else { return };
        let (position, entries) = (index.state().position, index.published_entries());
        self.publisher.send_if_modified(|shown| {
            let same = shown.ready
                && (shown.position, shown.entries) == (position, entries)
                && Arc::ptr_eq(&shown.segments, &segments);
            if !same {
                *shown = Published {
                    ready: true,
                    position,
                    entries,
                    segments,
                };
            }
            !same
        });
    }
}

/// What a log consists of apart from its place: what one thread hands to another.
#[derive(Debug, Default)]
pub(in crate::logs) struct Estate {
    /// `None` while the index cannot be opened.
    pub(super) book: Option<Book>,
    pub(super) feeds: Vec<Feed>,
    /// Dropped bytes that no index entry tells of yet.
    pub(super) unrecorded: u64,
}

impl Estate {
    pub(in crate::logs) fn new(book: Option<Book>) -> Self {
        Self {
            book,
            ..Self::default()
        }
    }

    /// Nobody wants it: its runs count as drained.
    pub(in crate::logs) fn give_up(self, daemon: DaemonId, drained: &mut Vec<Run>) {
        if !self.feeds.is_empty() {
            tracing::error!(%daemon, "a log changed hands twice at once: output is dropped");
        }
        drained.extend(self.feeds.iter().map(|feed| feed.run));
    }
}
