//! What was asked for, in valid types; all mistakes at once.

use std::time::{SystemTime, UNIX_EPOCH};

use zhylon_proto::daemons::v1 as api;
use zhylon_proto::daemons::v1::tail_log_request::Start as WireStart;
use zhylon_shared::cursor;
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::{FieldViolation, PROCESSES_MAX};
use zhylon_shared::wire::system_time;

use crate::bus::log_broker::{LogRequest, Start};
use crate::domain::Error;

/// Lines when nothing is said.
const DEFAULT_TAIL_LINES: u32 = 10;
/// Most lines from the end.
const TAIL_LINES_MAX: i32 = 100_000;
/// Bytes of a page when nothing is said.
const DEFAULT_PAGE_BYTES: u64 = 64 * 1024;
/// Most bytes of a page: it is one message, and clients take messages of up to 4 MiB. Each piece in it adds some bytes.
const PAGE_BYTES_MAX: i32 = 1024 * 1024;

/// A page of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageRequest {
    /// Which, and where.
    pub(super) log: LogRequest,
    /// What it may cost.
    pub(super) limit: u64,
    /// Whether it goes back.
    pub(super) backwards: bool,
}

/// What `TailLog` asks for.
pub(super) fn tail(daemon: DaemonId, asked: &api::TailLogRequest) -> Result<LogRequest, Error> {
    let mut bad = Vec::new();
    let start = match &asked.start {
        None => Start::TailLines(DEFAULT_TAIL_LINES),
        Some(WireStart::TailLines(lines)) => {
            if !(0..=TAIL_LINES_MAX).contains(lines) {
                let text = format!("{lines} is not between 0 and {TAIL_LINES_MAX}");
                bad.push(FieldViolation::new("tail_lines", "RANGE", text));
            }
            Start::TailLines(lines.unsigned_abs())
        }
        Some(WireStart::Cursor(text)) => Start::Position(place(daemon, text, &mut bad)),
        Some(WireStart::Since(time)) => since(system_time(time), &mut bad),
    };
    let request = LogRequest {
        daemon,
        start,
        follow: asked.follow,
        instance: instance(asked.instance, &mut bad),
    };
    good(request, bad)
}

/// What `ReadLog` asks for.
pub(super) fn page(daemon: DaemonId, asked: &api::ReadLogRequest) -> Result<PageRequest, Error> {
    use api::read_log_request::Start as WireStart;
    let mut bad = Vec::new();
    let backwards = match api::ReadLogDirection::try_from(asked.direction) {
        Ok(direction) => direction == api::ReadLogDirection::Backwards,
        Err(_) => {
            let text = format!("{} is no direction", asked.direction);
            bad.push(FieldViolation::new("direction", "ENUM", text));
            false
        }
    };
    let start = match (&asked.start, backwards) {
        (None, false) => Start::Position(0),
        (None, true) => Start::Before(u64::MAX),
        (Some(WireStart::Cursor(text)), false) => Start::Position(place(daemon, text, &mut bad)),
        (Some(WireStart::Cursor(text)), true) => Start::Before(place(daemon, text, &mut bad)),
        (Some(WireStart::Since(time)), backwards) => {
            if backwards {
                let text = "reads forwards: for what came before, read backwards from the `begin_cursor` of that page";
                bad.push(FieldViolation::new("since", "DIRECTION", text));
            }
            since(system_time(time), &mut bad)
        }
    };
    if !(0..=PAGE_BYTES_MAX).contains(&asked.max_bytes) {
        let text = format!("{} is not between 0 and {PAGE_BYTES_MAX}", asked.max_bytes);
        bad.push(FieldViolation::new("max_bytes", "RANGE", text));
    }
    let limit = match asked.max_bytes {
        0 => DEFAULT_PAGE_BYTES,
        bytes => u64::from(bytes.unsigned_abs()),
    };
    let log = LogRequest {
        daemon,
        start,
        follow: false,
        instance: instance(asked.instance, &mut bad),
    };
    let request = PageRequest {
        log,
        limit,
        backwards,
    };
    good(request, bad)
}

fn good<T>(request: T, bad: Vec<FieldViolation>) -> Result<T, Error> {
    if bad.is_empty() {
        Ok(request)
    } else {
        Err(Error::Invalid(bad))
    }
}

fn place(daemon: DaemonId, text: &str, bad: &mut Vec<FieldViolation>) -> u64 {
    let position = cursor::decode(&daemon, text);
    if let Err(error) = position {
        bad.push(FieldViolation::new("cursor", "CURSOR", error.to_string()));
    }
    position.unwrap_or_default()
}

fn since(time: Option<SystemTime>, bad: &mut Vec<FieldViolation>) -> Start {
    let since_1970 = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    if since_1970.is_none() {
        let text = "is no time since 1970";
        bad.push(FieldViolation::new("since", "TIME", text));
    }
    Start::Since(since_1970.unwrap_or_default().as_secs().cast_signed())
}

fn instance(asked: Option<i32>, bad: &mut Vec<FieldViolation>) -> Option<u32> {
    let index = asked?;
    let known = u32::try_from(index).ok().filter(|i| *i < PROCESSES_MAX);
    if known.is_none() {
        let text = format!("{index} is not between 0 and {}", PROCESSES_MAX - 1);
        bad.push(FieldViolation::new("instance", "RANGE", text));
    }
    known
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zhylon_shared::wire::timestamp;

    use super::*;

    fn asked() -> (DaemonId, api::TailLogRequest) {
        let daemon = DaemonId::random().unwrap();
        let asked = api::TailLogRequest {
            daemon_id: daemon.to_string(),
            ..api::TailLogRequest::default()
        };
        (daemon, asked)
    }

    #[test]
    fn the_last_ten_lines_unless_told() {
        let (daemon, mut asked) = asked();
        let start = |asked: &api::TailLogRequest| tail(daemon, asked).unwrap().start;
        assert_eq!(start(&asked), Start::TailLines(10));
        for lines in [0, 1, 100_000] {
            asked.start = Some(WireStart::TailLines(lines));
            assert_eq!(start(&asked), Start::TailLines(lines.unsigned_abs()));
        }
        asked.start = Some(WireStart::Cursor(cursor::encode(&daemon, 77)));
        assert_eq!(start(&asked), Start::Position(77));
        asked.instance = Some(63);
        assert_eq!(tail(daemon, &asked).unwrap().instance, Some(63));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let (daemon, mut asked) = asked();
        let fields = |asked: &api::TailLogRequest| match tail(daemon, asked) {
            Err(Error::Invalid(bad)) => bad.into_iter().map(|b| b.field).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        for lines in [-1, 100_001, i32::MIN] {
            asked.start = Some(WireStart::TailLines(lines));
            assert_eq!(fields(&asked), ["tail_lines"]);
        }
        for instance in [-1, 64] {
            asked.instance = Some(instance);
            assert_eq!(fields(&asked), ["tail_lines", "instance"]);
        }
        let other = DaemonId::random().unwrap();
        asked.start = Some(WireStart::Cursor(cursor::encode(&other, 1)));
        assert_eq!(fields(&asked), ["cursor", "instance"]);
        let early = UNIX_EPOCH - Duration::from_secs(1);
        asked.start = Some(WireStart::Since(timestamp(early)));
        assert_eq!(fields(&asked), ["since", "instance"]);
    }

    #[test]
    fn a_page_begins_or_ends_at_its_cursor() {
        use api::read_log_request::Start as Wire;
        let daemon = DaemonId::random().unwrap();
        let mut asked = api::ReadLogRequest::default();
        let read = |asked: &api::ReadLogRequest| {
            let page = page(daemon, asked).unwrap();
            (page.log.start, page.limit, page.backwards)
        };
        assert_eq!(read(&asked), (Start::Position(0), 65_536, false));
        asked.start = Some(Wire::Cursor(cursor::encode(&daemon, 9)));
        asked.max_bytes = 7;
        assert_eq!(read(&asked), (Start::Position(9), 7, false));
        asked.direction = api::ReadLogDirection::Backwards.into();
        assert_eq!(read(&asked), (Start::Before(9), 7, true));
        asked.start = None;
        assert_eq!(read(&asked), (Start::Before(u64::MAX), 7, true));
        asked.start = Some(Wire::Since(timestamp(UNIX_EPOCH)));
        (asked.max_bytes, asked.instance) = (1_048_577, Some(64));
        let Err(Error::Invalid(bad)) = page(daemon, &asked) else {
            panic!("accepted");
        };
        let fields: Vec<_> = bad.into_iter().map(|b| b.field).collect();
        assert_eq!(fields, ["since", "max_bytes", "instance"]);
        asked.direction = 77;
        let bad = page(daemon, &asked).unwrap_err();
        assert!(bad.to_string().contains("77 is no direction"), "{bad}");
    }
}
