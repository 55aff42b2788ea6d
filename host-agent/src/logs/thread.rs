//! A file thread: one per user, the only kind with a foreign identity. It waits for FIFOs and commands, lets every log that is due
//! have its turn, and rests. When its user's home hangs it hangs, alone.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use tokio::sync::{mpsc, watch};
use zhylon_shared::id::DaemonId;

use super::desk::{BELL, Desk, Identity};
use super::inbox::{Closing, Command, Inbox};
use super::log::{Aside, Log};
use super::{LogEvent, Rules};

/// After a round that moved less than this the thread sleeps for `REST`, so that many small writes become one move.
const BUSY_BYTES: u64 = 256 * 1024;
/// How long.
const REST: Duration = Duration::from_millis(1);
/// Events taken at once; more come in the next round.
const EVENTS_MAX: usize = 256;

/// Starts the thread. `alive` counts the living ones.
///
/// # Errors
/// When the system gives no thread, pipe or descriptor.
pub(super) fn start(
    name: &str,
    identity: Identity,
    inbox: Arc<Inbox>,
    rules: watch::Receiver<Rules>,
    events: mpsc::Sender<LogEvent>,
    alive: Arc<AtomicUsize>,
) -> io::Result<()> {
    // With the agent's identity: a user's pipe pages are limited.
    let mut desk = Desk::new(inbox.bell(), rules)?;
    let alive = Alive::new(alive);
    let body = move || {
        let _alive = alive;
        desk.refusal = identity.assume().err();
        Rounds {
            desk,
            inbox,
            events,
            logs: HashMap::new(),
            due: BTreeSet::new(),
            closing: Closing::Open,
        }
        .run();
    };
    // The kernel keeps 15 bytes of the name.
    thread::Builder::new()
        .name(format!("log-{name}"))
        .spawn(body)
        .map(drop)
}

struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Rounds {
    desk: Desk,
    inbox: Arc<Inbox>,
    events: mpsc::Sender<LogEvent>,
    logs: HashMap<DaemonId, Log>,
    /// When which log wants its next turn. A log that waits for its FIFOs alone is not in it.
    due: BTreeSet<(Instant, DaemonId)>,
    closing: Closing,
}

impl Rounds {
    fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while !self.is_over() {
            if let Err(error) = self.desk.wait(self.timeout().as_ref(), &mut events) {
                tracing::error!(%error, "a log thread cannot wait and ends; its FIFOs fill");
                return;
            }
            self.desk.begin_round();
            for event in &events {
                match event.data.u64() {
                    BELL => self.read_inbox(),
                    token => self.ring(token),
                }
            }
            self.round();
        }
        self.logs.values_mut().for_each(Log::settle);
    }

    fn is_over(&self) -> bool {
        match self.closing {
            Closing::Open => false,
            Closing::WhenEmpty => self.logs.is_empty(),
            Closing::Now => true,
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let (due, _) = self.due.first()?;
        let wait = due.saturating_duration_since(Instant::now());
        // No deadline of ours is too long for it.
        Timespec::try_from(wait).ok()
    }

    fn read_inbox(&mut self) {
        let letters = self.inbox.take();
        for (daemon, bytes) in letters.given_up {
            if let Some(log) = self.logs.get_mut(&daemon) {
                log.given_up(bytes);
            }
        }
        for command in letters.commands {
            let daemon = self.obey(command);
            self.schedule(daemon, self.desk.now);
        }
        self.closing = letters.closing;
    }

    fn obey(&mut self, command: Command) -> DaemonId {
        let (daemon, desk) = (command.daemon(), &mut self.desk);
        let log = self.logs.get_mut(&daemon);
        match (command, log) {
            (Command::Open(_, owner), _) => {
                self.logs.insert(daemon, Log::new(daemon, owner));
            }
            (Command::Inherit(_, estate), Some(log)) => log.inherit(*estate, desk),
            (Command::Inherit(_, estate), None) => estate.give_up(daemon, &mut desk.drained),
            (Command::HandOver(_, to), Some(_)) => {
                if let Some(log) = self.logs.remove(&daemon) {
                    to.push(Command::Inherit(daemon, Box::new(log.hand_over(desk))));
                }
            }
            (Command::Attach(run, fifo), Some(log)) => log.attach(run, fifo, desk),
            (Command::Ended(run), Some(log)) => log.ended(run, desk),
            // Its log is gone, and all there was to drain with it.
            (Command::Ended(run), None) => desk.drained.push(run),
            (Command::Clear(_, answer), Some(log)) => {
                if !answer.is_closed() {
                    // Who asked may have gone meanwhile.
                    let _ = answer.send(log.clear(desk).map_err(io::Error::other));
                }
            }
            (Command::Past(_, number, answer), Some(log)) => {
                // Likewise.
                let _ = answer.try_send(log.past(number).map_err(io::Error::other));
            }
            (Command::Forget(_), Some(log)) => log.forget(),
            (
                Command::HandOver(..)
                | Command::Attach(..)
                | Command::Clear(..)
                | Command::Past(..)
                | Command::Forget(_),
                None,
            ) => {}
        }
        daemon
    }

    fn ring(&mut self, token: u64) {
        if let Some(daemon) = self.desk.daemon(token)
            && let Some(log) = self.logs.get_mut(&daemon)
        {
            log.ring(token);
            self.schedule(daemon, self.desk.now);
        }
    }

    fn schedule(&mut self, daemon: DaemonId, at: Instant) {
        let Some(log) = self.logs.get_mut(&daemon) else {
            return;
        };
        if let Some(before) = log.scheduled {
            if before <= at {
                return;
            }
            self.due.remove(&(before, daemon));
        }
        log.scheduled = Some(at);
        self.due.insert((at, daemon));
    }

    /// Removes the oldest rotated files of the user's logs until all files take `most` bytes, or there are none.
    fn shrink(&self, most: u64) {
        let keep = self.desk.rules.rotation.keep;
        let mut aside: Vec<(Aside, &Log)> = (self.logs.values())
            .flat_map(|log| {
                log.files_aside(keep)
                    .into_iter()
                    .map(move |file| (file, log))
            })
            .collect();
        aside.sort_by_key(|(file, _)| (file.written, file.rotated.number));
        let written: u64 = self.logs.values().map(Log::file_bytes).sum();
        let mut total = aside.iter().map(|(file, _)| file.bytes).sum::<u64>() + written;
        for (file, log) in aside {
            if total <= most {
                break;
            }
            log.remove_if_ours(file.rotated);
            total -= file.bytes;
        }
    }

    /// Every log that is due has one turn.
    fn round(&mut self) {
        let mut due = Vec::new();
        while let Some((at, daemon)) = self.due.first().copied()
            && at <= self.desk.now
        {
            self.due.pop_first();
            due.push(daemon);
        }
        let (mut moved, mut put_aside) = (0, false);
        for daemon in &due {
            let Some(log) = self.logs.get_mut(daemon) else {
                continue;
            };
            log.scheduled = None;
            moved += log.turn(&mut self.desk);
            put_aside |= log.was_put_aside();
            if log.is_over() {
                log.settle();
                self.logs.remove(daemon);
            } else if let Some(next) = log.due(self.desk.now) {
                self.schedule(*daemon, next);
            }
        }
        if put_aside && let Some(most) = self.desk.rules.total_bytes {
            self.shrink(most);
        }
        for run in self.desk.drained.drain(..) {
            // Waits while the supervisor is behind, which never waits for us. An error means that it is gone.
            let _ = self.events.blocking_send(LogEvent::Drained(run));
        }
        for (daemon, why) in self.desk.gaps.drain(..) {
            // It is for people: while the supervisor is behind, the line in the log has to do.
            let _ = self.events.try_send(LogEvent::Gap(daemon, why));
        }
        if !due.is_empty() && moved < BUSY_BYTES {
            thread::sleep(REST);
        }
    }
}
