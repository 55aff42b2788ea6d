//! Who follows a log sees nothing of what happens to agent and api-server meanwhile, but for latency: each story counts
//! what it did, and what viewers saw is read back from recorded bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_proto::daemons::v1::token_service_client::TokenServiceClient;
use zhylon_proto::daemons::v1::{
    ClearLogRequest, CreateTokenRequest, DaemonEventType, ListDaemonEventsRequest, LogGapReason,
    ReadLogDirection, ReadLogRequest, RevokeTokenRequest, TailLogRequest, log_piece,
    read_log_request,
};
use zhylon_tests::daemons::draft;
use zhylon_tests::streams::{Manner, Recording, Seen};
use zhylon_tests::{PATIENCE, World, eventually};

/// Two writers of one daemon, and a viewer that follows them.
struct Story {
    world: Arc<World>,
    notes: tempfile::TempDir,
    id: String,
    pids: Vec<i32>,
    viewer: JoinHandle<Recording>,
}

const WRITERS: usize = 2;

impl Story {
    async fn begin() -> Self {
        let world = Arc::new(World::up());
        let notes = tempfile::tempdir().expect("a temporary directory");
        let soak = env!("CARGO_BIN_EXE_zhylon-soak");
        let mut daemon = draft(&format!("{soak} writer {}", notes.path().display()));
        daemon.processes = Some(WRITERS as i32);
        let id = world.create(daemon).await.id;
        let pids = world.running(&id).await;
        let recording = Recording::new(notes.path().join("recording"));
        let viewer = tokio::spawn({
            let (world, id) = (world.clone(), id.clone());
            async move { recording.follow(&world, &id, WRITERS, Manner::Steady).await }
        });
        let story = Self {
            world,
            notes,
            id,
            pids,
            viewer,
        };
        story.goes_on();
        story
    }

    /// Returns once the viewer got something that was not there before.
    fn goes_on(&self) {
        let recording = self.notes.path().join("recording");
        let length = || std::fs::metadata(&recording).map_or(0, |file| file.len());
        let before = length();
        eventually("the viewer gets more", || (length() > before).then_some(()));
    }

    /// The writers stop; what the viewer saw, once it has all.
    async fn end(self) -> (Arc<World>, String, Recording, Seen) {
        std::fs::write(self.notes.path().join("stop"), "").expect("tell the writers");
        let recording = tokio::time::timeout(PATIENCE, self.viewer).await;
        let recording = recording.expect("the viewer has all").expect("a viewer");
        let seen = recording.check(WRITERS);
        assert!(seen.lines > 1000, "{seen:?}");
        assert_eq!(
            self.world.running(&self.id).await,
            self.pids,
            "pids changed"
        );
        (self.world, self.id, recording, seen)
    }
}

const WHOLE: fn(Seen) -> bool = |seen| (seen.gaps, seen.missing) == (0, 0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_is_invisible_to_who_follows() {
    let story = Story::begin().await;
    let mut kills = 0;
    for victim in ["ZHYLON_WORKER_PID", "ZHYLON_KEEPER_PID"].repeat(3) {
        story.world.kill(victim);
        story.goes_on();
        kills += 1;
    }
    let (_, _, recording, seen) = story.end().await;
    assert!(kills == 6 && WHOLE(seen), "{seen:?}");
    assert_eq!(
        recording.cuts.values().sum::<u64>(),
        0,
        "{:?}",
        recording.cuts
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_or_restarted_api_server_costs_a_call_and_no_line() {
    let story = Story::begin().await;
    let mut injected = 0;
    for signal in [Signal::KILL, Signal::TERM].repeat(2) {
        let api = eventually("an api-server", || story.world.process("ZHYLON_API_PID"));
        api.signal(signal).expect("signal it");
        story.world.comes_back("ZHYLON_API_PID", api);
        story.goes_on();
        injected += 1;
    }
    let (_, _, recording, seen) = story.end().await;
    assert!(injected == 4 && WHOLE(seen), "{seen:?}");
    // Who is asked to end says so to its viewers.
    let drained = recording.cuts.get("API_SERVER_DRAINING");
    assert!(drained.is_some_and(|n| *n >= 2), "{:?}", recording.cuts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_cleared_while_it_is_followed_goes_on_and_the_past_is_a_gap() {
    const CLEARS: usize = 3;
    let story = Story::begin().await;
    for _ in 0..CLEARS {
        let request = ClearLogRequest {
            daemon_id: story.id.clone(),
        };
        story
            .world
            .logs()
            .await
            .clear_log(request)
            .await
            .expect("clear");
        story.goes_on();
    }
    let (world, id, recording, _) = story.end().await;
    let mut daemons = world.daemons().await;
    let events = daemons.list_daemon_events(ListDaemonEventsRequest {
        daemon_id: id.clone(),
        ..Default::default()
    });
    let events = events.await.expect("events").into_inner().events;
    let clears = events
        .iter()
        .filter(|e| e.r#type() == DaemonEventType::LogClearRequested);
    assert_eq!(clears.count(), CLEARS);
    let cursor = recording.first_cursor.expect("a cursor of before");
    let mut stream = world.tail(&id, Start::Cursor(cursor), false).await;
    let first = stream
        .next()
        .await
        .expect("something")
        .expect("no error")
        .event;
    let Some(Event::Gap(gap)) = first else {
        panic!("{first:?} instead of a gap");
    };
    assert_eq!(gap.reason(), LogGapReason::Cleared);
    assert!(gap.bytes > 0);
}

/// 130 MB are two rotations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_followed_and_read_back_through_its_rotations() {
    const LINES: usize = 130_000;
    let world = World::up();
    let go = world.dir().join("go");
    let command = format!(
        "perl -e 'until(-e $ARGV[0]){{select(undef,undef,undef,0.02)}} for my $n (1..{LINES}) {{ printf(\"%09d %s\\n\",$n,\"y\" x 989) }} $|=1; print \"\"; sleep 1000' {}",
        go.display()
    );
    let id = world.create(draft(&command)).await.id;
    world.running(&id).await;
    let mut stream = world.tail(&id, Start::TailLines(100_000), true).await;
    std::fs::write(&go, "").expect("go");
    let (mut next, mut rest) = (1, Vec::new());
    let mut middle = None;
    let reading = async {
        while next <= LINES {
            let event = stream.next().await.expect("more").expect("no error").event;
            let chunk = match event {
                Some(Event::Chunk(chunk)) => chunk,
                Some(Event::Gap(gap)) => panic!("{gap:?} after line {next}"),
                _ => continue,
            };
            rest.extend_from_slice(&chunk.data);
            let whole = rest.len() / 1000 * 1000;
            for line in rest[..whole].chunks(1000) {
                let number = std::str::from_utf8(&line[..9])
                    .expect("text")
                    .parse::<usize>();
                assert_eq!((number, line[999]), (Ok(next), b'\n'));
                next += 1;
            }
            rest.drain(..whole);
            if next > LINES / 2 && rest.is_empty() {
                middle.get_or_insert((next, chunk.cursor));
            }
        }
    };
    tokio::time::timeout(PATIENCE * 2, reading)
        .await
        .expect("all lines");
    let log = zhylon_tests::daemons::log_file(&id);
    let dir = log.parent().expect("a directory");
    let name = log
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let rotations = std::fs::read_dir(dir).expect("its directory").flatten();
    let rotations = rotations.filter(|file| {
        file.file_name()
            .to_string_lossy()
            .starts_with(&format!("{name}."))
    });
    let files: Vec<_> = rotations.map(|file| file.path()).collect();
    assert!(files.len() >= 2, "{} rotations", files.len());

    // The same again page by page, both ways from the middle, over the rotated files.
    let (at, cursor) = middle.expect("a cursor");
    let mut logs = world.logs().await;
    for direction in [ReadLogDirection::Forwards, ReadLogDirection::Backwards] {
        let (mut next, mut cursor, mut more) = (at, cursor.clone(), true);
        while more {
            let page = logs.read_log(ReadLogRequest {
                daemon_id: id.clone(),
                start: Some(read_log_request::Start::Cursor(cursor)),
                direction: direction.into(),
                max_bytes: 1024 * 1024,
                instance: None,
            });
            let page = page.await.expect("a page").into_inner();
            let mut text = Vec::new();
            for piece in page.pieces {
                match piece.piece {
                    Some(log_piece::Piece::Chunk(chunk)) => text.extend_from_slice(&chunk.data),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(text.len() % 1000, 0, "whole lines");
            let numbers = text.chunks(1000).map(|line| {
                std::str::from_utf8(&line[..9])
                    .expect("text")
                    .parse::<usize>()
                    .expect("a number")
            });
            if direction == ReadLogDirection::Forwards {
                for number in numbers {
                    assert_eq!(number, next);
                    next += 1;
                }
                cursor = page.end_cursor;
            } else {
                for number in numbers.rev() {
                    next -= 1;
                    assert_eq!(number, next);
                }
                cursor = page.begin_cursor;
            }
            more = page.more;
        }
        let end = [1, LINES + 1][usize::from(direction == ReadLogDirection::Forwards)];
        assert_eq!(next, end, "{direction:?}");
    }
    for file in files {
        let _ = std::fs::remove_file(file);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn since_begins_at_that_second_and_a_revoked_token_ends_the_stream_within_five() {
    let world = World::up();
    let command = "/bin/sh -c 'echo early; sleep 3; echo late; exec sleep 1000'";
    let id = world.create(draft(command)).await.id;
    let mut stream = world.tail(&id, Start::TailLines(10), true).await;
    let (mut times, mut text) = (Vec::new(), Vec::new());
    while times.len() < 2 {
        let event = stream.next().await.expect("more").expect("no error");
        if let Some(Event::Chunk(chunk)) = event.event {
            text.extend_from_slice(&chunk.data);
            times.push(chunk.time.expect("a time"));
        }
    }
    assert_eq!(text, b"early\nlate\n");
    let mut stream = world.tail(&id, Start::Since(times[1]), false).await;
    let mut since = Vec::new();
    while let Some(event) = stream.next().await {
        if let Some(Event::Chunk(chunk)) = event.expect("no error").event {
            since.extend_from_slice(&chunk.data);
        }
    }
    assert_eq!(since, b"late\n");

    let mut tokens = TokenServiceClient::new(world.owner().await);
    let request = CreateTokenRequest {
        name: "a viewer".to_owned(),
        ..Default::default()
    };
    let made = tokens
        .create_token(request)
        .await
        .expect("a token")
        .into_inner();
    let service = world.service(&made.secret).await;
    let mut logs = zhylon_proto::daemons::v1::log_service_client::LogServiceClient::new(service);
    let request = TailLogRequest {
        daemon_id: id,
        start: Some(Start::TailLines(1)),
        follow: true,
        instance: None,
    };
    let mut stream = logs.tail_log(request).await.expect("a stream").into_inner();
    stream.next().await.expect("its line").expect("no error");
    let token_id = made.token.expect("its name").id;
    let revoked = Instant::now();
    tokens
        .revoke_token(RevokeTokenRequest { token_id })
        .await
        .expect("revoke");
    let end = tokio::time::timeout(PATIENCE, stream.next())
        .await
        .expect("it ends");
    let status = end.expect("with a word").expect_err("an error");
    assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status:?}");
    assert!(
        revoked.elapsed() < Duration::from_secs(5),
        "{:?}",
        revoked.elapsed()
    );
}
