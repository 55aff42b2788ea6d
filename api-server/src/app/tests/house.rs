//! A whole api-server in this process, on loopback with real TLS, and agents played by the tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Streaming};
use zhylon_proto::agent::v1::agent_service_client::AgentServiceClient;
use zhylon_proto::agent::v1::connect_request::Frame as Up;
use zhylon_proto::agent::v1::connect_response::Frame as Down;
use zhylon_proto::agent::v1::renew_certificate_response::Outcome;
use zhylon_proto::agent::v1::*;
use zhylon_proto::daemons::v1 as api;
use zhylon_proto::daemons::v1::daemon_service_client::DaemonServiceClient;
use zhylon_proto::daemons::v1::log_service_client::LogServiceClient;
use zhylon_proto::daemons::v1::server_service_client::ServerServiceClient;
use zhylon_shared::id::ServerId;
use zhylon_shared::tls;
use zhylon_shared::token::EnrollmentToken;

use crate::admin::{self, BootstrapArgs};
use crate::app::App;
use crate::ca::AgentCa;
use crate::clock::Clock;
use crate::config::{Config, ConfigArgs};
use crate::domain::Domain;

/// Longest wait for anything that should happen.
pub(super) const SOON: Duration = Duration::from_secs(120);

pub(super) struct House {
    pub(super) dir: tempfile::TempDir,
    pub(super) domain: Domain,
    pub(super) public: Channel,
    pub(super) token: String,
    pub(super) team: String,
    agent_port: u16,
    stop: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl House {
    pub(super) async fn start() -> Self {
        Self::with_heartbeat(15_000).await
    }

    pub(super) async fn with_heartbeat(milliseconds: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let args = ConfigArgs {
            listen: Some("127.0.0.1:0".into()),
            agent_listen: Some("127.0.0.1:0".into()),
            data_dir: Some(data.display().to_string()),
            ..ConfigArgs::default()
        };
        let mut config = Config::load(&args, |_| None).unwrap();
        config.heartbeat_interval = Duration::from_millis(milliseconds);
        let bootstrap = BootstrapArgs::new(
            "Anna",
            "Team One",
            dir.path().join("operator.token"),
            dir.path().join("owner.token"),
        );
        let made = admin::bootstrap(&config, bootstrap).await.unwrap();
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let token = std::fs::read_to_string(dir.path().join("owner.token")).unwrap();

        let app = App::build(&config, Clock::system()).await.unwrap();
        let domain = app.domain().clone();
        let addresses = std::fs::read(data.join("addresses.json")).unwrap();
        let addresses: serde_json::Value = serde_json::from_slice(&addresses).unwrap();
        let port = |key: &str| -> u16 {
            let address = addresses[key].as_str().unwrap();
            address.rsplit_once(':').unwrap().1.parse().unwrap()
        };
        let stop = CancellationToken::new();
        let served = tokio::spawn(app.serve(stop.clone()));
        let ca = std::fs::read(data.join("public-ca.pem")).unwrap();
        let config = Arc::new(tls::public_client(&ca).unwrap());
        let url = format!("https://localhost:{}", port("listen"));
        Self {
            public: tls::connect(&url, config).await.unwrap(),
            agent_port: port("agent_listen"),
            token: token.trim().to_owned(),
            team: made["team_id"].as_str().unwrap().to_owned(),
            domain,
            dir,
            stop,
            served,
        }
    }

    pub(super) fn ca(&self) -> AgentCa {
        let data = self.dir.path().join("data");
        AgentCa::load_or_make(&data, "daemons.zhylon.net", SystemTime::now()).unwrap()
    }

    /// A request with the first owner's token.
    pub(super) fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    pub(super) fn daemons(&self) -> DaemonServiceClient<Channel> {
        DaemonServiceClient::new(self.public.clone())
    }

    pub(super) fn servers(&self) -> ServerServiceClient<Channel> {
        ServerServiceClient::new(self.public.clone())
    }

    pub(super) fn logs(&self) -> LogServiceClient<Channel> {
        LogServiceClient::new(self.public.clone())
    }

    pub(super) async fn create_server(&self, name: &str) -> ServerId {
        let mut servers = self.servers();
        let created = servers.create_server(self.call(api::CreateServerRequest {
            team_id: self.team.clone(),
            name: name.to_owned(),
        }));
        let server = created.await.unwrap().into_inner().server.unwrap();
        server.id.parse().unwrap()
    }

    pub(super) async fn create_daemon(&self, server: ServerId, command: &str) -> api::Daemon {
        let mut daemons = self.daemons();
        let created = daemons.create_daemon(self.call(api::CreateDaemonRequest {
            server_id: server.to_string(),
            daemon: Some(api::Daemon {
                command: command.to_owned(),
                ..api::Daemon::default()
            }),
            validate_only: false,
        }));
        created.await.unwrap().into_inner().daemon.unwrap()
    }

    /// Enrols as a real agent does: token, key of its own, request; then a certificate.
    pub(super) async fn events(&self, daemon: &str) -> Vec<api::DaemonEvent> {
        let mut daemons = self.daemons();
        let listed = daemons.list_daemon_events(self.call(api::ListDaemonEventsRequest {
            daemon_id: daemon.to_owned(),
            ..Default::default()
        }));
        listed.await.unwrap().into_inner().events
    }

    pub(super) async fn enroll(&self, server: ServerId) -> Agent {
        let token = self.enrollment_token(server).await;
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default()
            .serialize_request(&key)
            .unwrap();
        let request = enroll_request(&token, request.der());
        let answer = self.servers().enroll(request).await.unwrap().into_inner();
        assert_eq!(answer.server_id, server.to_string());
        assert_eq!(
            answer.agent_addresses[0],
            format!("localhost:{}", self.agent_port)
        );
        self.agent(&answer.certificate_chain, &answer.ca_bundle, &key)
    }

    /// Revokes the identity of a server.
    pub(super) async fn revoke(&self, server: ServerId) -> api::Server {
        let mut servers = self.servers();
        let revoked = servers.revoke_server_identity(self.call(api::RevokeServerIdentityRequest {
            server_id: server.to_string(),
        }));
        revoked.await.unwrap().into_inner().server.unwrap()
    }

    /// As when another replica did and its hint was lost.
    pub(super) async fn revoke_without_a_hint(&self, server: ServerId) {
        let owner = zhylon_shared::redact::Secret::new(self.token.clone());
        self.domain.revoke_silently(&owner, server).await;
    }

    pub(super) async fn server(&self, server: ServerId) -> api::Server {
        let mut servers = self.servers();
        let read = servers.get_server(self.call(api::GetServerRequest {
            server_id: server.to_string(),
        }));
        read.await.unwrap().into_inner().server.unwrap()
    }

    pub(super) async fn enrollment_token(&self, server: ServerId) -> EnrollmentToken {
        let mut servers = self.servers();
        let created =
            servers.create_enrollment_token(self.call(api::CreateEnrollmentTokenRequest {
                server_id: server.to_string(),
            }));
        let text = created.await.unwrap().into_inner().token;
        EnrollmentToken::parse(&text).unwrap()
    }

    /// With a certificate as the authority would have made it at `then`.
    pub(super) fn agent_of(&self, server: ServerId, then: SystemTime) -> Agent {
        self.agent_of_key(server, then, &KeyPair::generate().unwrap())
    }

    /// The same with this key.
    pub(super) fn agent_of_key(&self, server: ServerId, then: SystemTime, key: &KeyPair) -> Agent {
        let request = CertificateParams::default().serialize_request(key).unwrap();
        let ca = self.ca();
        let issued = ca.sign(request.der(), server, then).unwrap();
        self.agent(&issued.chain_pem, ca.bundle_pem(), key)
    }

    /// What an agent is after it asked for a certificate for this key.
    pub(super) async fn renewed(&self, agent: &Agent, key: &KeyPair) -> Agent {
        match agent.renew(key).await {
            Outcome::Renewed(new) => self.agent(&new.certificate_chain, &new.ca_bundle, key),
            Outcome::Reject(reject) => panic!("{reject:?}"),
        }
    }

    fn agent(&self, chain: &str, bundle: &str, key: &KeyPair) -> Agent {
        let key = key.serialize_pem();
        let config = tls::agent_client(bundle.as_bytes(), chain.as_bytes(), key.as_bytes());
        Agent {
            config: Arc::new(config.unwrap()),
            url: format!("https://localhost:{}", self.agent_port),
        }
    }

    /// Stops it; how long that took.
    pub(super) async fn stop(self) -> Duration {
        let begun = std::time::Instant::now();
        self.stop.cancel();
        let ended = tokio::time::timeout(SOON, self.served).await;
        ended.expect("it does not stop").unwrap().unwrap();
        begun.elapsed()
    }

    /// Wishes that it stops.
    pub(super) fn wish_stop(&self) {
        self.stop.cancel();
    }
}

/// What an agent sends once it has checked the pin.
pub(super) fn enroll_request(token: &EnrollmentToken, request: &[u8]) -> api::EnrollRequest {
    api::EnrollRequest {
        token: token.credential().expose().to_owned(),
        certificate_request: request.to_vec(),
        hostname: "test".to_owned(),
        agent_version: "0".to_owned(),
    }
}

pub(super) struct Agent {
    config: Arc<ClientConfig>,
    url: String,
}

/// One `Connect` stream, seen from the agent.
pub(super) struct Link {
    pub(super) client: AgentServiceClient<Channel>,
    pub(super) up: mpsc::Sender<ConnectRequest>,
    down: Streaming<ConnectResponse>,
}

pub(super) fn hello() -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        agent_version: "1.2.3".to_owned(),
        ..Hello::default()
    }
}

impl Agent {
    pub(super) async fn connect(&self, hello: Hello) -> Link {
        let mut link = self.dial().await;
        link.send(Up::Hello(hello)).await;
        link
    }

    /// Connects and is welcome.
    pub(super) async fn welcome(&self, hello: Hello) -> (Link, Welcome) {
        let mut link = self.connect(hello).await;
        match link.frame().await {
            Some(Down::Welcome(welcome)) => (link, welcome),
            other => panic!("{other:?} instead of welcome"),
        }
    }

    /// Asks for a certificate for this key.
    pub(super) async fn renew(&self, key: &KeyPair) -> Outcome {
        let request = CertificateParams::default().serialize_request(key).unwrap();
        self.renew_with(request.der()).await.unwrap()
    }

    /// The same with any request.
    pub(super) async fn renew_with(&self, request: &[u8]) -> Result<Outcome, tonic::Status> {
        let config = Arc::clone(&self.config);
        let channel = tls::connect(&self.url, config).await.unwrap();
        let mut client = AgentServiceClient::new(channel);
        let request = RenewCertificateRequest {
            certificate_request: request.to_vec(),
            wall_time: None,
        };
        let answer = client.renew_certificate(request).await?;
        Ok(answer.into_inner().outcome.unwrap())
    }

    /// Opens the stream and says nothing.
    pub(super) async fn dial(&self) -> Link {
        let channel = tls::connect(&self.url, Arc::clone(&self.config))
            .await
            .unwrap();
        let mut client = AgentServiceClient::new(channel)
            .max_decoding_message_size(16 << 20)
            .max_encoding_message_size(16 << 20);
        let (up, frames) = mpsc::channel(64);
        let down = client.connect(ReceiverStream::new(frames)).await.unwrap();
        Link {
            client,
            up,
            down: down.into_inner(),
        }
    }
}

impl Link {
    /// Opens the log stream of a session.
    pub(super) async fn logs(&mut self, session_epoch: i64) -> Streaming<StreamLogsResponse> {
        let hello = stream_logs_request::Frame::Hello(LogHello { session_epoch });
        let frames = tokio_stream::iter([StreamLogsRequest { frame: Some(hello) }]);
        let frames = frames.chain(tokio_stream::pending());
        self.client.stream_logs(frames).await.unwrap().into_inner()
    }

    pub(super) async fn send(&mut self, frame: Up) {
        let frame = ConnectRequest { frame: Some(frame) };
        // A link that was refused meanwhile says so in what comes from it.
        let _ = self.up.send(frame).await;
    }

    /// The next frame but heartbeats; `None` when the stream has ended.
    pub(super) async fn frame(&mut self) -> Option<Down> {
        loop {
            let frame = tokio::time::timeout(SOON, self.down.message()).await;
            match frame.expect("nothing comes").ok()??.frame.unwrap() {
                Down::Heartbeat(_) => {}
                frame => return Some(frame),
            }
        }
    }

    /// The next frame, heartbeats too.
    pub(super) async fn any_frame(&mut self) -> Option<Down> {
        let frame = tokio::time::timeout(SOON, self.down.message()).await;
        frame.expect("nothing comes").ok()??.frame
    }

    pub(super) async fn config(&mut self) -> ConfigUpdate {
        match self.frame().await {
            Some(Down::ConfigUpdate(update)) => update,
            other => panic!("{other:?} instead of a configuration"),
        }
    }

    pub(super) async fn accept(&mut self, update: &ConfigUpdate) {
        self.send(Up::ConfigAck(ConfigAck {
            config_epoch: update.config_epoch.clone(),
            revision: update.target_revision,
            ..ConfigAck::default()
        }))
        .await;
    }

    pub(super) async fn rejected(&mut self) -> (RejectReason, String) {
        match self.frame().await {
            Some(Down::Reject(reject)) => {
                assert!(self.frame().await.is_none(), "the stream goes on");
                (reject.reason(), reject.message)
            }
            other => panic!("{other:?} instead of a rejection"),
        }
    }
}
