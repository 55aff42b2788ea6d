//! A restart asked for over a local socket: from the first byte of the request until all processes are there again.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::child::{Child, Stamps, now};
use super::ours::System;
use super::peer::{Kind, Peer};
use super::report::{Figure, Limit, Report};
use super::{Args, Bench};
use crate::say_error;

/// Lets all of them settle between two restarts.
const SETTLE: Duration = Duration::from_millis(20);
/// How large the groups are.
const GROUPS: [usize; 2] = [1, 8];
/// supervisord takes a second for a group.
const RESTARTS_PEER: usize = 2;

/// Who restarts, and how.
enum Restarter {
    /// There is nobody to ask: all children get SIGTERM at once, which is the least a restart can be.
    Floor(Peer),
    Ours {
        socket: PathBuf,
        id: String,
    },
    Supervisord {
        peer: Peer,
        group: bool,
    },
}

struct Subject {
    who: &'static str,
    restarter: Restarter,
    stamps: Stamps,
    current: Vec<i32>,
    rounds: Vec<Vec<f64>>,
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
    for count in GROUPS {
        let work = format!("restart over the socket, group of {count}, {}", child.kind);
        let dir = bench.dir.path().join(format!("restart-{count}"));
        std::fs::create_dir_all(&dir)?;
        let mut subjects = vec![floor(Kind::Floor, &dir, child, count)?];
        match floor(Kind::Steps, &dir, child, count) {
            Ok(subject) => subjects.push(subject),
            Err(error) => say_error(&format!("not measured: {error:#}")),
        }
        subjects.push(start_ours(&dir, runtime, ours, child, count)?);
        match supervisord(&dir, child, count) {
            Ok(subject) => subjects.push(subject),
            Err(error) => say_error(&format!("not measured: {error:#}")),
        }
        for round in 1..=args.rounds {
            say_error(&format!("{work}: round {round} of {}", args.rounds));
            for subject in &mut subjects {
                one_round(subject, args)?;
            }
        }
        for subject in subjects {
            report.add_rounds(&work, subject.who, "ms", subject.rounds);
            match subject.restarter {
                Restarter::Floor(peer) | Restarter::Supervisord { peer, .. } => peer.end()?,
                Restarter::Ours { id, .. } => runtime.block_on(ours.delete(&id))?,
            }
        }
        let times = if count == 1 { 3.0 } else { 2.0 };
        report.bar(&work, Figure::P50, Limit::Times(times));
        report.bar(&work, Figure::P50, Limit::TimesSteps(1.5));
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

fn one_round(subject: &mut Subject, args: &Args) -> Result<()> {
    let restarts = match subject.restarter {
        Restarter::Supervisord { .. } => RESTARTS_PEER,
        _ => args.kills,
    };
    let mut samples = Vec::new();
    for _ in 0..restarts {
        std::thread::sleep(SETTLE);
        let before = now();
        subject.restarter.restart(&subject.current)?;
        let stamps = subject
            .stamps
            .take(subject.current.len())
            .with_context(|| subject.who)?;
        let last = stamps.iter().map(|stamp| stamp.time).max();
        samples.push((last.unwrap_or(before) - before) as f64 / 1e6);
        subject.current = stamps.iter().map(|stamp| stamp.pid).collect();
    }
    subject.rounds.push(samples);
    Ok(())
}

impl Restarter {
    fn restart(&self, current: &[i32]) -> Result<()> {
        match self {
            Self::Floor(_) => {
                for pid in current.iter().filter_map(|pid| Pid::from_raw(*pid)) {
                    kill_process(pid, Signal::TERM)?;
                }
            }
            Self::Ours { socket, id } => {
                call(socket, "zhylon.restartGroup", &format!("daemon-{id}"))?
            }
            Self::Supervisord { peer, group } => {
                let (stop, start, name) = match group {
                    true => ("stopProcessGroup", "startProcessGroup", "child"),
                    false => ("stopProcess", "startProcess", "child:child_00000"),
                };
                call(&peer.socket(), &format!("supervisor.{stop}"), name)?;
                call(&peer.socket(), &format!("supervisor.{start}"), name)?;
            }
        }
        Ok(())
    }
}

/// One XML-RPC call with one name; its answer is awaited.
fn call(socket: &Path, method: &str, name: &str) -> Result<()> {
    let body = format!(
        "<?xml version='1.0'?><methodCall><methodName>{method}</methodName>\
         <params><param><value><string>{name}</string></value></param></params></methodCall>"
    );
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(
        answer.contains("<methodResponse>") && !answer.contains("<fault>"),
        "{method} {name}: {answer}"
    );
    Ok(())
}

fn subject(
    who: &'static str,
    restarter: Restarter,
    mut stamps: Stamps,
    count: usize,
) -> Result<Subject> {
    let first = stamps.take(count).with_context(|| who)?;
    Ok(Subject {
        who,
        restarter,
        stamps,
        current: first.iter().map(|stamp| stamp.pid).collect(),
        rounds: Vec::new(),
    })
}

fn floor(kind: Kind, dir: &Path, child: &Child, count: usize) -> Result<Subject> {
    let who = kind.name();
    let stamps = Stamps::new(dir.join(format!("{who}.pipe")))?;
    let peer = kind.start(&dir.join(who), child, &stamps.path, count)?;
    subject(who, Restarter::Floor(peer), stamps, count)
}

fn start_ours(
    dir: &Path,
    runtime: &Runtime,
    ours: &System,
    child: &Child,
    count: usize,
) -> Result<Subject> {
    let stamps = Stamps::new(dir.join("ours.pipe"))?;
    let daemon = runtime.block_on(ours.create(child.command(&stamps.path), count))?;
    let restarter = Restarter::Ours {
        socket: ours.socket()?,
        id: daemon.id,
    };
    subject("ours", restarter, stamps, count)
}

fn supervisord(dir: &Path, child: &Child, count: usize) -> Result<Subject> {
    let stamps = Stamps::new(dir.join("supervisord.pipe"))?;
    let peer = Kind::Supervisord.start(&dir.join("supervisord"), child, &stamps.path, count)?;
    let group = count > 1;
    let restarter = Restarter::Supervisord { peer, group };
    subject("supervisord", restarter, stamps, count)
}
