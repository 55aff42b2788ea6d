//! A fake api-server in this process: real TLS 1.3 on loopback, its own CA, its own accept loop. What it hears goes to
//! the test, which answers.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::{Connected, Router, Server};
use zhylon_shared::tls;

/// How far certificates reach to both sides.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate authority.
pub(super) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Self { issuer }
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(super) fn pin(&self) -> [u8; 32] {
        tls::spki_pin(self.issuer.der()).unwrap()
    }

    /// A server's certificate for this name or address.
    pub(super) fn server(&self, name: &str) -> Issued {
        let now = SystemTime::now();
        self.server_at(name, now - DAY, now + DAY)
    }

    /// The same with these dates.
    pub(super) fn server_at(&self, name: &str, begin: SystemTime, end: SystemTime) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (begin.into(), end.into());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        Issued { certificate, key }
    }

    /// An agent's certificate for this key, PEM.
    pub(super) fn agent(&self, key: &impl PublicKeyData) -> String {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(key, &self.issuer).unwrap().pem()
    }
}

/// A certificate that signs itself.
pub(super) fn self_signed(name: &str) -> (Issued, [u8; 32]) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let pin = tls::spki_pin(&CertificateDer::from(certificate.der().to_vec())).unwrap();
    let certificate = certificate.pem();
    let key = key.serialize_pem();
    (Issued { certificate, key }, pin)
}

/// The agent listener: demands a certificate of `ca`.
pub(super) fn mutual(own: &Issued, ca: &Ca) -> ServerConfig {
    let roots = Arc::new(tls::roots(ca.pem().as_bytes()).unwrap());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, tls::provider())
        .build()
        .unwrap();
    let mut config = ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            tls::certificates(own.certificate.as_bytes()).unwrap(),
            tls::private_key(own.key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![tls::ALPN_H2.to_vec()];
    config.send_tls13_tickets = 0;
    config
}

/// A running server; ends when dropped.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    /// TLS handshakes that succeeded.
    pub(super) handshakes: Arc<AtomicUsize>,
    _stop: DropGuard,
}

/// Serves `router` behind `config` on a free port of loopback.
pub(super) async fn listen(config: ServerConfig, router: Router) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handshakes = Arc::new(AtomicUsize::new(0));
    let stop = CancellationToken::new();
    let (ready, incoming) = mpsc::channel::<std::io::Result<Conn>>(16);
    let accepting = accept(listener, config, handshakes.clone(), ready);
    tokio::spawn(stop.clone().run_until_cancelled_owned(accepting));
    let serving = router.serve_with_incoming(ReceiverStream::new(incoming));
    tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
    Listening {
        address,
        handshakes,
        _stop: stop.drop_guard(),
    }
}

async fn accept(
    listener: TcpListener,
    config: ServerConfig,
    handshakes: Arc<AtomicUsize>,
    ready: mpsc::Sender<std::io::Result<Conn>>,
) {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    while let Ok((tcp, _)) = listener.accept().await {
        // One at a time is enough here. A failed handshake must not reach tonic.
        if let Ok(stream) = acceptor.accept(tcp).await {
            handshakes.fetch_add(1, Ordering::SeqCst);
            let _ = ready.send(Ok(Conn(stream))).await;
        }
    }
}

pub(super) fn builder() -> Server {
    Server::builder()
}

struct Conn(TlsStream<TcpStream>);

impl Connected for Conn {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
