use std::time::{Duration, Instant};

use proptest::prelude::*;
use zhylon_shared::state::InstanceState::Running;

use super::clients::{Raw, call, ours};
use super::fake::own_uid;
use super::served::Served;

const VERSION: &[u8] = b"<methodCall><methodName>supervisor.getVersion</methodName></methodCall>";

/// Waits until `done`, or fails.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_connection_serves_many_calls() {
    let served = Served::start();
    let mut raw = Raw::open(&served.socket);
    for _ in 0..3 {
        let (status, headers, body) = raw.post(VERSION);
        assert_eq!(status, 200);
        assert!(
            headers.contains(&"content-type: text/xml".to_owned()),
            "{headers:?}"
        );
        assert!(
            headers
                .iter()
                .any(|line| line.starts_with("server: zhylon-agent/")),
            "{headers:?}"
        );
        assert!(
            body.starts_with("<?xml version='1.0'?>\n<methodResponse>"),
            "{body}"
        );
    }
}

#[test]
fn refuses_what_is_no_request() {
    let served = Served::start();
    for (request, status) in [
        (&b"GET /RPC2 HTTP/1.1\r\nHost: x\r\n\r\n"[..], 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (
            b"POST /RPC3 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            404,
        ),
        (
            b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
            400,
        ),
        (b"POST /mainlogtail HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST /RPC2 HTTP/1.1\r\nHost: x\r\n\r\n", 411),
        (b"HEAD /logtail/nope HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /logtail HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /logtail/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /logtail/nope HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /logtail/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01 hello", 400),
    ] {
        let mut raw = Raw::open(&served.socket);
        raw.send(request);
        assert_eq!(raw.head().0, status, "{}", String::from_utf8_lossy(request));
    }
}

#[test]
fn long_bodies_are_refused() {
    let served = Served::start();
    let (status, _, _) = Raw::open(&served.socket).post(&vec![b' '; 64 * 1024 + 1]);
    assert_eq!(status, 413);
    // Also when the length is not told ahead.
    let mut raw = Raw::open(&served.socket);
    raw.send(b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..5 {
        raw.send(b"4000\r\n");
        raw.send(&[b' '; 0x4000]);
        raw.send(b"\r\n");
    }
    assert_eq!(raw.head().0, 413);
}

#[test]
fn a_log_is_followed() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    let name = "daemon-h:web000000000000000";
    for (path, status) in [
        (format!("{name}:*"), 404),
        (format!("{name}:*/stderr"), 404),
    ] {
        let mut raw = Raw::open(&served.socket);
        raw.send(format!("GET /logtail/{path} HTTP/1.1\r\nHost: \r\n\r\n").as_bytes());
        assert_eq!(raw.head().0, status, "{path}");
    }
    served.fake.edit(id, |one| {
        one.log = Some([vec![b'.'; 5000], vec![b'x'; 1024]].concat())
    });
    for path in [
        format!("{name}:*/stdout"),
        "daemon-web000000000000000".to_owned(),
        "daemon-h%3Aweb000000000000000%3A%2A".to_owned(),
    ] {
        let mut raw = Raw::open(&served.socket);
        raw.send(format!("GET /logtail/{path} HTTP/1.1\r\nHost: \r\n\r\n\r\n").as_bytes());
        let (status, headers) = raw.head();
        assert_eq!(status, 200, "{path}");
        assert!(
            headers.contains(&"transfer-encoding: chunked".to_owned()),
            "{headers:?}"
        );
        assert_eq!(raw.chunk(), vec![b'x'; 1024]);
        served
            .fake
            .edit(id, |one| one.log.as_mut().unwrap().extend(b"more\n"));
        assert_eq!(raw.chunk(), b"more\n");
        served.fake.edit(id, |one| {
            let log = one.log.as_mut().unwrap();
            log.extend(b"gone");
            one.lost = log.len() as u64;
            log.extend([b'x'; 1024]);
        });
        assert_eq!(raw.chunk(), b"==> File truncated <==\n");
        assert_eq!(raw.chunk(), vec![b'x'; 1024]);
    }
}

/// Debian's client sends a line end too many after its request; the server must see it go nevertheless, or silent logs
/// would use up its connections.
#[test]
fn a_follower_that_hangs_up_frees_its_place() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served
        .fake
        .edit(id, |one| one.log = Some(b"hello\n".to_vec()));
    for _ in 0..200 {
        let mut raw = Raw::open(&served.socket);
        raw.send(b"GET /logtail/daemon-web000000000000000 HTTP/1.1\r\nHost: \r\n\r\n\r\n");
        assert_eq!(raw.head().0, 200);
        assert_eq!(raw.chunk(), b"hello\n");
    }
    // 200 are more than even root may have at once.
    until("the last places are free again", || {
        let mut raw = Raw::open(&served.socket);
        raw.send(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n");
        raw.head().0 == 404
    });
}

#[test]
fn connections_are_bounded() {
    let served = Served::start();
    let most = if own_uid() == 0 { 136 } else { 8 };
    let mut open: Vec<Raw> = (0..most).map(|_| Raw::open(&served.socket)).collect();
    for raw in &mut open {
        assert_eq!(raw.post(VERSION).0, 200);
    }
    let mut one_too_many = Raw::open(&served.socket);
    assert_eq!(one_too_many.head().0, 503);
    assert!(one_too_many.closed());
    let said = ours(&served.socket, &["version"]);
    assert!(
        said.out.ends_with("end some first\n") && said.code == 1,
        "{said:?}"
    );
    open.pop();
    until("a place is free again", || {
        let mut raw = Raw::open(&served.socket);
        raw.send(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n");
        raw.head().0 == 404
    });
}

#[test]
fn cancelling_ends_open_connections() {
    let served = Served::start();
    let mut raw = Raw::open(&served.socket);
    assert_eq!(raw.post(VERSION).0, 200);
    drop(served);
    assert!(raw.closed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_bring_the_server_down(
        requests in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 1..8),
    ) {
        let served = Served::start();
        for request in &requests {
            Raw::open(&served.socket).send(request);
            let (status, _, _) = Raw::open(&served.socket).post(request);
            prop_assert_eq!(status, 400);
        }
        prop_assert!(call(&served.socket, "supervisor.getVersion", &[]).is_ok());
    }
}
