use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::KeyPair;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use zhylon_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use zhylon_proto::agent::v1::{
    ConnectRequest, ConnectResponse, Hello, LogSubscribe, Reject, RejectReason,
    RenewCertificateRequest, RenewCertificateResponse, StreamLogsRequest, StreamLogsResponse,
    Welcome, connect_request, connect_response, stream_logs_request, stream_logs_response,
};
use zhylon_shared::id::ServerId;
use zhylon_shared::redact::Secret;
use zhylon_shared::wire;

use super::fakes::{FakeHost, FakeLogs, config, id, snapshot};
use super::server::{Ca, Listening, builder, listen, mutual};
use crate::link::connect::{Places, keep};
use crate::link::identity::{About, Identity, Store};
use crate::link::report::{LinkReport, LinkState};

/// Longer than any first waits of a reconnecting agent (3 s each).
const DEADLINE: Duration = Duration::from_secs(120);

/// By so much the api-server's clock is ahead.
const SKEW: Duration = Duration::from_secs(3600);

type Down<T> = mpsc::Sender<Result<T, Status>>;

/// One stream an agent opened.
enum Opened {
    Control(Streaming<ConnectRequest>, Down<ConnectResponse>),
    Logs(Streaming<StreamLogsRequest>, Down<StreamLogsResponse>),
}

struct Fake {
    opened: mpsc::Sender<Opened>,
}

#[tonic::async_trait]
impl AgentService for Fake {
    type ConnectStream = ReceiverStream<Result<ConnectResponse, Status>>;
    type StreamLogsStream = ReceiverStream<Result<StreamLogsResponse, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<ConnectRequest>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (down, answers) = mpsc::channel(16);
        let opened = Opened::Control(request.into_inner(), down);
        self.opened.send(opened).await.unwrap();
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn renew_certificate(
        &self,
        _: Request<RenewCertificateRequest>,
    ) -> Result<Response<RenewCertificateResponse>, Status> {
        Err(Status::unimplemented("an older api-server"))
    }

    async fn stream_logs(
        &self,
        request: Request<Streaming<StreamLogsRequest>>,
    ) -> Result<Response<Self::StreamLogsStream>, Status> {
        let (down, answers) = mpsc::channel(16);
        let opened = Opened::Logs(request.into_inner(), down);
        self.opened.send(opened).await.unwrap();
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

/// An agent that is enrolled with a fake api-server.
struct World {
    dir: tempfile::TempDir,
    host: FakeHost,
    logs: FakeLogs,
    server_id: ServerId,
    opened: mpsc::Receiver<Opened>,
    cancel: CancellationToken,
    agent: Option<JoinHandle<()>>,
    listening: Listening,
    agents: Ca,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agents = Ca::new("agents");
        let (opened, streams) = mpsc::channel(16);
        let service = AgentServiceServer::new(Fake { opened });
        let server = mutual(&agents.server("127.0.0.1"), &agents);
        let listening = listen(server, builder().add_service(service)).await;
        Self {
            dir,
            host: FakeHost::new(),
            logs: FakeLogs::default(),
            server_id: ServerId::random().unwrap(),
            opened: streams,
            cancel: CancellationToken::new(),
            agent: None,
            listening,
            agents,
        }
    }

    fn enroll(&self, signed_by: &Ca) {
        let key = KeyPair::generate().unwrap();
        let store = Store::new(self.dir.path());
        let lock = store.lock().unwrap().unwrap();
        let identity = Identity {
            about: About {
                server_id: self.server_id,
                agent_addresses: vec![self.listening.address.to_string()],
                api_url: "https://127.0.0.1:1".to_owned(),
            },
            key: Secret::new(key.serialize_pem()),
            chain: signed_by.agent(&key),
            ca: self.agents.pem(),
        };
        store.store(&lock, &identity).unwrap();
    }

    fn start(&mut self) {
        let places = Places {
            state_dir: self.dir.path().to_owned(),
            run_dir: self.dir.path().to_owned(),
        };
        let agent = keep(
            places,
            self.host.clone(),
            self.logs.clone(),
            self.cancel.clone(),
        );
        self.agent = Some(tokio::spawn(agent));
    }

    async fn next(&mut self) -> Opened {
        timeout(DEADLINE, self.opened.recv())
            .await
            .expect("a stream in time")
            .unwrap()
    }

    /// The next control stream; log streams of the session before are passed over.
    async fn control(&mut self) -> (Streaming<ConnectRequest>, Down<ConnectResponse>) {
        timeout(DEADLINE, async {
            loop {
                if let Opened::Control(up, down) = self.next().await {
                    return (up, down);
                }
            }
        })
        .await
        .expect("a session in time")
    }

    /// Accepts a control stream and welcomes it.
    async fn welcome(&mut self) -> (Hello, Streaming<ConnectRequest>, Down<ConnectResponse>) {
        let (mut up, down) = self.control().await;
        let hello = up.message().await.unwrap().unwrap().frame;
        let Some(connect_request::Frame::Hello(hello)) = hello else {
            panic!("{hello:?} instead of hello");
        };
        let welcome = Welcome {
            protocol: 1,
            session_epoch: 77,
            heartbeat_interval_ms: 1000,
            server_time: Some(wire::timestamp(SystemTime::now() + SKEW)),
            ..Welcome::default()
        };
        say(&down, connect_response::Frame::Welcome(welcome)).await;
        (hello, up, down)
    }

    async fn reported(&self, wanted: impl Fn(&LinkReport) -> bool) -> LinkReport {
        reported(self.dir.path(), wanted).await
    }

    async fn end(mut self) {
        self.cancel.cancel();
        timeout(DEADLINE, self.agent.take().unwrap())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(LinkReport::read(self.dir.path()).unwrap(), None);
    }
}

/// The report, once it is as wanted.
async fn reported(dir: &Path, wanted: impl Fn(&LinkReport) -> bool) -> LinkReport {
    timeout(DEADLINE, async {
        loop {
            if let Some(report) = LinkReport::read(dir).unwrap()
                && wanted(&report)
            {
                return report;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("a report in time")
}

async fn say(down: &Down<ConnectResponse>, frame: connect_response::Frame) {
    let frame = Some(frame);
    down.send(Ok(ConnectResponse { frame })).await.unwrap();
}

#[tokio::test]
async fn waits_for_an_identity_speaks_and_comes_back() {
    let mut world = World::new().await;
    world.start();
    let report = world.reported(|_| true).await;
    assert_eq!(
        (report.state, report.server_id),
        (LinkState::NotEnrolled, None)
    );
    world.enroll(&world.agents);
    let (first, mut up, down) = world.welcome().await;
    assert_eq!((first.protocol_min, first.applied_revision), (1, 0));
    let report = world
        .reported(|report| report.state == LinkState::Connected)
        .await;
    assert_eq!(report.server_id, Some(world.server_id));
    let told = Duration::from_millis(report.server_time().unwrap().unsigned_abs());
    let skew = (SystemTime::UNIX_EPOCH + told).duration_since(SystemTime::now());
    assert!(
        skew.unwrap().abs_diff(SKEW) < DEADLINE,
        "its clock is known"
    );
    let update = snapshot(4, &[config(1, "sleep 1", 4)]);
    say(&down, connect_response::Frame::ConfigUpdate(update)).await;
    loop {
        let frame = up.message().await.unwrap().unwrap().frame;
        if let Some(connect_request::Frame::ConfigAck(ack)) = frame {
            break assert_eq!((ack.revision, ack.refused.as_str()), (4, ""));
        }
    }
    // The server goes away in the middle of a session.
    down.send(Err(Status::unavailable("going away")))
        .await
        .unwrap();
    drop((up, down));
    let (second, _up, _down) = world.welcome().await;
    assert_eq!(
        (second.applied_revision, second.config_epoch.as_str()),
        (4, "epoch")
    );
    assert_eq!(second.agent_instance_id, first.agent_instance_id);
    let report = world
        .reported(|report| report.state == LinkState::Connected)
        .await;
    assert_eq!(report.last_error.as_deref(), Some("going away"));
    world.end().await;
}

#[tokio::test]
async fn logs_flow_beside_and_a_lost_log_stream_costs_no_session() {
    let mut world = World::new().await;
    world.enroll(&world.agents);
    world.logs.add(1).write(0, b"line\n");
    world.start();
    let (_, mut control, _down) = world.welcome().await;
    for round in 0..2 {
        let Opened::Logs(mut up, down) = world.next().await else {
            panic!("the session was lost in round {round}");
        };
        let hello = up.message().await.unwrap().unwrap().frame;
        let Some(stream_logs_request::Frame::Hello(hello)) = hello else {
            panic!("{hello:?} instead of hello");
        };
        assert_eq!(hello.session_epoch, 77);
        let subscribe = LogSubscribe {
            subscription_id: 1,
            daemon_id: id(1).to_string(),
            credit_bytes: 1000,
            start: Some(zhylon_proto::agent::v1::log_subscribe::Start::Position(0)),
            ..LogSubscribe::default()
        };
        let frame = Some(stream_logs_response::Frame::Subscribe(subscribe));
        down.send(Ok(StreamLogsResponse { frame })).await.unwrap();
        let data = up.message().await.unwrap().unwrap().frame;
        let Some(stream_logs_request::Frame::Data(data)) = data else {
            panic!("{data:?} instead of data");
        };
        assert_eq!(data.data.as_ref(), b"line\n");
        // Dropping both halves ends this log stream.
    }
    // The one control stream still speaks.
    loop {
        let frame = control.message().await.unwrap().unwrap().frame;
        if let Some(connect_request::Frame::Heartbeat(_)) = frame {
            break;
        }
    }
    world.end().await;
}

#[tokio::test]
async fn a_foreign_certificate_is_a_reason_and_not_a_silence() {
    let mut world = World::new().await;
    world.enroll(&Ca::new("somebody else's"));
    world.start();
    let report = world.reported(|report| report.last_error.is_some()).await;
    assert_eq!(report.state, LinkState::Connecting);
    let why = report.last_error.unwrap();
    assert!(
        why.contains("UnknownCA") || why.contains("DecryptError"),
        "{why}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_revoked_agent_says_so_and_an_enrolment_takes_effect_at_once() {
    let mut world = World::new().await;
    world.enroll(&world.agents);
    world.start();
    let Opened::Control(_up, down) = world.next().await else {
        panic!("logs before control");
    };
    let reject = Reject {
        reason: RejectReason::Revoked.into(),
        message: "the server was deleted".to_owned(),
        retry_after_ms: 0,
    };
    say(&down, connect_response::Frame::Reject(reject)).await;
    let report = world
        .reported(|report| report.state == LinkState::Revoked)
        .await;
    let why = report.last_error.unwrap();
    assert!(why.contains("REVOKED: the server was deleted"), "{why}");
    // It would ask again in ten minutes; a new identity is tried at once.
    world.enroll(&world.agents);
    let (_, _up, _down) = world.welcome().await;
    world
        .reported(|report| report.state == LinkState::Connected)
        .await;
    // And in the middle of a session of the old one.
    world.server_id = ServerId::random().unwrap();
    world.enroll(&world.agents);
    let (_, _up, _down) = world.welcome().await;
    let new = Some(world.server_id);
    world
        .reported(|report| report.state == LinkState::Connected && report.server_id == new)
        .await;
    world.end().await;
}
