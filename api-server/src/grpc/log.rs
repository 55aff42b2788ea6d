//! `LogService`: viewers' streams, pages and clears over the log streams of the servers' agents.
//!
//! What the agent sends is handed on as it is; when its stream breaks (its restart, ours is the client's affair, a lost
//! link) the viewer's stream stays, waits for the agent, and goes on at the byte where it was. Nothing is read ahead:
//! the response is pulled by the client's own flow control.

mod asked;
mod shown;
mod tail;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use zhylon_proto::daemons::v1::log_service_server::{LogService, LogServiceServer};
use zhylon_proto::daemons::v1::{
    ClearLogRequest, ClearLogResponse, ReadLogRequest, ReadLogResponse, TailLogRequest,
    TailLogResponse,
};
use zhylon_shared::cursor;
use zhylon_shared::id::ServerId;

use self::tail::Tail;
use super::methods::{REQUEST_MAX, open};
use super::status::to_status;
use crate::bus::Connection;
use crate::bus::log_broker::{ClearFailed, LogBroker, LogStream, Page};
use crate::domain::{Domain, Error};

/// Longest wait at a call for the log stream of an agent that has just connected.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait until a host knows a daemon that was created a moment ago.
const UNKNOWN_WAIT: Duration = Duration::from_secs(15);
/// Rest between two questions about something that is not there yet.
const PAUSE: Duration = Duration::from_millis(200);

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

    /// The log stream of a server's agent; one that has just connected is waited for.
    async fn stream(&self, server: ServerId) -> Result<Arc<LogStream>, Error> {
        let end = tokio::time::Instant::now() + FIRST_WAIT;
        // Before the look, so that a stream attached in between is not missed.
        let mut attached = self.broker.attached();
        loop {
            attached.mark_unchanged();
            if let Ok(stream) = self.broker.stream(server) {
                return Ok(stream);
            }
            let connection = self.domain.bus().presence().state(server, true);
            if connection != Connection::Connected || tokio::time::Instant::now() >= end {
                return Err(Error::ServerOffline);
            }
            let _ = tokio::time::timeout(PAUSE, attached.changed()).await;
        }
    }

    async fn page(&self, server: ServerId, asked: asked::PageRequest) -> Result<Page, Error> {
        let known_by = tokio::time::Instant::now() + UNKNOWN_WAIT;
        loop {
            let stream = self.stream(server).await?;
            match stream.read(asked.log, asked.limit).await {
                Ok(Some(page)) => return Ok(page),
                // It went meanwhile.
                Ok(None) => {}
                Err((error, _))
                    if error == "UNKNOWN_DAEMON" && tokio::time::Instant::now() < known_by => {}
                Err((error, message)) => return Err(shown::refusal(&error, message)),
            }
            tokio::time::sleep(PAUSE).await;
        }
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
        let request = asked::tail(daemon, &asked).map_err(to_status)?;
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

    async fn read_log(
        &self,
        request: Request<ReadLogRequest>,
    ) -> Result<Response<ReadLogResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let (server, daemon) = self
            .domain
            .authorize_log(&ctx, &asked.daemon_id)
            .await
            .map_err(to_status)?;
        let asked = asked::page(daemon, &asked).map_err(to_status)?;
        let Page { events, range } = self.page(server, asked).await.map_err(to_status)?;
        let more = match asked.backwards {
            true => range.begin > 0,
            false => range.position < range.log_end,
        };
        let pieces = events.into_iter();
        Ok(Response::new(ReadLogResponse {
            pieces: pieces
                .filter_map(|event| shown::piece(&daemon, event))
                .collect(),
            begin_cursor: cursor::encode(&daemon, range.begin),
            end_cursor: cursor::encode(&daemon, range.position),
            more,
        }))
    }

    async fn clear_log(
        &self,
        request: Request<ClearLogRequest>,
    ) -> Result<Response<ClearLogResponse>, Status> {
        let (ctx, asked) = open(request)?;
        let (server, daemon) = self
            .domain
            .authorize_log(&ctx, &asked.daemon_id)
            .await
            .map_err(to_status)?;
        let stream = self.stream(server).await.map_err(to_status)?;
        let noted = self.domain.note_log_clear(&ctx, &asked.daemon_id).await;
        noted.map_err(to_status)?;
        let failed = match stream.clear(daemon).await {
            Ok(()) => return Ok(Response::new(ClearLogResponse {})),
            Err(ClearFailed::Unknown) => Error::ClearUnknown,
            Err(ClearFailed::TooMany) => {
                Error::TooManyViewers("as many logs of its host as may be are being cleared")
            }
            Err(ClearFailed::Refused { error, message }) => shown::refusal(&error, message),
        };
        Err(to_status(failed))
    }
}
