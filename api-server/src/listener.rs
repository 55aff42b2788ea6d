//! Our own accept loops: TCP in, TLS connections out. Handshakes are bounded in number and time, a connection knows
//! its peer, and nothing of a handshake that failed reaches the gRPC server.
//!
//! Whether an agent's certificate is in date, or revoked, is not judged here (a typed answer needs a call): see
//! `grpc/agent.rs`.

mod conn;
mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use conn::{Conn, Peer};
pub(crate) use tls::{agent_config, public_config};

use crate::ca::AgentIdentity;

/// How often those who are out of patience are told while somebody waits.
const PRESSURE_INTERVAL: Duration = Duration::from_millis(50);
/// Connections whose handshake is done and that the gRPC server did not take yet. When full, handshakes wait.
const READY_MAX: usize = 64;
/// Rest after the system refused a connection, for want of a descriptor or of memory: trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// What a listener allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Handshakes at the same time. When all places are taken, handshakes older than `patience` give way to new ones.
    pub(crate) handshakes: usize,
    /// Longest handshake.
    pub(crate) deadline: Duration,
    /// Longest handshake while others wait for its place.
    pub(crate) patience: Duration,
    /// Connections at the same time; one more is closed at once, so that its client tries again.
    pub(crate) connections: usize,
}

impl Limits {
    /// What both listeners allow. A handshake costs some 1 ms of CPU, so 512 of them are half a second of work; a
    /// second is enough for everyone who is really there, even from the other side of the world.
    pub(crate) const USUAL: Self = Self {
        handshakes: 512,
        deadline: Duration::from_secs(5),
        patience: Duration::from_secs(1),
        connections: 16_384,
    };
}

/// Who is awaited at a listener.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// Clients of the public API: no certificate.
    Public,
    /// Agents: the certificate names a server of this trust domain.
    Agents {
        /// The trust domain.
        trust_domain: Arc<str>,
    },
}

/// Accepts until `stop`; the listener is closed then. Everything it starts runs on `tasks`.
pub(crate) fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    door: Door,
    limits: Limits,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> ReceiverStream<io::Result<Conn>> {
    let (ready, incoming) = mpsc::channel(READY_MAX);
    let gate = Gate {
        acceptor: TlsAcceptor::from(config),
        door,
        limits,
        ready,
        handshakes: Arc::new(Semaphore::new(limits.handshakes)),
        connections: Arc::new(Semaphore::new(limits.connections)),
        pressure: Arc::new(Notify::new()),
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = gate.run(listener) => {}
        }
    });
    ReceiverStream::new(incoming)
}

#[derive(Clone)]
struct Gate {
    acceptor: TlsAcceptor,
    door: Door,
    limits: Limits,
    ready: mpsc::Sender<io::Result<Conn>>,
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    pressure: Arc<Notify>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Gate {
    async fn run(self, listener: TcpListener) {
        loop {
            let tcp = match listener.accept().await {
                Ok((tcp, _)) => tcp,
                // The peer was gone before we looked: its affair.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    tracing::warn!(%error, "can not accept connections; pausing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(connection) = self.connections.clone().try_acquire_owned() else {
                tracing::debug!("all connections are taken; one more was closed");
                continue;
            };
            let Some(handshake) = self.handshake_place().await else {
                return;
            };
            let gate = self.clone();
            self.tasks.spawn(async move {
                let stop = gate.stop.clone();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = gate.introduce(tcp, connection, handshake) => {}
                }
            });
        }
    }

    /// A place among the handshakes. While there is none, those that took too long are asked to go.
    async fn handshake_place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.handshakes.clone().try_acquire_owned() {
            return Some(place);
        }
        let mut place = std::pin::pin!(self.handshakes.clone().acquire_owned());
        loop {
            self.pressure.notify_waiters();
            match tokio::time::timeout(PRESSURE_INTERVAL, &mut place).await {
                Ok(place) => return place.ok(),
                Err(_) => continue,
            }
        }
    }

    async fn introduce(
        self,
        tcp: TcpStream,
        connection: OwnedSemaphorePermit,
        handshake: OwnedSemaphorePermit,
    ) {
        let accepted = self.handshake(tcp, connection).await;
        drop(handshake);
        match accepted {
            // An error means that the server is gone: so is the connection.
            Ok(conn) => drop(self.ready.send(Ok(conn)).await),
            Err(error) => tracing::debug!(%error, "TLS handshake failed"),
        }
    }

    async fn handshake(&self, tcp: TcpStream, place: OwnedSemaphorePermit) -> io::Result<Conn> {
        let address = tcp.peer_addr()?;
        tcp.set_nodelay(true)?;
        let mut handshake = std::pin::pin!(self.acceptor.accept(tcp));
        let stream = match tokio::time::timeout(self.limits.patience, &mut handshake).await {
            Ok(done) => done?,
            Err(_) => tokio::select! {
                done = &mut handshake => done?,
                () = self.pressure.notified() => return Err(io::ErrorKind::TimedOut.into()),
                () = tokio::time::sleep(self.limits.deadline.saturating_sub(self.limits.patience)) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            },
        };
        let agent = match &self.door {
            Door::Public => None,
            Door::Agents { trust_domain } => {
                let certificates = stream.get_ref().1.peer_certificates();
                let leaf = certificates
                    .and_then(|chain| chain.first())
                    .ok_or_else(|| io::Error::other("no certificate"))?;
                let identity =
                    AgentIdentity::parse(leaf, trust_domain).map_err(io::Error::other)?;
                Some(Arc::new(identity))
            }
        };
        Ok(Conn::new(stream, Peer { address, agent }, place))
    }
}

#[cfg(test)]
mod tests;
