//! Watching daemons: all of a scope, then a bookmark, then every change, the newest state of each.
//!
//! A watch has no task and no queue of states. It remembers per daemon which version it told, and reads a daemon only
//! when its viewer takes the next event: a slow viewer sees fewer, newer states and holds up nobody. Hints say where to
//! look; every [`RESCAN`] it looks everywhere, so a lost hint costs seconds.

mod scope;
mod seen;

use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;
use zhylon_shared::id::DaemonId;

use self::scope::Watched;
use self::seen::{Next, Seen};
use super::{Ctx, DaemonView, Domain, Error};
use crate::bus::Hint;

/// How often a watch looks at everything and asks again whether its caller may watch.
const RESCAN: Duration = Duration::from_secs(5);
/// Shortest time between two looks: what changes in between is told once.
const SETTLE: Duration = Duration::from_millis(100);

/// What a watch tells.
#[derive(Debug)]
pub(crate) enum WatchEvent {
    /// A daemon as it is now.
    Upsert(Box<DaemonView>),
    /// A daemon that is gone.
    Removed(DaemonId),
    /// All daemons were told once.
    Bookmark,
}

/// A viewer's watch.
#[derive(Debug)]
pub(crate) struct Watch {
    domain: Domain,
    ctx: Ctx,
    watched: Watched,
    hints: broadcast::Receiver<Hint>,
    seen: Seen,
    bookmarked: bool,
    looked: Option<Instant>,
    rescan: Instant,
    over: bool,
}

impl Domain {
    /// Watches the daemons of a server or of a team; exactly one of them is named.
    ///
    /// # Errors
    /// [`Error::NotFound`], a broken request.
    pub(crate) async fn watch(&self, ctx: &Ctx, server: &str, team: &str) -> Result<Watch, Error> {
        // Before the first look, so that no change falls between them.
        let hints = self.bus.hints().listen();
        let scope = self.enter_scope(ctx, server, team).await?;
        Ok(Watch {
            domain: self.clone(),
            ctx: ctx.clone(),
            watched: Watched::all_of(scope),
            hints,
            seen: Seen::default(),
            bookmarked: false,
            looked: None,
            rescan: Instant::now() + RESCAN,
            over: false,
        })
    }
}

impl Watch {
    /// The next event; waits for it. `None` after an error.
    pub(crate) async fn next(&mut self) -> Option<Result<WatchEvent, Error>> {
        if self.over {
            return None;
        }
        let event = self.find().await;
        self.over = event.is_err();
        Some(event)
    }

    async fn find(&mut self) -> Result<WatchEvent, Error> {
        loop {
            self.drain_hints();
            self.sort_strangers().await;
            if Instant::now() >= self.rescan {
                self.rescan = Instant::now() + RESCAN;
                self.watched.everything();
                self.watched.ask_again = true;
            }
            if std::mem::take(&mut self.watched.ask_again) {
                self.authorize().await?;
            }
            if self.watched.is_dirty() && self.looked.is_none_or(|at| at.elapsed() >= SETTLE) {
                self.look().await?;
            }
            if let Some(event) = self.tell().await? {
                return Ok(event);
            }
            if !self.bookmarked {
                self.bookmarked = true;
                return Ok(WatchEvent::Bookmark);
            }
            self.wait().await;
        }
    }

    /// Takes the next daemon that changed, as it is now.
    async fn tell(&mut self) -> Result<Option<WatchEvent>, Error> {
        while let Some(next) = self.seen.next() {
            let id = match next {
                Next::Gone(id) => return Ok(Some(WatchEvent::Removed(id))),
                Next::Changed(id) => id,
            };
            match self.domain.store.daemon(id).await? {
                Some(row) => {
                    let connection = self.domain.connection(row.server_id, row.session_epoch);
                    self.seen.told(&row, connection);
                    let view = self.domain.daemon_view(row)?;
                    return Ok(Some(WatchEvent::Upsert(Box::new(view))));
                }
                None => {
                    if self.seen.forget(id) {
                        return Ok(Some(WatchEvent::Removed(id)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Compares what was told with what is there.
    async fn look(&mut self) -> Result<(), Error> {
        self.looked = Some(Instant::now());
        for scope in self.watched.take_dirty() {
            let versions = self.domain.store.daemon_versions(scope).await?;
            let domain = &self.domain;
            let now = versions.into_iter().map(|version| {
                let connection = domain.connection(version.server_id, version.session_epoch);
                (version, connection)
            });
            self.seen.compare(scope, now);
        }
        Ok(())
    }

    async fn wait(&mut self) {
        let mut until = self.rescan;
        if self.watched.is_dirty()
            && let Some(looked) = self.looked
        {
            until = until.min(looked + SETTLE);
        }
        tokio::select! {
            hint = self.hints.recv() => self.heard(hint),
            () = tokio::time::sleep_until(until) => {}
        }
    }

    fn drain_hints(&mut self) {
        loop {
            match self.hints.try_recv() {
                Ok(hint) => self.heard(Ok(hint)),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => {
                    self.heard(Err(RecvError::Lagged(missed)));
                }
                Err(_) => return,
            }
        }
    }

    fn heard(&mut self, hint: Result<Hint, RecvError>) {
        match hint {
            Ok(
                Hint::DaemonChanged { server, .. }
                | Hint::ConnectionChanged(server)
                | Hint::ServerChanged(server),
            ) => self.watched.server(server),
            Ok(Hint::MembershipChanged) => self.watched.ask_again = true,
            Err(RecvError::Lagged(_)) => {
                self.watched.everything();
                self.watched.ask_again = true;
            }
            // The bus lives as long as the domain this watch holds.
            Err(RecvError::Closed) => {}
        }
    }

    /// Finds out whether servers never heard of before are of the watched team.
    async fn sort_strangers(&mut self) {
        while let Some(server) = self.watched.stranger() {
            // What can not be read now is found by the next full look.
            let team = match self.domain.store.server(server).await {
                Ok(row) => row.map(|row| row.team_id),
                Err(_) => None,
            };
            self.watched.sort(server, team);
        }
    }

    /// Whether the caller may still watch.
    async fn authorize(&self) -> Result<(), Error> {
        self.domain.authenticate_again(&self.ctx).await?;
        let (server, team) = self.watched.ids();
        match self.domain.enter_scope(&self.ctx, &server, &team).await {
            Ok(_) => Ok(()),
            Err(Error::NotFound(kind)) if self.watched.exists(&self.domain.store).await? => {
                tracing::debug!(kind, "a watch ends with its caller's membership");
                Err(Error::MembershipEnded)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
