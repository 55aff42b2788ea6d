use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use rcgen::CertificateSigningRequestParams;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use zhylon_proto::daemons::v1::server_service_server::{ServerService, ServerServiceServer};
use zhylon_proto::daemons::v1::{
    CreateEnrollmentTokenRequest, CreateEnrollmentTokenResponse, CreateServerRequest,
    CreateServerResponse, DeleteServerRequest, DeleteServerResponse, EnrollRequest, EnrollResponse,
    GetServerRequest, GetServerResponse, ListServersRequest, ListServersResponse,
    RevokeServerIdentityRequest, RevokeServerIdentityResponse,
};
use zhylon_shared::id::{EnrollmentId, ServerId};
use zhylon_shared::redact::Secret;
use zhylon_shared::tls;
use zhylon_shared::token::{EnrollmentToken, new_secret};

use super::server::{Ca, DAY, Issued, Listening, builder, listen, self_signed};
use crate::link::enroll::{EnrollError, enroll_into};
use crate::link::identity::Store;

/// What the fake answers with.
#[derive(Clone, Copy)]
enum Answer {
    Identity(ServerId),
    Reason(&'static str),
    Lost,
    OtherKey(ServerId),
}

#[derive(Clone)]
struct Fake {
    ca: Arc<Ca>,
    answer: Arc<Mutex<Answer>>,
    heard: Arc<Mutex<Vec<EnrollRequest>>>,
}

impl Fake {
    fn new(answer: Answer) -> Self {
        Self {
            ca: Arc::new(Ca::new("agents")),
            answer: Arc::new(Mutex::new(answer)),
            heard: Arc::default(),
        }
    }

    fn heard(&self) -> Vec<EnrollRequest> {
        self.heard.lock().unwrap().clone()
    }

    async fn listen(&self, chain: &str, key: &str) -> Listening {
        let config = tls::public_server(chain.as_bytes(), key.as_bytes()).unwrap();
        let service = ServerServiceServer::new(self.clone());
        listen(config, builder().add_service(service)).await
    }
}

/// `#[async_trait]` does not look into macros, so this writes what it would.
macro_rules! not_called {
    ($($method:ident: $request:ty => $response:ty,)*) => {$(
        fn $method<'life0, 'async_trait>(
            &'life0 self,
            _: Request<$request>,
        ) -> BoxFuture<'async_trait, Result<Response<$response>, Status>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            panic!("an agent calls Enroll only")
        }
    )*};
}

#[tonic::async_trait]
impl ServerService for Fake {
    not_called! {
        create_server: CreateServerRequest => CreateServerResponse,
        get_server: GetServerRequest => GetServerResponse,
        list_servers: ListServersRequest => ListServersResponse,
        delete_server: DeleteServerRequest => DeleteServerResponse,
        revoke_server_identity: RevokeServerIdentityRequest => RevokeServerIdentityResponse,
        create_enrollment_token: CreateEnrollmentTokenRequest => CreateEnrollmentTokenResponse,
    }

    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        self.heard.lock().unwrap().push(request.clone());
        let csr = request.certificate_request.as_slice().into();
        let key = CertificateSigningRequestParams::from_der(&csr)
            .unwrap()
            .public_key;
        let answer = *self.answer.lock().unwrap();
        let (server_id, certificate_chain) = match answer {
            Answer::Lost => return Err(Status::unavailable("going away")),
            Answer::Reason(reason) => {
                let details =
                    ErrorDetails::with_error_info(reason, "daemons.zhylon.net", HashMap::new());
                let message = "no, for a reason";
                return Err(Status::with_error_details(
                    Code::Unauthenticated,
                    message,
                    details,
                ));
            }
            Answer::Identity(id) => (id, self.ca.agent(&key)),
            Answer::OtherKey(id) => (id, self.ca.agent(&rcgen::KeyPair::generate().unwrap())),
        };
        Ok(Response::new(EnrollResponse {
            server_id: server_id.to_string(),
            certificate_chain,
            ca_bundle: self.ca.pem(),
            agent_addresses: vec!["127.0.0.1:1".to_owned()],
        }))
    }
}

fn token(pin: [u8; 32]) -> Secret {
    EnrollmentToken {
        pin,
        id: EnrollmentId::random().unwrap(),
        secret: new_secret().unwrap(),
    }
    .to_text()
}

fn chain(leaf: &Issued, ca: &Ca) -> String {
    format!("{}{}", leaf.certificate, ca.pem())
}

fn url(listening: &Listening) -> String {
    format!("https://127.0.0.1:{}", listening.address.port())
}

async fn enroll(dir: &Path, url: &str, token: &Secret) -> Result<ServerId, EnrollError> {
    enroll_into(dir, url, token, None, false).await
}

/// A public listener with a proper chain, and the token it would make.
async fn proper(fake: &Fake) -> (Listening, Secret) {
    let ca = Ca::new("public");
    let leaf = ca.server("127.0.0.1");
    (
        fake.listen(&chain(&leaf, &ca), &leaf.key).await,
        token(ca.pin()),
    )
}

#[tokio::test]
async fn a_token_becomes_an_identity_once() {
    let dir = tempfile::tempdir().unwrap();
    let id = ServerId::random().unwrap();
    let fake = Fake::new(Answer::Identity(id));
    let (listening, token) = proper(&fake).await;
    let url = url(&listening);
    assert_eq!(enroll(dir.path(), &url, &token).await.unwrap(), id);

    let sent = &fake.heard()[0];
    let (_, credential) = token
        .expose()
        .rsplit_once("_")
        .map(|(rest, secret)| {
            let id = rest.rsplit_once('_').unwrap().1;
            ((), format!("{id}_{secret}"))
        })
        .unwrap();
    assert_eq!(sent.token, credential);
    let store = Store::new(dir.path());
    let identity = store.load().unwrap().unwrap();
    assert_eq!(
        (identity.about.server_id, &identity.about.api_url),
        (id, &url)
    );
    assert_eq!(identity.about.agent_addresses, ["127.0.0.1:1"]);
    tls::agent_client(
        identity.ca.as_bytes(),
        identity.chain.as_bytes(),
        identity.key.expose().as_bytes(),
    )
    .unwrap();
    assert!(store.pending_key().unwrap().is_none());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(store.path()), 0o700);
    assert_eq!(mode(&store.path().join("key.pem")), 0o600);

    // Not again by accident; on purpose, yes.
    let again = enroll(dir.path(), &url, &token).await;
    assert!(matches!(again, Err(EnrollError::AlreadyEnrolled(old)) if old == id));
    let other = ServerId::random().unwrap();
    *fake.answer.lock().unwrap() = Answer::Identity(other);
    let replaced = enroll_into(dir.path(), &url, &token, None, true).await;
    assert_eq!(replaced.unwrap(), other);
    assert_eq!(store.about().unwrap().unwrap().server_id, other);
}

#[tokio::test]
async fn a_wrong_pin_sends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new(Answer::Identity(ServerId::random().unwrap()));
    let (listening, _) = proper(&fake).await;
    let result = enroll(dir.path(), &url(&listening), &token([7; 32])).await;
    assert!(
        matches!(result, Err(EnrollError::WrongPin(_))),
        "{result:?}"
    );
    assert!(fake.heard().is_empty());
    assert_eq!(listening.handshakes.load(Ordering::SeqCst), 0);
    assert!(Store::new(dir.path()).about().unwrap().is_none());
}

#[tokio::test]
async fn the_pinned_certificate_on_top_of_a_foreign_one_sends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new(Answer::Identity(ServerId::random().unwrap()));
    let ours = Ca::new("public");
    // Everybody can get at our CA's certificate; the leaf is another CA's of the same name.
    let leaf = Ca::new("public").server("127.0.0.1");
    let listening = fake.listen(&chain(&leaf, &ours), &leaf.key).await;
    let result = enroll(dir.path(), &url(&listening), &token(ours.pin())).await;
    assert!(
        matches!(result, Err(EnrollError::Untrusted { .. })),
        "{result:?}"
    );

    let elsewhere = ours.server("elsewhere.example");
    let listening = fake.listen(&chain(&elsewhere, &ours), &elsewhere.key).await;
    let result = enroll(dir.path(), &url(&listening), &token(ours.pin())).await;
    assert!(
        matches!(result, Err(EnrollError::Untrusted { .. })),
        "{result:?}"
    );
    assert!(fake.heard().is_empty());
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_and_nothing_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::new(Answer::Identity(ServerId::random().unwrap()));
    let ca = Ca::new("ours");
    let now = std::time::SystemTime::now();
    for (begin, end, verdict) in [
        (now + DAY, now + 2 * DAY, "is not valid yet"),
        (now - 2 * DAY, now - DAY, "has ended"),
    ] {
        let leaf = ca.server_at("127.0.0.1", begin, end);
        let listening = fake.listen(&chain(&leaf, &ca), &leaf.key).await;
        let result = enroll(dir.path(), &url(&listening), &token(ca.pin())).await;
        let text = result.unwrap_err().to_string();
        assert!(
            text.contains("clock skew") && text.contains(verdict),
            "{text}"
        );
        assert!(text.contains("Nothing was sent"), "{text}");
        // And so for every other connection.
        let trusting = Arc::new(tls::public_client(ca.pem().as_bytes()).unwrap());
        let refused = tls::connect(&url(&listening), trusting).await.unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("clock skew") && text.contains(verdict),
            "{text}"
        );
    }
    assert!(fake.heard().is_empty());
}

#[tokio::test]
async fn a_chain_without_its_issuer_needs_the_ca_file() {
    let dir = tempfile::tempdir().unwrap();
    let id = ServerId::random().unwrap();
    let fake = Fake::new(Answer::Identity(id));
    let ca = Ca::new("public");
    let leaf = ca.server("127.0.0.1");
    let listening = fake.listen(&leaf.certificate, &leaf.key).await;
    let der = &tls::certificates(leaf.certificate.as_bytes()).unwrap()[0];
    let token = token(tls::spki_pin(der).unwrap());
    let result = enroll(dir.path(), &url(&listening), &token).await;
    assert!(
        matches!(result, Err(EnrollError::Untrusted { .. })),
        "{result:?}"
    );
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    let result = enroll_into(dir.path(), &url(&listening), &token, Some(&file), false).await;
    assert_eq!(result.unwrap(), id);

    // One that signs itself is its own top.
    let dir = tempfile::tempdir().unwrap();
    let (alone, pin) = self_signed("127.0.0.1");
    let listening = fake.listen(&alone.certificate, &alone.key).await;
    let result = enroll(dir.path(), &url(&listening), &self::token(pin)).await;
    assert_eq!(result.unwrap(), id);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let dir = tempfile::tempdir().unwrap();
    let id = ServerId::random().unwrap();
    let fake = Fake::new(Answer::Lost);
    let (listening, token) = proper(&fake).await;
    let result = enroll(dir.path(), &url(&listening), &token).await;
    assert!(
        matches!(result, Err(EnrollError::NoAnswer(_))),
        "{result:?}"
    );
    *fake.answer.lock().unwrap() = Answer::Identity(id);
    assert_eq!(
        enroll(dir.path(), &url(&listening), &token).await.unwrap(),
        id
    );
    let keys: Vec<Vec<u8>> = (fake.heard().iter())
        .map(|request| {
            let csr = request.certificate_request.as_slice().into();
            let csr = CertificateSigningRequestParams::from_der(&csr).unwrap();
            rcgen::PublicKeyData::der_bytes(&csr.public_key).to_vec()
        })
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn every_refusal_has_its_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let id = ServerId::random().unwrap();
    let fake = Fake::new(Answer::Lost);
    let (listening, good) = proper(&fake).await;
    let (listening_url, good_token) = (url(&listening), good.clone());
    // A port that nobody listens at, and that nobody else gets meanwhile.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = format!("https://{}", taken.local_addr().unwrap());
    let unreachable = enroll(dir.path(), &dead, &good).await.unwrap_err();
    let mut texts = vec![unreachable.to_string()];
    for answer in [
        Answer::Reason("ENROLLMENT_TOKEN_USED"),
        Answer::Reason("ENROLLMENT_TOKEN_EXPIRED"),
        Answer::Reason("ENROLLMENT_TOKEN_UNKNOWN"),
        Answer::Reason("SOMETHING_NEW"),
        Answer::Lost,
        Answer::OtherKey(id),
    ] {
        *fake.answer.lock().unwrap() = answer;
        let result = enroll(dir.path(), &listening_url, &good_token).await;
        texts.push(result.unwrap_err().to_string());
    }
    let mistyped = Secret::new(&good.expose()[1..]);
    texts.push(
        enroll(dir.path(), &listening_url, &mistyped)
            .await
            .unwrap_err()
            .to_string(),
    );
    for bad in [
        "http://127.0.0.1:1",
        "127.0.0.1:1",
        "https://u:p@h",
        "https://h/path",
    ] {
        let error = enroll(dir.path(), bad, &good).await.unwrap_err();
        assert!(
            matches!(error, EnrollError::MalformedUrl(_)),
            "{bad}: {error}"
        );
    }
    let needles = [
        "can not reach",
        "used already",
        "expired",
        "does not know",
        "SOMETHING_NEW",
        "no answer",
        "can not be used",
        "exactly as",
    ];
    for (n, (text, needle)) in texts.iter().zip(needles).enumerate() {
        assert!(text.contains(needle), "{text} says {needle}");
        assert!(!text.contains(good.expose()), "a secret in {text}");
        assert_eq!(
            texts.iter().filter(|other| *other == text).count(),
            1,
            "{n}: {text}"
        );
    }
    assert!(Store::new(dir.path()).about().unwrap().is_none());
}

#[test]
fn a_second_enrolment_waits_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let lock = store.lock().unwrap();
    assert!(lock.is_some());
    assert!(store.lock().unwrap().is_none());
    drop(lock);
    assert!(store.lock().unwrap().is_some());
}
