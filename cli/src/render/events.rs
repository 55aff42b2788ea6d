//! What happened to a daemon, as a table for people.

use std::time::SystemTime;

use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};
use zhylon_proto::daemons::v1 as api;
use zhylon_shared::wire;

use super::table::{finish, or_dash, printable, short, table as rows};

/// Zhylon's servers are all over the place; times of several are compared, so they are all of one zone.
const TIME: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");

/// Events, one per line. They come newest first and are shown newest last, as logs are.
pub(crate) fn table(events: &[api::DaemonEvent]) -> String {
    let mut table = rows(&["TIME", "EVENT", "INSTANCE", "BY", "FROM", "MESSAGE"]);
    for event in events.iter().rev() {
        table.add_row([
            time(event.time.as_ref()),
            short(event.r#type().as_str_name()),
            event
                .instance
                .map_or_else(|| "-".to_owned(), |index| index.to_string()),
            or_dash(&event.by),
            short(event.source().as_str_name()),
            message(event),
        ]);
    }
    finish(table)
}

/// The words, and how often.
fn message(event: &api::DaemonEvent) -> String {
    let lost = event.r#type() == api::DaemonEventType::EventsDropped;
    let often = match event.count {
        ..=1 => String::new(),
        count if lost => format!("{count} events"),
        count => format!("{count} times until {}", time(event.last_time.as_ref())),
    };
    let words = printable(&event.message);
    match (words.is_empty(), often.is_empty()) {
        (true, true) => "-".to_owned(),
        (false, true) => words,
        (true, false) => often,
        (false, false) => format!("{words} ({often})"),
    }
}

fn time(timestamp: Option<&pbjson_types::Timestamp>) -> String {
    let written = timestamp
        .and_then(wire::system_time)
        .and_then(|time: SystemTime| {
            let utc = OffsetDateTime::from(time).to_offset(UtcOffset::UTC);
            utc.format(TIME).ok()
        });
    written.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<pbjson_types::Timestamp> {
        Some(pbjson_types::Timestamp {
            seconds: 1_800_000_000 + seconds,
            nanos: 0,
        })
    }

    #[test]
    fn the_newest_is_last_and_nothing_steers_the_terminal() {
        let crash = api::DaemonEvent {
            time: at(60),
            last_time: at(120),
            r#type: api::DaemonEventType::Crashed.into(),
            source: api::DaemonEventSource::Agent.into(),
            instance: Some(0),
            count: 7,
            message: "exit code 1".to_owned(),
            ..Default::default()
        };
        let stop = api::DaemonEvent {
            time: at(0),
            r#type: api::DaemonEventType::StopRequested.into(),
            source: api::DaemonEventSource::Local.into(),
            by: "an\x1b[2Jna (uid 1001)".to_owned(),
            count: 1,
            ..Default::default()
        };
        let newer = api::DaemonEvent {
            // Of an agent and an api-server that are newer than this program.
            r#type: 9999,
            ..crash.clone()
        };
        let text = table(&[newer, crash, stop]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|c| !c.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(
            lines[1],
            [
                "2027-01-15 08:00:00Z",
                "STOP_REQUESTED",
                "-",
                "an\\u{1b}[2Jna (uid 1001)",
                "LOCAL",
                "-"
            ]
        );
        let crashed = [
            "2027-01-15 08:01:00Z",
            "CRASHED",
            "0",
            "-",
            "AGENT",
            "exit code 1 (7 times until 2027-01-15 08:02:00Z)",
        ];
        assert_eq!(lines[2], crashed);
        assert_eq!(lines[3][1], "UNSPECIFIED");
    }
}
