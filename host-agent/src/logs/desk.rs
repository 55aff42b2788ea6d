//! What a file thread works with: its identity, its ear (epoll), its clocks, its tools.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use host_agent_engine::input::Run;
use host_agent_sys::identity::assume_fs_identity;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use tokio::sync::watch;
use zhylon_shared::id::DaemonId;

use super::pipe::Pipes;
use super::registry::THREADS_MAX;
use super::{Owner, Rules};

/// Epoll's word for the inbox. Tokens of FIFOs count from 1.
pub(super) const BELL: u64 = 0;

/// Whose thread it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// This user's.
    User {
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
    },
    /// Nobody's: there are too many users. It touches no file of theirs, only drops and counts.
    Nobody,
}

impl Identity {
    pub(super) fn of(owner: &Owner) -> Self {
        Self::User {
            uid: owner.uid,
            gid: owner.gid,
            groups: owner.groups.clone(),
        }
    }

    /// Makes it the calling thread's, for good; else says why no file may be touched.
    pub(super) fn assume(&self) -> Result<(), String> {
        match self {
            Self::User { uid, gid, groups } => assume_fs_identity(*uid, *gid, groups)
                .map_err(|error| format!("take the file identity of uid {uid}: {error}")),
            Self::Nobody => Err(format!("more than {THREADS_MAX} users have daemons here")),
        }
    }
}

/// What every log of a thread works with.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) pipes: Pipes,
    /// The host's rules, of this round.
    pub(super) rules: Rules,
    newest_rules: watch::Receiver<Rules>,
    epoll: OwnedFd,
    tokens: HashMap<u64, DaemonId>,
    last_token: u64,
    /// Why no file may be touched.
    pub(super) refusal: Option<String>,
    /// Time of this round.
    pub(super) now: Instant,
    /// The same by the wall clock: Unix seconds.
    pub(super) second: i64,
    /// Runs that are finished; announced at the end of the round.
    pub(super) drained: Vec<Run>,
    /// Daemons whose output began to be lost, with the reason; announced likewise.
    pub(super) gaps: Vec<(DaemonId, String)>,
}

impl Desk {
    /// `bell` rings with token [`BELL`].
    pub(super) fn new(bell: &OwnedFd, newest_rules: watch::Receiver<Rules>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let token = epoll::EventData::new_u64(BELL);
        epoll::add(&epoll, bell, token, epoll::EventFlags::IN)?;
        let rules = *newest_rules.borrow();
        Ok(Self {
            pipes: Pipes::new()?,
            rules,
            newest_rules,
            epoll,
            tokens: HashMap::new(),
            last_token: BELL,
            refusal: None,
            now: Instant::now(),
            second: 0,
            drained: Vec::new(),
            gaps: Vec::new(),
        })
    }

    /// Waits for bells: their tokens.
    pub(super) fn wait(
        &self,
        timeout: Option<&Timespec>,
        events: &mut Vec<epoll::Event>,
    ) -> rustix::io::Result<()> {
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(events), timeout) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whose FIFO rings.
    pub(super) fn daemon(&self, token: u64) -> Option<DaemonId> {
        self.tokens.get(&token).copied()
    }

    /// Watches a FIFO: every write rings once. So does the last writer's leaving, and then it is quiet.
    pub(super) fn watch(&mut self, daemon: DaemonId, fifo: &OwnedFd) -> io::Result<u64> {
        let token = self.last_token + 1;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&self.epoll, fifo, epoll::EventData::new_u64(token), flags)?;
        self.last_token = token;
        self.tokens.insert(token, daemon);
        Ok(token)
    }

    /// The keeper has the same open FIFO: closing ours would not end the watch.
    pub(super) fn unwatch(&mut self, token: u64, fifo: &OwnedFd) {
        if self.tokens.remove(&token).is_some() {
            // It is watched, so this cannot fail; should it, its events find no log.
            let _ = epoll::delete(&self.epoll, fifo);
        }
    }

    /// What is true in this round: time and rules.
    pub(super) fn begin_round(&mut self) {
        self.rules = *self.newest_rules.borrow();
        self.now = Instant::now();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.second = since.map_or(0, |since| since.as_secs().cast_signed());
    }
}
