//! Viewers that do not read as they should: a hundred of one daemon, one of them never reading, and one that stands still for
//! so long that it is told so. Every line comes to everybody, in order, once.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic_types::StatusExt as _;
use zhylon_proto::daemons::v1::TailLogResponse;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_tests::World;
use zhylon_tests::daemons::draft;

/// More than all buffers between a host and a viewer that does not read.
const LINES: usize = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_never_reads_holds_up_nobody() {
    let world = World::up();
    let start = world.dir().join("start");
    let command = format!(
        "/bin/sh -c 'while [ ! -e {} ]; do sleep 0.05; done; seq -f \"line %010.0f of a text that is about a hundred bytes long, so that it adds up to something\" 1 {LINES}; exec sleep 1000'",
        start.display()
    );
    let id = world.create(draft(&command)).await.id;
    world.running(&id).await;

    // There is no line yet. From the newest on a viewer would begin at what is the newest once it is looked up.
    let lazy = world.tail(&id, Start::TailLines(100_000), true).await;
    let mut viewers = tokio::task::JoinSet::new();
    for viewer in 0..99 {
        let mut stream = world.tail(&id, Start::TailLines(100_000), true).await;
        viewers.spawn(async move {
            let mut next = 1;
            let mut rest = Vec::new();
            while next <= LINES {
                let event = stream
                    .next()
                    .await
                    .expect("the stream goes on")
                    .expect("no error");
                let Some(Event::Chunk(chunk)) = event.event else {
                    continue;
                };
                rest.extend_from_slice(&chunk.data);
                // In one go: a viewer that is busy for long answers no ping, and is taken for dead.
                let mut at = 0;
                while let Some(end) = rest[at..].iter().position(|byte| *byte == b'\n') {
                    let line = &rest[at..=at + end];
                    let number = String::from_utf8_lossy(&line[5..15]).parse::<usize>();
                    let text = String::from_utf8_lossy(line);
                    assert_eq!(number, Ok(next), "viewer {viewer}: {text:?}");
                    next += 1;
                    at += end + 1;
                }
                rest.drain(..at);
            }
        });
    }
    std::fs::write(&start, "").expect("start");
    let all = async {
        while let Some(viewer) = viewers.join_next().await {
            viewer.expect("a viewer");
        }
    };
    tokio::time::timeout(Duration::from_secs(240), all)
        .await
        .expect("99 viewers get every line");
    drop(lazy);
}

/// How long a viewer takes nothing: longer than the minute after which it is told so.
const STANDS_STILL: Duration = Duration::from_secs(63);
/// Longest time for all lines, on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(120);

/// What a viewer has: whole lines, and the beginning of one.
#[derive(Default)]
struct Counted {
    lines: usize,
    rest: Vec<u8>,
}

impl Counted {
    /// Reads until there are so many lines, in order and once.
    async fn up_to(
        &mut self,
        lines: usize,
        stream: &mut tonic::Streaming<TailLogResponse>,
    ) -> Result<(), tonic::Status> {
        while self.lines < lines {
            match stream.next().await.expect("the stream goes on")?.event {
                Some(Event::Chunk(chunk)) => self.rest.extend_from_slice(&chunk.data),
                Some(Event::Gap(gap)) => panic!("{gap:?} after line {}", self.lines),
                _ => continue,
            }
            let whole = self.rest.iter().rposition(|byte| *byte == b'\n');
            let whole = whole.map_or(0, |last| last + 1);
            for line in self.rest[..whole].split_inclusive(|byte| *byte == b'\n') {
                let number = String::from_utf8_lossy(&line[5..15]).parse::<usize>();
                assert_eq!(number, Ok(self.lines + 1), "{line:?}");
                self.lines += 1;
            }
            self.rest.drain(..whole);
        }
        Ok(())
    }
}

/// What comes while it stands still is more than is kept for it. It gets what was on its way, then the place where it was,
/// and from there every line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_that_stands_still_is_told_where_it_was() {
    const FIRST: usize = 10;
    const LINES: usize = 200_000;
    let world = World::up();
    let go = world.dir().join("go");
    let lines = "seq -f \"line %010.0f of a text that is about a hundred bytes long, so that it adds up to something\"";
    let command = format!(
        "/bin/sh -c '{lines} 1 {FIRST}; while [ ! -e {} ]; do sleep 0.05; done; {lines} {} {LINES}; exec sleep 1000'",
        go.display(),
        FIRST + 1
    );
    let id = world.create(draft(&command)).await.id;
    world.running(&id).await;
    let (mut slow, mut steady) = (Counted::default(), Counted::default());
    let mut viewer = world.tail(&id, Start::TailLines(100), true).await;
    let first = slow.up_to(FIRST, &mut viewer).await;
    first.expect("the first lines");
    let mut other = world.tail(&id, Start::TailLines(100), true).await;
    std::fs::write(&go, "").expect("go");
    let all = steady.up_to(LINES, &mut other);
    let all = tokio::time::timeout(LONG, all).await;
    all.expect("in time").expect("the steady one gets all");

    // How this viewer is, not a wait for anything.
    tokio::time::sleep(STANDS_STILL).await;
    let ended = tokio::time::timeout(LONG, slow.up_to(LINES, &mut viewer)).await;
    let status = ended.expect("it is told").expect_err("it got all");
    let info = status.get_details_error_info().expect("why");
    assert_eq!(info.reason, "VIEWER_TOO_SLOW", "{status:?}");
    assert!((FIRST..LINES).contains(&slow.lines), "{}", slow.lines);
    let cursor = info.metadata.get("cursor").expect("where it was");
    let mut viewer = world.tail(&id, Start::Cursor(cursor.clone()), true).await;
    let rest = tokio::time::timeout(LONG, slow.up_to(LINES, &mut viewer)).await;
    rest.expect("in time").expect("all the rest");
}
