//! HTTP as clients of all ages speak it.

use zhylon_shared::state::InstanceState::Running;

use super::clients::Raw;
use super::served::Served;

const VERSION: &str = "<methodCall><methodName>supervisor.getVersion</methodName></methodCall>";
const PID: &str = "<methodCall><methodName>supervisor.getPID</methodName></methodCall>";

fn post(version: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /RPC2 HTTP/{version}\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

#[test]
fn requests_in_one_go_are_answered_in_order() {
    let served = Served::start();
    let mut raw = Raw::open(&served.socket);
    let requests = [VERSION, PID, VERSION].map(|body| post("1.1", "", body));
    raw.send(requests.concat().as_bytes());
    let answers = [(); 3].map(|()| raw.answer().2);
    assert!(answers[0].contains("3.0") && answers[2].contains("3.0"));
    assert!(answers[1].contains("<i4>"), "{}", answers[1]);
}

#[test]
fn a_client_may_wait_to_be_told_to_go_on() {
    let served = Served::start();
    let mut raw = Raw::open(&served.socket);
    let request = post("1.1", "Expect: 100-continue\r\n", VERSION);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    raw.send(format!("{head}\r\n\r\n").as_bytes());
    assert_eq!(raw.head(), (100, Vec::new()));
    raw.send(body.as_bytes());
    assert!(raw.answer().2.contains("3.0"));
    // What is refused anyway is not asked for.
    let mut raw = Raw::open(&served.socket);
    raw.send(
        b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(raw.head().0, 404);
}

#[test]
fn a_body_may_come_in_pieces() {
    let served = Served::start();
    let mut raw = Raw::open(&served.socket);
    for _ in 0..2 {
        raw.send(b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in VERSION.as_bytes().chunks(7) {
            raw.send(format!("{:x};why=not\r\n", piece.len()).as_bytes());
            raw.send(piece);
            raw.send(b"\r\n");
        }
        raw.send(b"0\r\nTrailer: yes\r\n\r\n");
        assert!(raw.answer().2.contains("3.0"));
    }
}

#[test]
fn old_clients_are_hung_up_on_unless_they_ask() {
    let served = Served::start();
    let mut raw = Raw::open(&served.socket);
    raw.send(post("1.0", "", VERSION).as_bytes());
    assert!(raw.answer().2.contains("3.0"));
    assert!(raw.closed());
    let mut raw = Raw::open(&served.socket);
    for _ in 0..2 {
        raw.send(post("1.0", "Connection: keep-alive\r\n", VERSION).as_bytes());
        let (_, headers, body) = raw.answer();
        assert!(body.contains("3.0"));
        assert!(headers.contains(&"connection: keep-alive".to_owned()));
    }
    raw.send(post("1.1", "Connection: close\r\n", VERSION).as_bytes());
    assert!(raw.answer().2.contains("3.0"));
    assert!(raw.closed());
}

/// Chunks are of 1.1: an older client reads until the end.
#[test]
fn old_clients_can_follow_a_log() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served
        .fake
        .edit(id, |one| one.log = Some(b"hello\n".to_vec()));
    let mut raw = Raw::open(&served.socket);
    raw.send(b"GET /logtail/daemon-web000000000000000 HTTP/1.0\r\n\r\n");
    let (status, headers) = raw.head();
    assert_eq!(status, 200);
    assert!(
        !headers
            .iter()
            .any(|line| line.starts_with("transfer-encoding"))
    );
    assert_eq!(raw.line(), "hello");
}

#[test]
fn heads_are_bounded() {
    let served = Served::start();
    for head in [
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(20_000)),
        format!("GET /x HTTP/1.1\r\nLong: {}\r\n\r\n", "x".repeat(20_000)),
        format!("GET /x HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(5_000)),
        // Never ends.
        "x".repeat(20_000),
    ] {
        let mut raw = Raw::open(&served.socket);
        raw.send(head.as_bytes());
        let status = raw.head().0;
        assert!([400, 414, 431].contains(&status), "{status}");
        assert!(raw.closed());
    }
    let longest = format!("GET /x HTTP/1.1\r\nLong: {}\r\n\r\n", "x".repeat(15_000));
    let mut raw = Raw::open(&served.socket);
    raw.send(longest.as_bytes());
    assert_eq!(raw.head().0, 404);
}

#[test]
fn two_lengths_are_none() {
    let served = Served::start();
    for headers in [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Transfer-Encoding: nonsense\r\n",
    ] {
        let mut raw = Raw::open(&served.socket);
        raw.send(format!("POST /RPC2 HTTP/1.1\r\nHost: x\r\n{headers}\r\nxx").as_bytes());
        assert_eq!(raw.head().0, 400, "{headers}");
        assert!(raw.closed());
    }
}
