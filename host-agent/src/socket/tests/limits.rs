//! What one peer can hold, and for how long. The clock is tokio's own, stopped: it jumps to the next deadline whenever
//! nothing else can happen, so nothing here takes time.

use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};
use zhylon_shared::state::InstanceState::Running;

use super::fake::Fake;
use crate::socket::http;

const STOP: &str = "<methodCall><methodName>supervisor.stopAllProcesses</methodName></methodCall>";
const MINUTE: Duration = Duration::from_secs(60);

/// Runs `peer` against a connection of its own, the clock standing still.
fn with_peer<F: Future<Output = ()>>(fake: &Fake, peer: impl FnOnce(UnixStream) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let served = tokio::task::spawn_local(http::serve(ours, fake.session()));
        peer(theirs).await;
        served.abort();
    });
}

/// Everything until the server hangs up.
async fn rest(peer: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = peer.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn a_resting_connection_is_kept_for_half_an_hour() {
    with_peer(&Fake::new(), |mut peer| async move {
        for _ in 0..2 {
            tokio::time::sleep(29 * MINUTE).await;
            peer.write_all(post(STOP).as_bytes()).await.unwrap();
            let mut answer = [0; 4096];
            let length = peer.read(&mut answer).await.unwrap();
            assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
            assert!(answer[..length].ends_with(b"</methodResponse>\n"));
        }
        let last = Instant::now();
        rest(&mut peer).await;
        let rested = last.elapsed();
        assert!(rested >= 30 * MINUTE && rested < 31 * MINUTE, "{rested:?}");
    });
}

#[test]
fn a_head_that_comes_byte_by_byte_ends_at_the_same_time() {
    with_peer(&Fake::new(), |mut peer| async move {
        let begun = Instant::now();
        let head = format!("GET /x HTTP/1.1\r\nLong: {}", "x".repeat(9_000));
        for byte in head.as_bytes() {
            if peer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(begun.elapsed() < 31 * MINUTE, "{:?}", begun.elapsed());
    });
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    for (length, sent) in [
        ("Content-Length: 9", "half"),
        ("Transfer-Encoding: chunked", "5\r\nh"),
    ] {
        with_peer(&Fake::new(), |mut peer| async move {
            let head = format!("POST /RPC2 HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n{sent}");
            let begun = Instant::now();
            peer.write_all(head.as_bytes()).await.unwrap();
            let said = rest(&mut peer).await;
            assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
            let waited = begun.elapsed();
            assert!(
                waited >= Duration::from_secs(10) && waited < MINUTE,
                "{waited:?}"
            );
        });
    }
    // Also when it drips.
    with_peer(&Fake::new(), |mut peer| async move {
        peer.write_all(b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n\r\n")
            .await
            .unwrap();
        let begun = Instant::now();
        while peer.write_all(b" ").await.is_ok() && begun.elapsed() < MINUTE {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(begun.elapsed() < MINUTE);
        assert!(rest(&mut peer).await.starts_with("HTTP/1.1 408 "));
    });
}

#[test]
fn a_command_is_waited_for_as_long_as_its_graces_and_a_minute() {
    let fake = Fake::new();
    let id = fake.add("web", 1, Running);
    fake.edit(id, |one| {
        one.hangs = true;
        one.entry.spec = std::sync::Arc::new(
            zhylon_shared::spec::DaemonSpec::check(zhylon_shared::spec::SpecDraft {
                command: "/bin/server".into(),
                user: Some("anna".into()),
                stop_seconds: Some(300),
                start_seconds: Some(20),
                ..Default::default()
            })
            .unwrap(),
        );
    });
    with_peer(&fake, |mut peer| async move {
        peer.write_all(post(STOP).as_bytes()).await.unwrap();
        let begun = Instant::now();
        let mut answer = vec![0; 4096];
        let length = peer.read(&mut answer).await.unwrap();
        let waited = begun.elapsed();
        assert!(
            waited >= Duration::from_secs(380) && waited < Duration::from_secs(390),
            "{waited:?}"
        );
        let said = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert!(
            said.contains("not done after 380 s; it goes on, see status"),
            "{said}"
        );
    });
}

/// A peer that does not read costs what fits between the two, and nobody waits for it.
#[test]
fn who_does_not_read_is_not_waited_for() {
    let fake = Fake::new();
    let id = fake.add("web", 1, Running);
    fake.edit(id, |one| one.log = Some(vec![b'x'; 8 << 20]));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut deaf = Vec::new();
        for request in [
            "GET /logtail/daemon-web000000000000000 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            post("<methodCall><methodName>supervisor.readProcessLog</methodName><params><param><value><string>daemon-web000000000000000</string></value></param><param><value><int>0</int></value></param><param><value><int>0</int></value></param></params></methodCall>").repeat(40),
        ] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            tokio::task::spawn_local(http::serve(ours, fake.session()));
            theirs.write_all(request.as_bytes()).await.unwrap();
            // It began to answer.
            theirs.readable().await.unwrap();
            deaf.push(theirs);
        }
        for _ in 0..50 {
            fake.edit(id, |one| one.log.as_mut().unwrap().extend([b'y'; 64 * 1024]));
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            tokio::task::spawn_local(http::serve(ours, fake.session()));
            theirs.write_all(post(STOP).as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            let answered = timeout(MINUTE, theirs.read_exact(&mut answer)).await;
            answered.expect("an answer in time").unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
        }
        // Of 40 answers of a megabyte each no more than one was made, and of the log no more than was taken.
        assert!(fake.world().bytes_read < 3 << 20, "{}", fake.world().bytes_read);
        for mut peer in deaf {
            // Still there, and served as soon as it reads.
            let mut answer = vec![0; 1 << 20];
            pin!(peer.read_exact(&mut answer)).await.unwrap();
        }
    });
}
