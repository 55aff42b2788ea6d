//! The floor: a source, a relay and viewers, tonic over TLS between them, each half with a runtime of its own. The relay hands
//! each message to every viewer's short queue and waits for it; it knows no daemons, rights, cursors or files.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use zhylon_proto::daemons::v1::log_service_client::LogServiceClient;
use zhylon_proto::daemons::v1::log_service_server::{LogService, LogServiceServer};
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_proto::daemons::v1::{
    ClearLogRequest, ClearLogResponse, LogChunk, ReadLogRequest, ReadLogResponse, TailLogRequest,
    TailLogResponse,
};
use zhylon_shared::tls;

/// Bytes of one message of a flood, as the agent's chunks have.
const CHUNK: usize = 64 * 1024;
/// Messages that wait for one viewer, or for the relay.
const QUEUE: usize = 16;
/// A cursor's length.
const CURSOR: &str = "AQAAAAAAAAAAAAAAAA";

/// What the source sends once all viewers are there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// So many bytes to each of so many.
    Flood { viewers: usize, bytes: u64 },
    /// Times of day to one, each when it is sent.
    Lines { count: usize, every: Duration },
}

/// Source and relay; they end when it is dropped.
pub(super) struct Floor {
    url: String,
    ca: Vec<u8>,
    halves: [Option<tokio::runtime::Runtime>; 2],
}

impl Drop for Floor {
    fn drop(&mut self) {
        // A runtime must not wait for its tasks here: this is another one's thread.
        for half in &mut self.halves {
            if let Some(half) = half.take() {
                half.shutdown_background();
            }
        }
    }
}

impl Floor {
    pub(super) fn start(work: Work) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let (ca, key) = (
            made.cert.pem().into_bytes(),
            made.signing_key.serialize_pem(),
        );
        let acceptor = || -> Result<TlsAcceptor> {
            let config = tls::public_server(&ca, key.as_bytes())?;
            Ok(TlsAcceptor::from(Arc::new(config)))
        };
        let viewers = match work {
            Work::Flood { viewers, .. } => viewers,
            Work::Lines { .. } => 1,
        };
        let (source_url, source) = serve(acceptor()?, Half::Source(work))?;
        let relay = Relay {
            source: source_url,
            ca: ca.clone(),
            viewers,
            there: Arc::default(),
        };
        let (url, relay) = serve(acceptor()?, Half::Relay(relay))?;
        Ok(Self {
            url,
            ca,
            halves: [Some(source), Some(relay)],
        })
    }

    pub(super) async fn viewers(&self, count: usize) -> Result<Vec<super::Events>> {
        let mut streams = Vec::new();
        for _ in 0..count {
            let mut client = client(&self.url, &self.ca).await?;
            let request = TailLogRequest::default();
            streams.push(client.tail_log(request).await?.into_inner());
        }
        Ok(streams)
    }
}

async fn client(url: &str, ca: &[u8]) -> Result<LogServiceClient<tonic::transport::Channel>> {
    let config = Arc::new(tls::public_client(ca)?);
    Ok(LogServiceClient::new(tls::connect(url, config).await?))
}

fn serve(acceptor: TlsAcceptor, half: Half) -> Result<(String, tokio::runtime::Runtime)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("https://{}", listener.local_addr()?);
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener)?;
        let (ready, connections) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                if let Ok(stream) = acceptor.accept(stream).await
                    && ready.send(Ok::<_, io::Error>(Conn(stream))).await.is_err()
                {
                    return;
                }
            }
        });
        let server = tonic::transport::Server::builder()
            .add_service(LogServiceServer::new(half))
            .serve_with_incoming(ReceiverStream::new(connections));
        server.await.map_err(io::Error::other)
    });
    Ok((url, runtime))
}

type Message = Result<TailLogResponse, Status>;

enum Half {
    Source(Work),
    Relay(Relay),
}

struct Relay {
    source: String,
    ca: Vec<u8>,
    viewers: usize,
    there: Arc<Mutex<Vec<mpsc::Sender<Message>>>>,
}

#[tonic::async_trait]
impl LogService for Half {
    type TailLogStream = ReceiverStream<Message>;

    async fn tail_log(
        &self,
        _: Request<TailLogRequest>,
    ) -> Result<Response<Self::TailLogStream>, Status> {
        let (to_viewer, answer) = mpsc::channel(QUEUE);
        match self {
            Self::Source(work) => {
                tokio::spawn(send(*work, to_viewer));
            }
            Self::Relay(relay) => {
                let all = {
                    let mut there = relay
                        .there
                        .lock()
                        .map_err(|_| Status::internal("poisoned"))?;
                    there.push(to_viewer);
                    (there.len() == relay.viewers).then(|| std::mem::take(&mut *there))
                };
                if let Some(all) = all {
                    let (url, ca) = (relay.source.clone(), relay.ca.clone());
                    tokio::spawn(async move { hand_on(&url, &ca, all).await });
                }
            }
        }
        Ok(Response::new(ReceiverStream::new(answer)))
    }

    async fn read_log(
        &self,
        _: Request<ReadLogRequest>,
    ) -> Result<Response<ReadLogResponse>, Status> {
        Err(Status::unimplemented("a floor only streams"))
    }

    async fn clear_log(
        &self,
        _: Request<ClearLogRequest>,
    ) -> Result<Response<ClearLogResponse>, Status> {
        Err(Status::unimplemented("a floor only streams"))
    }
}

async fn hand_on(url: &str, ca: &[u8], viewers: Vec<mpsc::Sender<Message>>) -> Result<()> {
    let mut source = client(url, ca).await?;
    let mut messages = source
        .tail_log(TailLogRequest::default())
        .await?
        .into_inner();
    while let Some(message) = messages.next().await {
        let message = message?;
        for viewer in &viewers {
            viewer
                .send(Ok(message.clone()))
                .await
                .context("a viewer went")?;
        }
    }
    Ok(())
}

async fn send(work: Work, to: mpsc::Sender<Message>) -> Result<()> {
    let message = |data: bytes::Bytes| {
        let chunk = LogChunk {
            cursor: CURSOR.to_owned(),
            data,
            ..LogChunk::default()
        };
        Ok(TailLogResponse {
            event: Some(Event::Chunk(chunk)),
        })
    };
    match work {
        Work::Flood { bytes, .. } => {
            let data = bytes::Bytes::from(vec![b'x'; CHUNK]);
            for _ in 0..bytes / CHUNK as u64 {
                to.send(message(data.clone())).await?;
            }
        }
        Work::Lines { count, every } => {
            for _ in 0..count {
                tokio::time::sleep(every).await;
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
                to.send(message(format!("{now:.6}\n").into())).await?;
            }
        }
    }
    // Who closes the stream ends the viewers'.
    to.closed().await;
    Ok(())
}

/// A TLS connection as tonic wants it.
struct Conn(TlsStream<TcpStream>);

impl Connected for Conn {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
