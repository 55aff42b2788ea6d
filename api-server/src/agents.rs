//! The agents connected to this process: one session per server, and the two watchers that tell a session when to look
//! at the database again (hints at once, a sweep every few seconds for hints that were lost).
//!
//! Knows frames, not transports: `grpc/agent.rs` brings the streams. Holds no facts about servers beyond what their
//! streams said; those lie in the store.

mod dates;
mod feed;
mod renewal;
mod session;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, broadcast, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zhylon_shared::id::ServerId;

pub(crate) use renewal::renew;
pub(crate) use session::serve;

use crate::bus::Hint;
use crate::bus::log_broker::LogBroker;
use crate::domain::{Domain, KeyHash};

/// How often the database is asked, once for all agents, whose revision has risen: what a lost hint costs.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why a certificate is not good, as its agent's host shows it.
const DELETED: &str = "the server was deleted";
const REVOKED: &str = "the server's identity was revoked; a new enrolment gives it another one";
const SUPERSEDED: &str = "this certificate was followed by a newer one: another host has this server's identity, or this one was \
                          restored from an old copy; a new enrolment puts it right";

/// All sessions of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Agents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    domain: Domain,
    logs: LogBroker,
    heartbeat: Duration,
    /// One entry per server with a live session.
    sessions: Mutex<HashMap<ServerId, Entry>>,
    /// When the sweep last read the database: what heartbeats tell, so that silence is not mistaken for health.
    last_read: Mutex<SystemTime>,
    sweep_now: Notify,
    draining: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Entry {
    session_epoch: i64,
    /// Whose certificate opened it.
    key: KeyHash,
    /// What it should run may have changed: look.
    poke: Arc<Notify>,
    /// The server's revision as the session last read it.
    revision: Arc<AtomicI64>,
    superseded: watch::Sender<bool>,
}

/// A session's place. Given back when dropped: presence and log stream end with it.
#[derive(Debug)]
struct Seat {
    agents: Agents,
    server: ServerId,
    session_epoch: i64,
    poke: Arc<Notify>,
    revision: Arc<AtomicI64>,
    superseded: watch::Receiver<bool>,
    /// The server was deleted: there is no presence to remember.
    revoked: bool,
}

impl Agents {
    /// Without any session. `heartbeat`: how often both ends send a sign of life.
    pub(crate) fn new(
        domain: Domain,
        logs: LogBroker,
        heartbeat: Duration,
        tasks: TaskTracker,
    ) -> Self {
        let now = domain.clock().wall();
        Self(Arc::new(Inner {
            domain,
            logs,
            heartbeat,
            sessions: Mutex::default(),
            last_read: Mutex::new(now),
            sweep_now: Notify::new(),
            draining: CancellationToken::new(),
            tasks,
        }))
    }

    /// Where log streams are found.
    pub(crate) fn logs(&self) -> &LogBroker {
        &self.0.logs
    }

    /// The rules.
    pub(crate) fn domain(&self) -> &Domain {
        &self.0.domain
    }

    /// The tasks sessions and streams run on.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Whether the server's live session has this epoch, and showed a certificate of this key: epochs can be guessed, and a
    /// certificate that was followed by a newer one opens no session but may still know the way.
    pub(crate) fn is_current(&self, server: ServerId, session_epoch: i64, key: &KeyHash) -> bool {
        self.sessions()
            .get(&server)
            .is_some_and(|entry| entry.session_epoch == session_epoch && entry.key == *key)
    }

    /// Asks all agents to connect again, to another replica or to the next process; no session is accepted any more.
    pub(crate) fn drain(&self) {
        self.0.draining.cancel();
    }

    /// Watches hints and database until `stop`.
    pub(crate) fn start(&self, stop: &CancellationToken) {
        let (agents, stop_hints) = (self.clone(), stop.clone());
        let hints = self.0.domain.bus().hints().listen();
        self.0.tasks.spawn(async move {
            stop_hints
                .run_until_cancelled(agents.follow_hints(hints))
                .await
        });
        let (agents, stop) = (self.clone(), stop.clone());
        self.0
            .tasks
            .spawn(async move { stop.run_until_cancelled(agents.sweep_forever()).await });
    }

    async fn follow_hints(self, mut hints: broadcast::Receiver<Hint>) {
        loop {
            match hints.recv().await {
                Ok(Hint::ServerChanged(server)) => {
                    if let Some(entry) = self.sessions().get(&server) {
                        entry.poke.notify_one();
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => self.0.sweep_now.notify_one(),
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    async fn sweep_forever(self) {
        let mut tick = tokio::time::interval(SWEEP_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.0.sweep_now.notified() => {}
            }
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "can not read the revisions of connected servers");
            }
        }
    }

    async fn sweep(&self) -> Result<(), crate::domain::Error> {
        let known: Vec<_> = self
            .sessions()
            .iter()
            .map(|(server, entry)| (*server, entry.revision.load(Ordering::Relaxed)))
            .collect();
        let now = self.0.domain.clock().wall();
        if !known.is_empty() {
            // Newer, or gone: the session looks for itself and finds out.
            for (server, _) in self.0.domain.revisions_behind(&known).await? {
                if let Some(entry) = self.sessions().get(&server) {
                    entry.poke.notify_one();
                }
            }
        }
        *lock(&self.0.last_read) = now;
        Ok(())
    }

    /// Takes the server's place; the session that had it ends with SUPERSEDED. `None` when a newer one has it.
    fn enter(
        &self,
        server: ServerId,
        key: KeyHash,
        session_epoch: i64,
        revision: i64,
    ) -> Option<Seat> {
        let (poke, revision) = (Arc::default(), Arc::new(AtomicI64::new(revision)));
        let (superseded, seat_superseded) = watch::channel(false);
        let entry = Entry {
            session_epoch,
            key,
            poke: Arc::clone(&poke),
            revision: Arc::clone(&revision),
            superseded,
        };
        {
            let mut sessions = self.sessions();
            if sessions
                .get(&server)
                .is_some_and(|there| there.session_epoch >= session_epoch)
            {
                return None;
            }
            if let Some(older) = sessions.insert(server, entry) {
                older.superseded.send_replace(true);
            }
        }
        self.0
            .domain
            .bus()
            .presence()
            .connected(server, session_epoch);
        Some(Seat {
            agents: self.clone(),
            server,
            session_epoch,
            poke,
            revision,
            superseded: seat_superseded,
            revoked: false,
        })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<ServerId, Entry>> {
        lock(&self.0.sessions)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let ours = {
            let mut sessions = self.agents.sessions();
            let ours = sessions
                .get(&self.server)
                .is_some_and(|entry| entry.session_epoch == self.session_epoch);
            if ours {
                sessions.remove(&self.server);
            }
            ours
        };
        self.agents
            .logs()
            .end_session(self.server, self.session_epoch);
        let presence = self.agents.0.domain.bus().presence();
        if self.revoked && ours {
            presence.forget(self.server);
        } else {
            presence.lost(self.server, self.session_epoch);
        }
    }
}

/// A panic while one of these locks was held can not leave its value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
