//! SIGKILL → the first act of the next process: floor, ours, and the peers that are installed, round by round.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::child::{Child, Stamps, now};
use super::ours::System;
use super::peer::{ALL, Kind, Peer};
use super::report::{Figure, Limit, Report};
use super::{Args, Bench};
use crate::say_error;

/// Lets a child settle between two kills: a peer that waits one second after a short life would otherwise be measured for
/// its pause alone.
const SETTLE: Duration = Duration::from_millis(20);
/// supervisord and runit look at how long a child lived; this is long enough for both.
const SETTLE_PEER: Duration = Duration::from_millis(1100);
/// Peers take a second or two for each.
const KILLS_PEER: usize = 3;
/// And are measured in so many rounds.
const ROUNDS_PEER: usize = 3;

/// More than 10 unasked ends of an instance within 60 s are slowed down, on purpose. So many instances are killed in turn,
/// and none of them that often.
const INSTANCES: usize = 40;

/// Somebody who keeps children alive.
struct Subject {
    who: &'static str,
    stamps: Stamps,
    /// The children that live, the one to kill next first.
    current: VecDeque<i32>,
    settle: Duration,
    kills: usize,
    rounds: Vec<Vec<f64>>,
    /// Ended when the measurement is over.
    peer: Option<Peer>,
}

/// Measures with one kind of child.
pub(crate) fn measure(
    bench: &Bench,
    runtime: &Runtime,
    ours: &System,
    child: &Child,
    args: &Args,
    report: &mut Report,
) -> Result<()> {
    let work = format!("death -> next process, {} child", child.kind);
    let dir = bench.dir.path().join(child.kind.replace(' ', "-"));
    std::fs::create_dir_all(&dir)?;
    let (mut subjects, mut daemon) = (Vec::new(), None);
    for kind in ALL {
        match peer(kind, &dir, child, args) {
            Ok(peer) => subjects.push(peer),
            Err(error) => say_error(&format!("not measured: {error:#}")),
        }
        if kind == Kind::Steps {
            let (subject, id) = start_ours(&dir, runtime, ours, child, args)?;
            subjects.push(subject);
            daemon = Some(id);
        }
    }
    for round in 1..=args.rounds {
        say_error(&format!("{work}: round {round} of {}", args.rounds));
        for subject in &mut subjects {
            if round <= ROUNDS_PEER || subject.settle == SETTLE {
                one_round(subject)?;
            }
        }
    }
    for mut subject in subjects {
        let rounds = std::mem::take(&mut subject.rounds);
        report.add_rounds(&work, subject.who, "ms", rounds);
        if let Some(peer) = subject.peer {
            peer.end()?;
        }
    }
    let (p50, p99) = if child.kind == "static glibc" {
        (Limit::Times(2.0), Limit::Times(3.0))
    } else {
        (Limit::FloorPlus(0.5), Limit::FloorPlus(2.0))
    };
    report.bar(&work, Figure::P50, p50);
    report.bar(&work, Figure::P99, p99);
    report.bar(&work, Figure::P50, Limit::TimesSteps(1.5));
    daemon.map_or(Ok(()), |id| runtime.block_on(ours.delete(&id)))
}

fn one_round(subject: &mut Subject) -> Result<()> {
    let mut samples = Vec::new();
    for _ in 0..subject.kills {
        std::thread::sleep(subject.settle);
        let next = subject.current.pop_front().context("no child")?;
        let pid = Pid::from_raw(next).context("no child")?;
        let before = now();
        kill_process(pid, Signal::KILL).with_context(|| format!("{}: kill {next}", subject.who))?;
        let stamp = subject
            .stamps
            .next()
            .with_context(|| subject.who.to_owned())?;
        samples.push((stamp.time - before) as f64 / 1e6);
        subject.current.push_back(stamp.pid);
    }
    subject.rounds.push(samples);
    Ok(())
}

fn peer(kind: Kind, dir: &Path, child: &Child, args: &Args) -> Result<Subject> {
    let who = kind.name();
    let mut stamps = Stamps::new(dir.join(format!("{who}.pipe")))?;
    let peer = kind.start(&dir.join(who), child, &stamps.path, 1)?;
    let (settle, kills) = match kind {
        Kind::Floor | Kind::Steps => (SETTLE, args.kills),
        _ => (SETTLE_PEER, KILLS_PEER),
    };
    let first = stamps.take(1).with_context(|| who)?;
    Ok(Subject {
        who,
        current: first.iter().map(|stamp| stamp.pid).collect(),
        stamps,
        settle,
        kills,
        rounds: Vec::new(),
        peer: Some(peer),
    })
}

fn start_ours(
    dir: &Path,
    runtime: &Runtime,
    ours: &System,
    child: &Child,
    args: &Args,
) -> Result<(Subject, String)> {
    let mut stamps = Stamps::new(dir.join("ours.pipe"))?;
    let daemon = runtime.block_on(ours.create(child.command(&stamps.path), INSTANCES))?;
    let first = stamps.take(INSTANCES)?;
    let subject = Subject {
        who: "ours",
        current: first.iter().map(|stamp| stamp.pid).collect(),
        stamps,
        settle: SETTLE,
        kills: args.kills,
        rounds: Vec::new(),
        peer: None,
    };
    Ok((subject, daemon.id))
}
