//! `LogService`: a viewer's stream over one or more subscriptions on the server's agent.
//!
//! What the agent sends is handed on as it is; when its stream breaks (its restart, ours is the client's affair, a lost
//! link) the viewer's stream stays, waits for the agent, and goes on at the byte where it was. Nothing is read ahead:
//! the response is pulled by the client's own flow control.

mod tail;

use std::pin::Pin;

use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use zhylon_proto::daemons::v1::log_service_server::{LogService, LogServiceServer};
use zhylon_proto::daemons::v1::tail_log_request::Start as WireStart;
use zhylon_proto::daemons::v1::{TailLogRequest, TailLogResponse};
use zhylon_shared::cursor;
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::{FieldViolation, PROCESSES_MAX};

use self::tail::Tail;
use super::methods::{REQUEST_MAX, open};
use super::status::to_status;
use crate::bus::log_broker::{LogBroker, LogRequest, Start};
use crate::domain::{Domain, Error};

/// Lines when nothing is said.
const DEFAULT_TAIL_LINES: u32 = 10;
/// Most lines from the end.
const TAIL_LINES_MAX: i32 = 100_000;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct LogApi {
    domain: Domain,
    broker: LogBroker,
    draining: CancellationToken,
}

impl LogApi {
    /// Over these log streams; viewers are asked to call again when `draining`.
    pub(crate) fn new(
        domain: Domain,
        broker: LogBroker,
        draining: CancellationToken,
    ) -> LogServiceServer<Self> {
        let api = Self {
            domain,
            broker,
            draining,
        };
        LogServiceServer::new(api).max_decoding_message_size(REQUEST_MAX)
    }
}

#[tonic::async_trait]
impl LogService for LogApi {
    type TailLogStream = Pin<Box<dyn Stream<Item = Result<TailLogResponse, Status>> + Send>>;

    async fn tail_log(
        &self,
        request: Request<TailLogRequest>,
    ) -> Result<Response<Self::TailLogStream>, Status> {
        let (ctx, asked) = open(request)?;
        let (server, daemon) = self
            .domain
            .authorize_log(&ctx, &asked.daemon_id)
            .await
            .map_err(to_status)?;
        let request = check(daemon, &asked).map_err(to_status)?;
        let mut tail = Tail::new(
            self.domain.clone(),
            self.broker.clone(),
            self.draining.clone(),
            ctx,
            server,
            request,
        );
        // Here, so that an offline server is the call's own answer.
        tail.begin().await.map_err(to_status)?;
        let events = stream::unfold(Some(tail), |tail| async move {
            let mut tail = tail?;
            match tail.next().await {
                Ok(Some(event)) => Some((Ok(event), Some(tail))),
                Ok(None) => None,
                Err(error) => Some((Err(to_status(error)), None)),
            }
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// The request in valid types; all mistakes at once.
fn check(daemon: DaemonId, asked: &TailLogRequest) -> Result<LogRequest, Error> {
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
        Some(WireStart::Cursor(text)) => {
            let position = cursor::decode(&daemon, text);
            if let Err(error) = position {
                bad.push(FieldViolation::new("cursor", "CURSOR", error.to_string()));
            }
            Start::Position(position.unwrap_or_default())
        }
    };
    let instance = asked.instance.map(|index| {
        let known = u32::try_from(index).ok().filter(|i| *i < PROCESSES_MAX);
        if known.is_none() {
            let text = format!("{index} is not between 0 and {}", PROCESSES_MAX - 1);
            bad.push(FieldViolation::new("instance", "RANGE", text));
        }
        known.unwrap_or_default()
    });
    if !bad.is_empty() {
        return Err(Error::Invalid(bad));
    }
    Ok(LogRequest {
        daemon,
        start,
        follow: asked.follow,
        instance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> (DaemonId, TailLogRequest) {
        let daemon = DaemonId::random().unwrap();
        let asked = TailLogRequest {
            daemon_id: daemon.to_string(),
            ..TailLogRequest::default()
        };
        (daemon, asked)
    }

    #[test]
    fn the_last_ten_lines_unless_told() {
        let (daemon, mut asked) = asked();
        let start = |asked: &TailLogRequest| check(daemon, asked).unwrap().start;
        assert_eq!(start(&asked), Start::TailLines(10));
        for lines in [0, 1, 100_000] {
            asked.start = Some(WireStart::TailLines(lines));
            assert_eq!(start(&asked), Start::TailLines(lines.unsigned_abs()));
        }
        asked.start = Some(WireStart::Cursor(cursor::encode(&daemon, 77)));
        assert_eq!(start(&asked), Start::Position(77));
        asked.instance = Some(63);
        assert_eq!(check(daemon, &asked).unwrap().instance, Some(63));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let (daemon, mut asked) = asked();
        let fields = |asked: &TailLogRequest| match check(daemon, asked) {
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
    }
}
