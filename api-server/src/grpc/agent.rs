//! `AgentService`, on the agents' listener: brings streams to sessions and to the log broker. The caller's server comes
//! from its certificate and from nowhere else.

use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use zhylon_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use zhylon_proto::agent::v1::log_subscribe::Start as WireStart;
use zhylon_proto::agent::v1::stream_logs_request::Frame as Up;
use zhylon_proto::agent::v1::stream_logs_response::Frame as Down;
use zhylon_proto::agent::v1::{
    ConnectRequest, ConnectResponse, LogClear, LogCredit, LogHello, LogSubscribe, LogUnsubscribe,
    RenewCertificateRequest, RenewCertificateResponse, StreamLogsRequest, StreamLogsResponse,
};

use super::status::to_status;
use crate::agents::{self, Agents};
use crate::bus::log_broker::{CLEAR_DEADLINE, LogBroker, LogEvent, LogStream, Order, Range, Start};
use crate::ca::{AgentCa, AgentIdentity};
use crate::domain::Error;
use crate::listener::Peer;

/// Largest frame either way. A snapshot is one frame: 200 daemons with 37 KiB each are 7.4 MiB. Splitting it is a
/// later issue; until then a larger one ends the stream.
pub(crate) const FRAME_MAX: usize = 16 * 1024 * 1024;
/// Frames of a session that wait for the network. When full the session waits, and ends if it waits too long.
const SESSION_QUEUE: usize = 4;
/// Time for the first frame of a log stream.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct AgentApi {
    agents: Agents,
    ca: Arc<AgentCa>,
}

impl AgentApi {
    /// Over these sessions, with certificates of this authority.
    pub(crate) fn new(agents: Agents, ca: Arc<AgentCa>) -> AgentServiceServer<Self> {
        AgentServiceServer::new(Self { agents, ca })
            .max_decoding_message_size(FRAME_MAX)
            .max_encoding_message_size(FRAME_MAX)
    }
}

/// Who calls. The listener lets nobody in without it; its absence is our own mistake.
fn caller<T>(request: &Request<T>) -> Result<(Arc<AgentIdentity>, SocketAddr), Status> {
    request
        .extensions()
        .get::<Peer>()
        .and_then(|peer| Some((peer.agent.clone()?, peer.address)))
        .ok_or_else(|| to_status(Error::Internal("an agent without a certificate".to_owned())))
}

#[tonic::async_trait]
impl AgentService for AgentApi {
    type ConnectStream = stream::Map<
        ReceiverStream<ConnectResponse>,
        fn(ConnectResponse) -> Result<ConnectResponse, Status>,
    >;
    type StreamLogsStream = Pin<Box<dyn Stream<Item = Result<StreamLogsResponse, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (identity, address) = caller(&request)?;
        let frames = request.into_inner();
        let (down, answer) = mpsc::channel(SESSION_QUEUE);
        let agents = self.agents.clone();
        self.agents
            .tasks()
            .spawn(agents::serve(agents, identity, address, frames, down));
        let answer = ReceiverStream::new(answer);
        Ok(Response::new(answer.map(Ok as fn(_) -> _)))
    }

    async fn renew_certificate(
        &self,
        request: Request<RenewCertificateRequest>,
    ) -> Result<Response<RenewCertificateResponse>, Status> {
        let (identity, address) = caller(&request)?;
        let asked = request.into_inner();
        let domain = self.agents.domain();
        let answer = agents::renew(domain, &self.ca, &identity, address, &asked).await;
        Ok(Response::new(answer.map_err(to_status)?))
    }

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let (identity, _) = caller(&request)?;
        let frames = request.into_inner();
        // The answer's head must not wait for the first frame: some clients send it only after.
        let agents = self.agents.clone();
        let orders = stream::once(open_logs(agents, identity, frames)).flat_map(|opened| {
            let orders: Pin<Box<dyn Stream<Item = _> + Send>> = match opened {
                Ok(open) => Box::pin(stream::unfold(open, |open| async move {
                    let order = open.stream.next_order().await?;
                    Some((Ok(encode(order)), open))
                })),
                Err(status) => Box::pin(stream::once(async { Err(status) })),
            };
            orders
        });
        Ok(Response::new(Box::pin(orders)))
    }
}

/// A log stream that is attached; detached when the agent's or our side of it is dropped.
struct OpenLogs {
    broker: LogBroker,
    stream: Arc<LogStream>,
}

impl Drop for OpenLogs {
    fn drop(&mut self) {
        self.broker.detach(&self.stream);
    }
}

async fn open_logs(
    agents: Agents,
    identity: Arc<AgentIdentity>,
    mut frames: Streaming<StreamLogsRequest>,
) -> Result<OpenLogs, Status> {
    let fenced = || to_status(Error::Fenced);
    let first = tokio::time::timeout(HELLO_DEADLINE, frames.message()).await;
    let Ok(Ok(Some(StreamLogsRequest {
        frame: Some(Up::Hello(LogHello { session_epoch })),
    }))) = first
    else {
        let rule = "the first frame, within 5 seconds, must be `hello`";
        return Err(to_status(Error::field("frame", "HELLO_FIRST", rule)));
    };
    let broker = agents.logs().clone();
    let stream = broker
        .attach(identity.server, session_epoch)
        .ok_or_else(fenced)?;
    let open = OpenLogs {
        broker: broker.clone(),
        stream: Arc::clone(&stream),
    };
    // After the attachment: had the session ended before it, nobody else would end this stream.
    if !agents.is_current(identity.server, session_epoch, &identity.key_hash) {
        return Err(fenced());
    }
    agents.tasks().spawn(async move {
        tokio::select! {
            () = stream.closed() => {}
            () = hear(&stream, frames) => broker.detach(&stream),
        }
    });
    Ok(open)
}

async fn hear<S, E>(stream: &LogStream, mut frames: S)
where
    S: Stream<Item = Result<StreamLogsRequest, E>> + Unpin,
    E: Display,
{
    while let Some(frame) = frames.next().await {
        let frame = match frame {
            Ok(frame) => frame.frame,
            Err(error) => {
                tracing::debug!(server.id = %stream.server(), %error, "log stream broke off");
                return;
            }
        };
        // `None`: a kind of frame newer than this program.
        let Some((id, event)) = frame.and_then(|frame| decode(stream, frame)) else {
            continue;
        };
        if let Err(breach) = stream.deliver(id, event) {
            tracing::warn!(server.id = %stream.server(), error = %breach, "log stream ended");
            return;
        }
    }
}

/// What a frame says about a subscription; an answer to something else is given to whoever waits for it.
fn decode(stream: &LogStream, frame: Up) -> Option<(u64, LogEvent)> {
    Some(match frame {
        Up::Hello(_) => return None,
        Up::Cleared(told) => {
            stream.cleared(told.request_id, told.error, told.message);
            return None;
        }
        Up::Data(data) => (
            data.subscription_id,
            LogEvent::Chunk {
                next_position: data.next_position,
                instance: data.instance,
                time: data.time,
                data: data.data,
                partial: data.partial,
            },
        ),
        Up::Missing(missing) => (
            missing.subscription_id,
            LogEvent::Gap {
                next_position: missing.next_position,
                bytes: missing.bytes,
                reason: missing.reason,
            },
        ),
        Up::CaughtUp(caught_up) => (
            caught_up.subscription_id,
            LogEvent::CaughtUp {
                position: caught_up.position,
            },
        ),
        Up::End(end) => (
            end.subscription_id,
            LogEvent::End {
                error: end.error,
                message: end.message,
                range: Range {
                    begin: end.begin,
                    position: end.position,
                    log_end: end.log_end,
                },
            },
        ),
    })
}

fn encode(order: Order) -> StreamLogsResponse {
    let frame = match order {
        Order::Subscribe {
            id,
            request,
            credit,
            limit,
        } => Down::Subscribe(LogSubscribe {
            subscription_id: id,
            daemon_id: request.daemon.to_string(),
            start: Some(match request.start {
                Start::Position(position) => WireStart::Position(position),
                Start::TailLines(lines) => WireStart::TailLines(lines),
                Start::Since(second) => WireStart::Since(second),
                Start::Before(position) => WireStart::Before(position),
            }),
            follow: request.follow,
            instance: request.instance,
            credit_bytes: credit,
            limit_bytes: limit,
        }),
        Order::Credit { id, bytes } => Down::Credit(LogCredit {
            subscription_id: id,
            bytes,
        }),
        Order::Clear { id, daemon } => Down::Clear(LogClear {
            request_id: id,
            daemon_id: daemon.to_string(),
            deadline_ms: CLEAR_DEADLINE.as_millis() as u32,
        }),
        Order::Unsubscribe { id } => Down::Unsubscribe(LogUnsubscribe {
            subscription_id: id,
        }),
    };
    StreamLogsResponse { frame: Some(frame) }
}
