//! Whose certificate is good, over real TLS: renewal, expiry, revocation.

use std::time::{Duration, Instant, SystemTime};

use rcgen::{CertificateParams, KeyPair, SanType};
use zhylon_proto::agent::v1::connect_request::Frame as Up;
use zhylon_proto::agent::v1::connect_response::Frame as Down;
use zhylon_proto::agent::v1::renew_certificate_response::Outcome;
use zhylon_proto::agent::v1::*;
use zhylon_shared::tls;

use super::house::{Agent, House, Link, enroll_request, hello};
use crate::ca::{AGENT_LIFE, AgentIdentity};

const DAY: Duration = Duration::from_secs(24 * 3600);
const DOMAIN: &str = "daemons.zhylon.net";

async fn lives(link: &mut Link, sequence: u64) {
    link.send(Up::Status(Status {
        sequence,
        full: true,
        daemons: Vec::new(),
    }))
    .await;
    match link.frame().await {
        Some(Down::StatusAck(ack)) => assert_eq!(ack.sequence, sequence),
        other => panic!("{other:?} instead of an acknowledgement"),
    }
}

async fn session(agent: &Agent) -> Link {
    let (mut link, _) = agent.welcome(hello()).await;
    let update = link.config().await;
    link.accept(&update).await;
    link
}

async fn rejected(agent: &Agent) -> RejectReason {
    agent.connect(hello()).await.rejected().await.0
}

async fn refused(agent: &Agent, key: &KeyPair) -> (RejectReason, String) {
    match agent.renew(key).await {
        Outcome::Reject(reject) => {
            assert!(reject.retry_after_ms >= 600_000, "{reject:?}");
            (reject.reason(), reject.message)
        }
        other => panic!("{other:?} instead of a rejection"),
    }
}

fn leaf(chain: &str) -> AgentIdentity {
    let der = tls::certificates(chain.as_bytes()).unwrap().remove(0);
    AgentIdentity::parse(&der, DOMAIN).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_certificate_is_good_until_the_new_one_is_shown() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let old = house.enroll(server).await;
    let mut link = session(&old).await;
    let key = KeyPair::generate().unwrap();
    // The first answer is lost, and another one's key gets its turn in between: the last one asked for counts.
    let lost = house.renewed(&old, &KeyPair::generate().unwrap()).await;
    house.renewed(&old, &key).await;
    let new = house.renewed(&old, &key).await;
    lives(&mut link, 1).await;
    drop(link);
    let mut link = session(&old).await;

    assert_eq!(
        refused(&lost, &KeyPair::generate().unwrap()).await.0,
        RejectReason::Superseded
    );
    assert!(
        matches!(new.renew(&key).await, Outcome::Renewed(proof) if proof.certificate_chain.is_empty())
    );
    // Whoever runs goes on; only who comes anew is judged.
    lives(&mut link, 2).await;
    assert_eq!(rejected(&old).await, RejectReason::Superseded);
    assert_eq!(rejected(&lost).await, RejectReason::Superseded);
    assert_eq!(
        refused(&old, &KeyPair::generate().unwrap()).await.0,
        RejectReason::Superseded
    );
    lives(&mut link, 3).await;
    let mut next = session(&new).await;
    assert_eq!(link.rejected().await.0, RejectReason::Superseded);
    lives(&mut next, 1).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_the_new_certificate_proves_it_too() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let old = house.enroll(server).await;
    let key = KeyPair::generate().unwrap();
    let new = house.renewed(&old, &key).await;
    session(&new).await;
    assert_eq!(rejected(&old).await, RejectReason::Superseded);
    // An enrolment does as a renewal does.
    let again = house.enroll(server).await;
    session(&new).await;
    session(&again).await;
    assert_eq!(rejected(&new).await, RejectReason::Superseded);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_renewal_gives_its_key_and_nothing_else() {
    let house = House::start().await;
    let (mine, other) = (
        house.create_server("one").await,
        house.create_server("two").await,
    );
    let agent = house.enroll(mine).await;
    let key = KeyPair::generate().unwrap();
    let mut wish = CertificateParams::default();
    let name = format!("spiffe://{DOMAIN}/server/{}", other.bare());
    wish.subject_alt_names
        .push(SanType::URI(name.try_into().unwrap()));
    wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let request = wish.serialize_request(&key).unwrap();
    let Ok(Outcome::Renewed(renewed)) = agent.renew_with(request.der()).await else {
        panic!("no certificate");
    };
    let identity = leaf(&renewed.certificate_chain);
    assert_eq!(identity.server, mine);
    let end = SystemTime::now() + AGENT_LIFE;
    assert!(identity.not_after <= end && identity.not_after > end - DAY);
    let der = tls::certificates(renewed.certificate_chain.as_bytes()).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(&der[0]).unwrap();
    assert!(!parsed.is_ca());
    for junk in [&b"junk"[..], b""] {
        let status = agent.renew_with(junk).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_may_be_renewed_for_180_days_and_nothing_else() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let now = SystemTime::now();
    let key = || KeyPair::generate().unwrap();
    let first = key();
    let aged = |days: u32| house.agent_of_key(server, now - AGENT_LIFE - days * DAY, &first);
    session(&house.agent_of_key(server, now, &first)).await;

    let (reason, message) = refused(&aged(181), &key()).await;
    assert_eq!(reason, RejectReason::Expired, "{message}");
    assert!(message.contains("enrolled anew"), "{message}");
    let (reason, message) = refused(&house.agent_of_key(server, now + DAY, &first), &key()).await;
    assert_eq!(reason, RejectReason::ClockSkew, "{message}");
    assert!(message.contains("clock says"), "{message}");

    let old = aged(179);
    assert_eq!(rejected(&old).await, RejectReason::Expired);
    let second = key();
    let new = house.renewed(&old, &second).await;
    // Its answer may be lost for weeks as well.
    assert_eq!(rejected(&old).await, RejectReason::Expired);
    let new_again = house.renewed(&old, &second).await;
    session(&new).await;
    session(&new_again).await;
    assert_eq!(refused(&old, &key()).await.0, RejectReason::Superseded);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_ends_both_streams_within_a_second_and_all_that_was_given() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let agent = house.enroll(server).await;
    let key = KeyPair::generate().unwrap();
    let unused = house.enrollment_token(server).await;
    let (mut link, welcome) = agent.welcome(hello()).await;
    let mut logs = link.logs(welcome.session_epoch).await;
    // Its configuration is not answered: the session must not wait for that.
    link.config().await;
    house.renewed(&agent, &key).await;

    let begun = Instant::now();
    let revoked = house.revoke(server).await;
    assert!(revoked.identity_revoke_time.is_some());
    let (reason, message) = link.rejected().await;
    assert_eq!(reason, RejectReason::Revoked);
    assert!(message.contains("revoked"), "{message}");
    while logs.message().await.is_ok_and(|frame| frame.is_some()) {}
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    let again = house.revoke(server).await.identity_revoke_time;
    assert_eq!(again, revoked.identity_revoke_time, "the same again");

    assert_eq!(rejected(&agent).await, RejectReason::Revoked);
    for key in [key, KeyPair::generate().unwrap()] {
        assert_eq!(refused(&agent, &key).await.0, RejectReason::Revoked);
    }
    let request = CertificateParams::default();
    let request = request.serialize_request(&KeyPair::generate().unwrap());
    let request = enroll_request(&unused, request.unwrap().der());
    let answer = house.servers().enroll(request).await.unwrap_err();
    assert_eq!(answer.code(), tonic::Code::Unauthenticated, "{answer:?}");

    // A new enrolment is a new identity; the one that was revoked stays dead.
    let again = house.enroll(server).await;
    assert!(house.server(server).await.identity_revoke_time.is_none());
    session(&again).await;
    assert_eq!(rejected(&agent).await, RejectReason::Superseded);
    house.stop().await;
}

/// A write that comes between the revocation and its hint is refused, and the agent hears why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_session_writes_nothing_and_hears_the_reason() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let mut link = session(&house.enroll(server).await).await;
    lives(&mut link, 1).await;
    house.revoke_without_a_hint(server).await;
    link.send(Up::Status(Status {
        sequence: 2,
        ..Status::default()
    }))
    .await;
    assert_eq!(link.rejected().await.0, RejectReason::Revoked);
    house.stop().await;
}

/// Epochs can be guessed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_was_followed_opens_no_log_stream_of_the_live_session() {
    let house = House::start().await;
    let server = house.create_server("one").await;
    let old = house.enroll(server).await;
    let new = house.renewed(&old, &KeyPair::generate().unwrap()).await;
    let (mut link, welcome) = new.welcome(hello()).await;
    link.config().await;
    let mut stranger = old.dial().await;
    let mut logs = stranger.logs(welcome.session_epoch).await;
    let status = logs.message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Aborted, "{status:?}");
    link.logs(welcome.session_epoch).await;
    house.stop().await;
}

/// Rounds of [`one_of_a_hundred_enrolments_wins`] without `ZHYLON_ENROLL_ROUNDS`.
const ROUNDS: u32 = 10;

/// A token that many hold: one gets in, all others are told so, and the winner may ask again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_hundred_enrolments_wins() {
    let rounds = std::env::var("ZHYLON_ENROLL_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().expect("a number"));
    let house = House::start().await;
    let server = house.create_server("one").await;
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let key = KeyPair::generate().unwrap();
            let request = CertificateParams::default().serialize_request(&key);
            request.unwrap().der().to_vec()
        })
        .collect();
    for round in 0..rounds {
        let token = house.enrollment_token(server).await;
        let calls: Vec<_> = requests
            .iter()
            .map(|der| {
                let (mut servers, request) = (house.servers(), enroll_request(&token, der));
                tokio::spawn(async move {
                    loop {
                        match servers.enroll(request.clone()).await {
                            // The database of a busy machine: asked again, as an agent would.
                            Err(status) if status.code() == tonic::Code::Unavailable => {}
                            answer => return answer,
                        }
                    }
                })
            })
            .collect();
        let mut won = Vec::new();
        for (n, call) in calls.into_iter().enumerate() {
            match call.await.unwrap() {
                Ok(_) => won.push(n),
                Err(status) => {
                    let text = status.message();
                    assert!(text.contains("used already"), "round {round}: {status:?}");
                }
            }
        }
        let [winner] = won[..] else {
            panic!("round {round}: {} of 100 were let in", won.len());
        };
        for (n, der) in requests
            .iter()
            .enumerate()
            .take(3)
            .chain([(winner, &requests[winner])])
        {
            let again = house.servers().enroll(enroll_request(&token, der)).await;
            assert_eq!(again.is_ok(), n == winner, "round {round}: {again:?}");
        }
    }
}
