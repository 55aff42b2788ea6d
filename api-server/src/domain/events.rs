//! What happened to daemons: told by calls in the transaction of their change, told by hosts at least once, read by
//! members.

use std::time::SystemTime;

use prost::Message as _;
use zhylon_proto::agent::v1 as agent;
use zhylon_proto::daemons::v1 as api;
use zhylon_shared::id::{DaemonId, EventId, ServerId, TokenId, UserId};
use zhylon_shared::spec::DaemonSpec;
use zhylon_shared::wire::{system_time, timestamp};

use super::{Ctx, Domain, Error, Page, PageRequest, parse_id};
use crate::store::{EventRow, HostEvent, NewEvent};

/// Events in one frame of an agent. One that sends more breaks the protocol.
const FRAME_EVENTS_MAX: usize = 100;
/// Characters kept of each text of a host's event: it is for people, and comes from outside.
const TEXT_MAX: usize = 500;
/// Characters kept of a boot id. Linux's have 36.
const BOOT_ID_MAX: usize = 64;

/// Who calls, as events name callers.
#[derive(Debug, Clone)]
pub(super) struct Author {
    by: String,
    user: UserId,
    token: TokenId,
}

impl Author {
    /// An event of this caller.
    pub(super) fn event(
        &self,
        kind: api::DaemonEventType,
        now: SystemTime,
        message: String,
    ) -> Result<NewEvent, Error> {
        let time = Some(timestamp(now));
        let event = api::DaemonEvent {
            time,
            last_time: time,
            r#type: kind.into(),
            source: api::DaemonEventSource::Api.into(),
            by: self.by.clone(),
            user_id: self.user.to_string(),
            token_id: self.token.to_string(),
            count: 1,
            message,
            ..Default::default()
        };
        new_event(&event)
    }
}

impl Domain {
    /// Who calls.
    pub(super) async fn author(&self, ctx: &Ctx) -> Result<Author, Error> {
        let user = self.store.user(ctx.actor.user).await?;
        let name = user.map_or_else(|| ctx.actor.user.to_string(), |user| user.name);
        Ok(Author {
            by: match ctx.actor.acting {
                Some(_) => format!("{name}, through the platform operator"),
                None => name,
            },
            user: ctx.actor.user,
            token: ctx.token,
        })
    }

    /// What happened to a daemon, newest first. Of a deleted one too, while that is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`], a broken page request.
    pub(crate) async fn daemon_events(
        &self,
        ctx: &Ctx,
        id: &str,
        page: &PageRequest,
    ) -> Result<Page<api::DaemonEvent>, Error> {
        const KIND: &str = "daemon";
        let id: DaemonId = parse_id(id)?;
        let now = self.clock.wall();
        let team = match self.store.daemon(id).await? {
            Some(row) => Some(row.team_id),
            None => self.store.team_of_events(id, now).await?,
        };
        self.enter(ctx, team.ok_or(Error::NotFound(KIND))?, KIND)
            .await?;
        let cut = self.cut(page, format!("events {id}"))?;
        let before = match cut.after.id.parse() {
            Ok(place) => (cut.after.time, place),
            // The default: the first page.
            Err(_) => (i64::MAX, i64::MAX),
        };
        let rows = self
            .store
            .daemon_events(id, before, cut.limit(), now)
            .await?;
        let page = cut.page(rows, EventRow::position);
        let events = page.items.into_iter().map(|row| shown(id, &row));
        Ok(Page {
            items: events.collect::<Result<_, _>>()?,
            next: page.next,
        })
    }

    /// Stores what a host tells, once. What is about no daemon of its is passed over.
    ///
    /// # Errors
    /// [`Error::Fenced`]; [`Error::Invalid`] when it tells more at once than is agreed.
    pub(crate) async fn record_events(
        &self,
        server: ServerId,
        session_epoch: i64,
        told: &agent::Events,
    ) -> Result<(), Error> {
        if told.events.len() > FRAME_EVENTS_MAX {
            let text = format!("at most {FRAME_EVENTS_MAX}, has {}", told.events.len());
            return Err(Error::field("events.events", "TOO_MANY", text));
        }
        let now = self.clock.wall();
        let boot_id = clip(&told.boot_id, BOOT_ID_MAX);
        let events = told.events.iter().filter_map(|event| heard(event, now));
        let events: Vec<_> = events.collect::<Result<_, _>>()?;
        let write = self
            .store
            .record_events(server, session_epoch, &boot_id, &events, now);
        Ok(write.await?)
    }
}

/// The fields in which two specs differ, by their names in the API.
pub(super) fn changed_fields(old: &DaemonSpec, new: &DaemonSpec) -> String {
    let fields = [
        ("name", old.name() != new.name()),
        ("command", old.command() != new.command()),
        ("user", old.user() != new.user()),
        ("directory", old.directory() != new.directory()),
        ("processes", old.processes() != new.processes()),
        ("start_seconds", old.start_seconds() != new.start_seconds()),
        ("stop_seconds", old.stop_seconds() != new.stop_seconds()),
        ("stop_signal", old.stop_signal() != new.stop_signal()),
        (
            "restart_policy",
            old.restart_policy() != new.restart_policy(),
        ),
        ("max_retries", old.max_retries() != new.max_retries()),
        ("environment", old.environment() != new.environment()),
        ("limits", old.limits() != new.limits()),
    ];
    let changed = fields.iter().filter(|(_, changed)| *changed);
    let names: Vec<_> = changed.map(|(name, _)| *name).collect();
    if names.is_empty() {
        "nothing differs".to_owned()
    } else {
        names.join(", ")
    }
}

/// What a host tells, as far as it is believed. `None`: there is nothing to store.
fn heard(told: &agent::HostEvent, now: SystemTime) -> Option<Result<HostEvent, Error>> {
    use api::{DaemonEventSource as Source, DaemonEventType as Type};
    let event = told.event.as_ref()?;
    let daemon = event.daemon_id.parse().ok()?;
    let sequence = i64::try_from(told.sequence).ok()?;
    // What only calls of the API can do, no host can have seen.
    if matches!(
        event.r#type(),
        Type::Created | Type::Updated | Type::Deleted
    ) {
        return None;
    }
    let time = event.time.as_ref().and_then(system_time).unwrap_or(now);
    let last = event.last_time.as_ref().and_then(system_time);
    let source = match event.source() {
        Source::Local => Source::Local,
        _ => Source::Agent,
    };
    let believed = api::DaemonEvent {
        time: Some(timestamp(time)),
        last_time: Some(timestamp(last.unwrap_or(time))),
        r#type: event.r#type,
        source: source.into(),
        by: clip(&event.by, TEXT_MAX),
        instance: event.instance,
        exit: event.exit.clone().map(|exit| api::LastExit {
            message: clip(&exit.message, TEXT_MAX),
            ..exit
        }),
        restart_outcome: event.restart_outcome,
        count: event.count.max(1),
        message: clip(&event.message, TEXT_MAX),
        ..Default::default()
    };
    Some(new_event(&believed).map(|new| HostEvent {
        sequence,
        daemon,
        time,
        new,
    }))
}

fn shown(daemon: DaemonId, row: &EventRow) -> Result<api::DaemonEvent, Error> {
    let event = api::DaemonEvent::decode(row.event.as_slice());
    let event = event
        .map_err(|error| Error::Internal(format!("event {} can not be read: {error}", row.id)))?;
    Ok(api::DaemonEvent {
        id: row.id.to_string(),
        daemon_id: daemon.to_string(),
        record_time: Some(timestamp(row.record_time)),
        ..event
    })
}

fn new_event(event: &api::DaemonEvent) -> Result<NewEvent, Error> {
    Ok(NewEvent {
        id: EventId::random()?,
        event: event.encode_to_vec(),
    })
}

fn clip(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
