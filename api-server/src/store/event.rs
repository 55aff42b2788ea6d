//! What happened to daemons: written with the change they tell of, or once per (server, boot, sequence) as hosts tell
//! them; bounded per daemon by number and by age. Every writer has locked the server's row before, so a daemon's events
//! are counted without gaps or twins.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, SystemTime};

use zhylon_shared::id::{DaemonId, EventId, ServerId, TeamId};

use super::agent::fence;
use super::row::row;
use super::{Error, Position, Store, millis, read, transact};
use crate::access::TeamGrant;

/// Events kept per daemon: months of a quiet one, days of one in a crash loop, and more than a host keeps for us while
/// we are away (200), so nothing it sends again is forgotten yet. When there are more, the oldest stored go.
pub(crate) const EVENTS_MAX: i64 = 500;
/// How long an event is kept.
const EVENT_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long the events of a deleted daemon are kept: as long as its logs.
const DELETED_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// An event to be stored.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    /// Its id.
    pub(crate) id: EventId,
    /// `zhylon.daemons.v1.DaemonEvent`, without id, daemon and record time.
    pub(crate) event: Vec<u8>,
}

/// An event a host tells.
#[derive(Debug, Clone)]
pub(crate) struct HostEvent {
    /// What the host counts it by, within its boot.
    pub(crate) sequence: i64,
    /// The daemon.
    pub(crate) daemon: DaemonId,
    /// When it happened, by the host's clock.
    pub(crate) time: SystemTime,
    /// The event.
    pub(crate) new: NewEvent,
}

row! {
    /// A stored event.
    #[derive(Debug, Clone)]
    pub(crate) struct EventRow {
        /// Its id.
        pub(crate) id: EventId,
        /// Counts the daemon's events.
        pub(crate) place: i64,
        /// Orders them, Unix milliseconds.
        pub(crate) order_time: i64,
        /// When it was stored.
        pub(crate) record_time: SystemTime,
        /// See [`NewEvent::event`].
        pub(crate) event: Vec<u8>,
    }
}

row! {
    /// Whose a daemon was.
    #[derive(Debug, Clone)]
    pub(crate) struct TeamOf {
        /// The team of its server.
        pub(crate) team_id: TeamId,
    }
}

/// What one [`insert_event`] binds.
pub(super) struct Insert<'a> {
    pub(super) server: ServerId,
    pub(super) daemon: DaemonId,
    pub(super) new: &'a NewEvent,
    /// When it happened.
    pub(super) time: SystemTime,
    pub(super) now: SystemTime,
    /// Whether the daemon is deleted.
    pub(super) deleted: bool,
    /// Boot and sequence, if a host tells it.
    pub(super) host: Option<(&'a str, i64)>,
}

impl Insert<'_> {
    /// Until when it is kept.
    pub(super) fn expire_time(&self) -> i64 {
        let life = if self.deleted {
            DELETED_LIFE
        } else {
            EVENT_LIFE
        };
        millis(self.now + life)
    }
}

/// Stores an event inside a transaction, unless it is there. [`make_room`] follows, once for all of the transaction.
macro_rules! insert_event {
    ($conn:expr, $insert:expr) => {{
        let insert: $crate::store::event::Insert<'_> = $insert;
        let daemon = insert.daemon.to_string();
        sqlx::query(
            "INSERT INTO daemon_events (daemon_id, place, id, server_id, order_time, record_time, expire_time, \
             boot_id, sequence, event) \
             SELECT $1, COALESCE(MAX(place), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9 \
             FROM daemon_events WHERE daemon_id = $1 ON CONFLICT DO NOTHING",
        )
        .bind(&daemon)
        .bind(insert.new.id.to_string())
        .bind(insert.server.to_string())
        .bind($crate::store::millis(insert.time.min(insert.now)))
        .bind($crate::store::millis(insert.now))
        .bind(insert.expire_time())
        .bind(insert.host.map(|(boot, _)| boot))
        .bind(insert.host.map(|(_, sequence)| sequence))
        .bind(&insert.new.event)
        .execute(&mut *$conn)
        .await?;
    }};
}

/// The oldest events of these daemons make room, and what is too old goes.
macro_rules! make_room {
    ($conn:expr, $daemons:expr, $now:expr) => {{
        for daemon in $daemons {
            sqlx::query(
                "DELETE FROM daemon_events WHERE daemon_id = $1 \
                 AND place <= (SELECT MAX(place) FROM daemon_events WHERE daemon_id = $1) - $2",
            )
            .bind(daemon.to_string())
            .bind($crate::store::event::EVENTS_MAX)
            .execute(&mut *$conn)
            .await?;
        }
        sqlx::query("DELETE FROM daemon_events WHERE expire_time <= $1")
            .bind($crate::store::millis($now))
            .execute(&mut *$conn)
            .await?;
    }};
}

/// Stores the one event of a transaction.
macro_rules! record_event {
    ($conn:expr, $insert:expr) => {{
        let insert: $crate::store::event::Insert<'_> = $insert;
        let (daemon, now) = (insert.daemon, insert.now);
        $crate::store::event::insert_event!($conn, insert);
        $crate::store::event::make_room!($conn, [daemon], now);
    }};
}
pub(super) use {insert_event, make_room, record_event};

/// The daemon is deleted: its events are kept no longer than that.
macro_rules! shorten_events {
    ($conn:expr, $daemon:expr, $now:expr) => {
        sqlx::query(
            "UPDATE daemon_events SET expire_time = $2 WHERE daemon_id = $1 AND expire_time > $2",
        )
        .bind($daemon.to_string())
        .bind($crate::store::event::deleted_until($now))
        .execute(&mut *$conn)
        .await?;
    };
}
pub(super) use shorten_events;

/// Until when events of a daemon deleted now are kept.
pub(super) fn deleted_until(now: SystemTime) -> i64 {
    millis(now + DELETED_LIFE)
}

impl Store {
    /// Stores what a host tells; what is stored already is passed over, and so is what is about no daemon of its.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub(crate) async fn record_events(
        &self,
        server: ServerId,
        epoch: i64,
        boot_id: &str,
        events: &[HostEvent],
        now: SystemTime,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            fence!(conn, server, epoch, now);
            // Of each daemon: `None` if it is not this server's, else whether it is deleted.
            let mut known: HashMap<DaemonId, Option<bool>> = HashMap::new();
            for event in events {
                if let Entry::Vacant(unknown) = known.entry(event.daemon) {
                    let (rows, alive, told): (i64, i64, i64) = sqlx::query_as(
                        "SELECT COUNT(*), COUNT(CASE WHEN deleted_revision IS NULL THEN 1 END), \
                         (SELECT COUNT(*) FROM daemon_events WHERE daemon_id = $1 AND server_id = $2) \
                         FROM daemons WHERE id = $1 AND server_id = $2",
                    )
                    .bind(event.daemon.to_string())
                    .bind(server.to_string())
                    .fetch_one(&mut *conn)
                    .await?;
                    unknown.insert((rows + told > 0).then_some(alive == 0));
                }
                let Some(Some(deleted)) = known.get(&event.daemon) else {
                    continue;
                };
                insert_event!(conn, Insert {
                    server,
                    daemon: event.daemon,
                    new: &event.new,
                    time: event.time,
                    now,
                    deleted: *deleted,
                    host: Some((boot_id, event.sequence)),
                });
            }
            let told = known.iter().filter_map(|(daemon, known)| known.and(Some(daemon)));
            make_room!(conn, told, now);
        });
        Ok(())
    }

    /// Stores the event of a call that changes nothing else of a daemon of the grant's team.
    ///
    /// # Errors
    /// [`Error::Gone`] without such a daemon.
    pub(crate) async fn note_event(
        &self,
        grant: &TeamGrant,
        (server, daemon): (ServerId, DaemonId),
        event: &NewEvent,
        now: SystemTime,
    ) -> Result<(), Error> {
        transact!(self, conn => {
            let locked = sqlx::query(
                "UPDATE servers SET revision = revision WHERE id = $1 AND team_id = $2",
            )
            .bind(server.to_string())
            .bind(grant.team().to_string())
            .execute(&mut *conn)
            .await?
            .rows_affected();
            let there: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM daemons WHERE id = $1 AND server_id = $2 AND deleted_revision IS NULL",
            )
            .bind(daemon.to_string())
            .bind(server.to_string())
            .fetch_one(&mut *conn)
            .await?;
            if locked == 0 || there == 0 {
                return Err(Error::Gone);
            }
            record_event!(conn, Insert {
                server,
                daemon,
                new: event,
                time: now,
                now,
                deleted: false,
                host: None,
            });
        });
        Ok(())
    }

    /// A daemon's events, newest first, before a place in that order.
    pub(crate) async fn daemon_events(
        &self,
        daemon: DaemonId,
        before: (i64, i64),
        limit: i64,
        now: SystemTime,
    ) -> Result<Vec<EventRow>, Error> {
        Ok(read!(self, conn => {
            sqlx::query_as(
                "SELECT id, place, order_time, record_time, event FROM daemon_events \
                 WHERE daemon_id = $1 AND expire_time > $2 AND (order_time, place) < ($3, $4) \
                 ORDER BY order_time DESC, place DESC LIMIT $5",
            )
            .bind(daemon.to_string())
            .bind(millis(now))
            .bind(before.0)
            .bind(before.1)
            .bind(limit)
            .fetch_all(&mut *conn)
            .await?
        }))
    }

    /// The team of a daemon that is there no more, while its events are kept.
    pub(crate) async fn team_of_events(
        &self,
        daemon: DaemonId,
        now: SystemTime,
    ) -> Result<Option<TeamId>, Error> {
        let found: Option<TeamOf> = read!(self, conn => {
            sqlx::query_as(
                "SELECT s.team_id FROM daemon_events e JOIN servers s ON s.id = e.server_id \
                 WHERE e.daemon_id = $1 AND e.expire_time > $2 LIMIT 1",
            )
            .bind(daemon.to_string())
            .bind(millis(now))
            .fetch_optional(&mut *conn)
            .await?
        });
        Ok(found.map(|of| of.team_id))
    }
}

impl EventRow {
    /// Where a page that begins after it begins.
    pub(crate) fn position(&self) -> Position {
        Position {
            time: self.order_time,
            id: self.place.to_string(),
        }
    }
}
