//! A live log to 1 and to 100 viewers, and how long a line takes to a viewer; beside two tonic TLS streams in series that
//! carry the same bytes and nothing else.

mod floor;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use zhylon_proto::daemons::v1::log_service_client::LogServiceClient;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_proto::daemons::v1::{TailLogRequest, TailLogResponse};

use self::floor::Floor;
use super::Bench;
use super::ours::System;
use super::report::{Figure, Limit, Report};

/// Rounds of each measurement; ours and the floor by turns.
const ROUNDS: usize = 9;
/// Bytes of one log, by number of viewers.
const VIEWERS: [(usize, u64); 2] = [(1, 64 << 20), (100, 2 << 20)];
/// Lines of which each round takes the time, and the time from one to the next.
const LINES: usize = 40;
const LINE_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(120);

/// All rows.
pub(crate) async fn measure(system: &System, bench: &Bench, report: &mut Report) -> Result<()> {
    for (viewers, bytes) in VIEWERS {
        let work = format!("live log to {viewers} viewers of one daemon");
        let (mut floors, mut ours) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let gigabytes = bytes as f64 * viewers as f64 / 1e9;
            let floor = Floor::start(floor::Work::Flood { viewers, bytes })?;
            let streams = floor.viewers(viewers).await?;
            floors.push(vec![received(streams, bytes, || Ok(())).await? / gigabytes]);
            drop(floor);

            let go = bench.dir.path().join(format!("flood.{viewers}.{round}"));
            let daemon = system.create(flood(bytes, &go), 1).await?;
            let mut streams = Vec::new();
            for _ in 0..viewers {
                streams.push(follow(system.logs().await?, &daemon.id).await?);
            }
            let took = received(streams, bytes, || Ok(std::fs::write(&go, "")?)).await?;
            ours.push(vec![took / gigabytes]);
            system.delete(&daemon.id).await?;
        }
        report.add_rounds(&work, "floor", "s/GB", floors);
        report.add_rounds(&work, "ours", "s/GB", ours);
        // Of the throughput: at least 0.6 of the floor's.
        report.bar(&work, Figure::P50, Limit::Times(1.0 / 0.6));
    }
    lines(system, bench, report).await
}

async fn lines(system: &System, bench: &Bench, report: &mut Report) -> Result<()> {
    const WORK: &str = "a line to its viewer, quiet system";
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let work = floor::Work::Lines {
            count: LINES,
            every: LINE_EVERY,
        };
        let floor = Floor::start(work)?;
        let stream = floor.viewers(1).await?.pop().context("no stream")?;
        floors.push(latencies(stream).await?);
        drop(floor);

        let go = bench.dir.path().join(format!("lines.{round}"));
        let every = LINE_EVERY.as_secs_f64();
        let command = format!(
            "perl -e 'use Time::HiRes qw(time sleep); $|=1; until(-e $ARGV[0]){{sleep(0.02)}} for(1..{LINES}){{sleep({every}); printf(\"%.6f\\n\",time)}} sleep 1000' {}",
            go.display()
        );
        let daemon = system.create(command, 1).await?;
        let stream = follow(system.logs().await?, &daemon.id).await?;
        std::fs::write(&go, "")?;
        ours.push(latencies(stream).await?);
        system.delete(&daemon.id).await?;
    }
    report.add_rounds(WORK, "floor", "ms", floors);
    report.add_rounds(WORK, "ours", "ms", ours);
    report.bar(WORK, Figure::P50, Limit::Times(2.0));
    report.bar(WORK, Figure::P99, Limit::Times(4.0));
    Ok(())
}

type Events = tonic::Streaming<TailLogResponse>;

/// Writes so many bytes, 64 KiB at a time in lines of 1 KiB, once `go` is there.
fn flood(bytes: u64, go: &Path) -> String {
    let (blocks, line) = (bytes / 65536, "x".repeat(1023));
    format!(
        "perl -e 'until(-e $ARGV[0]){{select(undef,undef,undef,0.01)}} my $b=(\"{line}\\n\") x 64; for(1..{blocks}){{syswrite(STDOUT,$b)}} sleep 1000' {}",
        go.display()
    )
}

/// A stream of what comes from now on.
async fn follow(mut logs: LogServiceClient<super::ours::Caller>, id: &str) -> Result<Events> {
    let request = TailLogRequest {
        daemon_id: id.to_owned(),
        start: Some(Start::TailLines(0)),
        follow: true,
        instance: None,
    };
    Ok(logs.tail_log(request).await?.into_inner())
}

/// Seconds from the first byte at any viewer until each of them has all.
async fn received(
    streams: Vec<Events>,
    bytes: u64,
    go: impl FnOnce() -> Result<()>,
) -> Result<f64> {
    let mut viewers = JoinSet::new();
    for mut stream in streams {
        viewers.spawn(async move {
            let (mut seen, mut first) = (0, None);
            while seen < bytes {
                let event = stream.next().await.context("the stream ended")??;
                match event.event {
                    Some(Event::Chunk(chunk)) => {
                        first.get_or_insert_with(Instant::now);
                        seen += chunk.data.len() as u64;
                    }
                    Some(Event::Gap(gap)) => bail!("{} bytes are missing", gap.bytes),
                    _ => {}
                }
            }
            first
                .context("no bytes")
                .map(|first| (first, Instant::now()))
        });
    }
    go()?;
    let mut times: Vec<(Instant, Instant)> = Vec::new();
    while let Some(done) = tokio::time::timeout(PATIENCE, viewers.join_next()).await? {
        times.push(done??);
    }
    let first = times.iter().map(|(first, _)| *first).min();
    let last = times.iter().map(|(_, last)| *last).max();
    let (first, last) = first.zip(last).context("no viewers")?;
    Ok((last - first).as_secs_f64())
}

/// Milliseconds of each line, which says when it was written.
async fn latencies(mut stream: Events) -> Result<Vec<f64>> {
    let (mut samples, mut rest) = (Vec::new(), String::new());
    while samples.len() < LINES {
        let next = tokio::time::timeout(PATIENCE, stream.next()).await?;
        let event = next.context("the stream ended")??;
        let Some(Event::Chunk(chunk)) = event.event else {
            continue;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        rest.push_str(std::str::from_utf8(&chunk.data)?);
        while let Some((line, after)) = rest.split_once('\n') {
            let sample = (now - line.parse::<f64>()?) * 1e3;
            ensure!((0.0..10_000.0).contains(&sample), "a line of {sample} ms");
            samples.push(sample);
            rest = after.to_owned();
        }
    }
    Ok(samples)
}
