//! Older segments, for readers: only the user's own file thread may open a file in that home, so it is asked, and waited for.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};

use zhylon_shared::id::DaemonId;

use super::inbox::Command;
use super::registry::Room;
use super::segment::Segment;
use super::{READER_PATIENCE, home_is_silent};

/// Where one reader gets segments from that it has not held since they were written.
#[derive(Debug)]
pub(super) struct Past {
    /// Weak: a reader keeps no agent from ending.
    room: Weak<Room>,
    daemon: DaemonId,
    /// The newest answer: a reader stays in a segment for long.
    answer: Option<(u32, Option<Arc<Segment>>)>,
}

impl Past {
    pub(super) fn new(room: &Arc<Room>, daemon: DaemonId) -> Self {
        Self {
            room: Arc::downgrade(room),
            daemon,
            answer: None,
        }
    }

    /// Of a log that no thread has.
    #[cfg(any(test, fuzzing))]
    pub(super) fn nowhere() -> Self {
        Self {
            room: Weak::new(),
            daemon: DaemonId::from_bare("H3hxDfKZE0mHsxTqwN").unwrap_or_else(|_| unreachable!()),
            answer: None,
        }
    }

    /// Segment `number`; `None` if its bytes are in no file any more. Waits for the user's home.
    ///
    /// # Errors
    /// When the home does not answer in time, or the file there is not to be trusted.
    pub(super) fn segment(&mut self, number: u32) -> io::Result<Option<Arc<Segment>>> {
        if let Some((known, segment)) = &self.answer
            && *known == number
        {
            return Ok(segment.clone());
        }
        let (answer, answered) = sync_channel(1);
        let Some(room) = self.room.upgrade() else {
            return Err(ending());
        };
        match room.registry().logs.get(&self.daemon) {
            Some(known) => (known.inbox).push(Command::Past(self.daemon, number, answer)),
            // Forgotten meanwhile.
            None => return Ok(None),
        }
        let segment = match answered.recv_timeout(READER_PATIENCE) {
            Ok(answer) => answer?,
            Err(RecvTimeoutError::Timeout) => return Err(home_is_silent()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(ending());
            }
        };
        self.answer = Some((number, segment.clone()));
        Ok(segment)
    }
}

fn ending() -> io::Error {
    io::Error::other("the log's thread has too much to do, or ends")
}
