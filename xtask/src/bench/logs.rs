//! From CreateDaemon to the first line at a viewer, and how fast a live log flows to one viewer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio_stream::StreamExt as _;
use zhylon_proto::daemons::v1::TailLogRequest;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;

use super::Bench;
use super::ours::System;
use super::report::Report;

/// How often the first line is measured.
const FIRST_LINES: usize = 30;
/// Bytes of one run, and how many runs.
const BYTES: u64 = 256 * 1024 * 1024;
const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);

/// CreateDaemon is sent → the daemon's first line is at a viewer that asked for it right after.
pub(crate) async fn first_line(ours: &System, report: &mut Report) -> Result<()> {
    let mut samples = Vec::new();
    for _ in 0..FIRST_LINES {
        let before = Instant::now();
        let daemon = ours
            .create("/bin/sh -c 'echo first; exec sleep 1000'".to_owned(), 1)
            .await?;
        let mut bytes = 0;
        tokio::time::timeout(
            PATIENCE,
            follow(ours, &daemon.id, |chunk| {
                bytes += chunk.len() as u64;
                bytes > 0
            }),
        )
        .await
        .context("no first line")??;
        samples.push(before.elapsed().as_secs_f64() * 1e3);
        ours.delete(&daemon.id).await?;
    }
    report.add(
        "CreateDaemon -> first line at the viewer",
        "ours",
        "ms",
        samples,
    );
    Ok(())
}

/// A daemon writes 64 KiB at a time as fast as it is let; one viewer reads it all.
pub(crate) async fn throughput(ours: &System, bench: &Bench, report: &mut Report) -> Result<()> {
    let mut samples = Vec::new();
    for run in 0..RUNS {
        let start = bench.dir.path().join(format!("start{run}"));
        let blocks = BYTES / 65536;
        let line = "x".repeat(1023);
        let command = format!(
            "perl -e 'until(-e $ARGV[0]){{select(undef,undef,undef,0.01)}} my $b=(\"{line}\\n\") x 64; for(1..{blocks}){{syswrite(STDOUT,$b)}} sleep 1000' {}",
            start.display()
        );
        let daemon = ours.create(command, 1).await?;
        let mut seen = 0;
        let mut began = None;
        std::fs::write(&start, "")?;
        tokio::time::timeout(
            PATIENCE,
            follow(ours, &daemon.id, |chunk| {
                began.get_or_insert_with(Instant::now);
                seen += chunk.len() as u64;
                seen >= BYTES
            }),
        )
        .await
        .context("the log did not come through")??;
        let began: Instant = began.context("no bytes")?;
        samples.push(BYTES as f64 / 1e6 / began.elapsed().as_secs_f64());
        ours.delete(&daemon.id).await?;
    }
    report.add(
        "live log to 1 viewer, 64 KiB writes",
        "ours",
        "MB/s",
        samples,
    );
    Ok(())
}

/// Follows a log from its beginning until `enough` says so.
async fn follow(ours: &System, id: &str, mut enough: impl FnMut(&[u8]) -> bool) -> Result<()> {
    let mut logs = ours.logs().await?;
    loop {
        let request = TailLogRequest {
            daemon_id: id.to_owned(),
            start: Some(Start::TailLines(100_000)),
            follow: true,
            instance: None,
        };
        let mut events = logs.tail_log(request).await?.into_inner();
        while let Some(event) = events.next().await {
            match event?.event {
                Some(Event::Chunk(chunk)) if enough(&chunk.data) => return Ok(()),
                Some(Event::Gap(gap)) => bail!("{} bytes are missing", gap.bytes),
                _ => {}
            }
        }
    }
}
