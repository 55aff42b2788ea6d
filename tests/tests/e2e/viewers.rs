//! A hundred viewers of one daemon, one of them never reading: the others get every line, in order, once.

use std::time::Duration;

use tokio_stream::StreamExt as _;
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

    let lazy = world.tail(&id, Start::TailLines(0), true).await;
    let mut viewers = tokio::task::JoinSet::new();
    for viewer in 0..99 {
        let mut stream = world.tail(&id, Start::TailLines(0), true).await;
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
