//! The socket's two boundaries as functions of bytes, in front of scripted daemons: what fuzz targets and the property
//! tests feed. They panic when a promise is broken, and never otherwise.

#![expect(clippy::unwrap_used, reason = "never part of a program")]

use std::time::Duration;

use dxr::{FaultResponse, MethodResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::LocalSet;
use zhylon_shared::state::InstanceState::{Running, Stopped};

use super::codec::{parse_call, render};
use super::scripted::Fake;
use super::{http, methods};

/// No connection of a peer that sends no more lives longer: the limits are half an hour each.
const LONGEST: Duration = Duration::from_secs(2 * 60 * 60);

/// A body as an XML-RPC call: it is refused, or its answer can be read.
pub(crate) fn xml_rpc(data: &[u8]) {
    let Ok(call) = parse_call(data) else { return };
    let answer = run(async {
        let session = daemons().session();
        render(methods::call(&session, call).await).expect("an answer that XML can carry")
    });
    let read =
        MethodResponse::from_xml(&answer).is_ok() || FaultResponse::from_xml(&answer).is_ok();
    assert!(read, "a client can not read {answer}");
}

/// Everything that one peer sends before it stops sending: the connection ends, and what it was sent is HTTP.
pub(crate) fn http(data: &[u8]) {
    let said = run(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut read, mut write) = theirs.into_split();
        let peer = async {
            // It may have been hung up on in the middle.
            let _ = write.write_all(data).await;
            let _ = write.shutdown().await;
        };
        let answers = async {
            let mut said = Vec::new();
            // A reset ends it, too.
            let _ = read.read_to_end(&mut said).await;
            said
        };
        let served = http::serve(ours, daemons().session());
        let all = async { tokio::join!(served, peer, answers).2 };
        let all = tokio::time::timeout(LONGEST, all).await;
        all.expect("the connection ends")
    });
    // The answer to HEAD has a length and no body; the others can not be told apart then.
    let only_first = data
        .windows(4)
        .any(|word| word.eq_ignore_ascii_case(b"HEAD"));
    let mut rest = &said[..];
    while !rest.is_empty() {
        rest = response(rest);
        if only_first {
            return;
        }
    }
}

/// Daemons with logs, of this process' own user.
fn daemons() -> Fake {
    let fake = Fake::new();
    let web = fake.add("web", 2, Running);
    fake.edit(web, |one| {
        one.log = Some(b"hello\n\x1b[1mw\xc3\xb6rld\xff\n".to_vec())
    });
    fake.add("off", 1, Stopped);
    fake
}

/// With a clock that jumps to the next deadline when nothing else can happen.
fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, future)
}

/// Takes one response off; what it leaves is the next.
fn response(bytes: &[u8]) -> &[u8] {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = bytes.split_at(end.unwrap_or_else(|| panic!("no head: {}", shown())) + 4);
    let head = std::str::from_utf8(head).unwrap().to_lowercase();
    let status = head.strip_prefix("http/1.").and_then(|rest| rest.get(2..5));
    let status: u16 = status.unwrap().parse().unwrap();
    assert!((100..600).contains(&status), "{head}");
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    if status == 100 {
        body
    } else if let Some(length) = header("content-length: ") {
        let length: usize = length.parse().unwrap();
        // Hung up on while it was being sent: the peer was told how much there is.
        body.get(length..).unwrap_or_default()
    } else if header("transfer-encoding: ") == Some("chunked") {
        chunks(body)
    } else {
        &[]
    }
}

fn chunks(mut rest: &[u8]) -> &[u8] {
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(after) = rest.get(end + 2 + size..) else {
            return &[];
        };
        rest = after.strip_prefix(b"\r\n").unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    rest
}
