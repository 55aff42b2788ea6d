use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt as _;
use zhylon_shared::id::ServerId;
use zhylon_shared::tls as shared_tls;

use super::*;
use crate::ca::AgentCa;

const DOMAIN: &str = "example.test";

struct House {
    ca: AgentCa,
    address: SocketAddr,
    incoming: ReceiverStream<io::Result<Conn>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _dir: tempfile::TempDir,
}

async fn agent_house(limits: Limits) -> House {
    let dir = tempfile::tempdir().unwrap();
    let ca = AgentCa::load_or_make(dir.path(), DOMAIN, SystemTime::now()).unwrap();
    let own = ca
        .listener(&["localhost".to_owned()], SystemTime::now())
        .unwrap();
    let config = Arc::new(agent_config(&ca, &own).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let door = Door::Agents {
        trust_domain: DOMAIN.into(),
    };
    let incoming = accept(listener, config, door, limits, stop.clone(), &tasks);
    House {
        ca,
        address,
        incoming,
        stop,
        tasks,
        _dir: dir,
    }
}

fn agent(signer: &AgentCa, trusts: &AgentCa, server: ServerId) -> ClientConfig {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let issued = signer
        .sign(request.der(), server, SystemTime::now())
        .unwrap();
    shared_tls::agent_client(
        trusts.bundle_pem().as_bytes(),
        issued.chain_pem.as_bytes(),
        key.serialize_pem().as_bytes(),
    )
    .unwrap()
}

type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(address: SocketAddr, config: ClientConfig) -> io::Result<ClientStream> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// With TLS 1.3 a client learns that its certificate was refused at its first read.
async fn refusal(address: SocketAddr, config: ClientConfig) -> String {
    match connect(address, config).await {
        Err(error) => error.to_string(),
        Ok(mut stream) => {
            let end = tokio::time::timeout(Duration::from_secs(120), stream.read_u8()).await;
            end.expect("it was let in").unwrap_err().to_string()
        }
    }
}

fn usual() -> Limits {
    Limits::USUAL
}

#[tokio::test]
async fn an_agent_is_known_by_its_certificate() {
    let mut house = agent_house(usual()).await;
    let server = ServerId::random().unwrap();
    let config = agent(&house.ca, &house.ca, server);
    let mut client = connect(house.address, config).await.unwrap();
    let mut conn = house.incoming.next().await.unwrap().unwrap();
    let peer = tonic::transport::server::Connected::connect_info(&conn);
    assert_eq!(peer.agent.unwrap().server, server);
    assert_eq!(peer.address, client.get_ref().0.local_addr().unwrap());
    client.write_all(b"ping").await.unwrap();
    let mut ping = [0; 4];
    conn.read_exact(&mut ping).await.unwrap();
    assert_eq!(&ping, b"ping");
}

#[tokio::test]
async fn strangers_are_refused_and_the_next_agent_is_not() {
    let mut house = agent_house(usual()).await;
    let server = ServerId::random().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = AgentCa::load_or_make(elsewhere.path(), DOMAIN, SystemTime::now()).unwrap();
    let refused = refusal(house.address, agent(&foreign, &house.ca, server)).await;
    assert!(refused.contains("alert"), "{refused}");

    let nobody = shared_tls::public_client(house.ca.bundle_pem().as_bytes()).unwrap();
    let refused = refusal(house.address, nobody).await;
    assert!(refused.contains("CertificateRequired"), "{refused}");

    // Signed by us, but the listener's own certificate is no agent's.
    let own = house
        .ca
        .listener(&["localhost".to_owned()], SystemTime::now())
        .unwrap();
    let posing = shared_tls::agent_client(
        house.ca.bundle_pem().as_bytes(),
        own.chain_pem.as_bytes(),
        own.key_pem.as_bytes(),
    );
    let refused = refusal(house.address, posing.unwrap()).await;
    assert!(refused.contains("alert"), "{refused}");

    let good = agent(&house.ca, &house.ca, server);
    let _client = connect(house.address, good).await.unwrap();
    let conn = house.incoming.next().await.unwrap().unwrap();
    let peer = tonic::transport::server::Connected::connect_info(&conn);
    assert_eq!(peer.agent.unwrap().server, server);
}

#[tokio::test]
async fn those_who_are_slow_give_way_to_those_who_are_there() {
    let limits = Limits {
        handshakes: 8,
        patience: Duration::from_millis(100),
        deadline: Duration::from_secs(60),
        ..usual()
    };
    let mut house = agent_house(limits).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(house.address).await.unwrap());
    }
    let config = agent(&house.ca, &house.ca, ServerId::random().unwrap());
    let begun = Instant::now();
    let client = connect(house.address, config);
    let client = tokio::time::timeout(Duration::from_secs(120), client).await;
    client.expect("a healthy client was starved").unwrap();
    house.incoming.next().await.unwrap().unwrap();
    assert!(begun.elapsed() < limits.deadline);
}

#[tokio::test]
async fn a_handshake_ends_at_its_deadline() {
    let limits = Limits {
        deadline: Duration::from_millis(200),
        patience: Duration::from_millis(100),
        ..usual()
    };
    let house = agent_house(limits).await;
    let mut idle = TcpStream::connect(house.address).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(120), idle.read_u8()).await;
    assert!(end.expect("the connection stays").is_err());
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once_and_its_place_comes_back() {
    let limits = Limits {
        connections: 1,
        ..usual()
    };
    let mut house = agent_house(limits).await;
    let server = ServerId::random().unwrap();
    let one = connect(house.address, agent(&house.ca, &house.ca, server))
        .await
        .unwrap();
    let conn = house.incoming.next().await.unwrap().unwrap();
    assert!(
        connect(house.address, agent(&house.ca, &house.ca, server))
            .await
            .is_err()
    );
    drop((one, conn));
    connect(house.address, agent(&house.ca, &house.ca, server))
        .await
        .unwrap();
    house.incoming.next().await.unwrap().unwrap();
}

#[tokio::test]
async fn after_stop_nothing_is_left() {
    let mut house = agent_house(usual()).await;
    let mut idle = TcpStream::connect(house.address).await.unwrap();
    house.stop.cancel();
    house.tasks.close();
    let done = tokio::time::timeout(Duration::from_secs(120), house.tasks.wait()).await;
    done.expect("tasks go on");
    assert!(house.incoming.next().await.is_none());
    assert!(matches!(idle.read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(TcpStream::connect(house.address).await.is_err());
}
