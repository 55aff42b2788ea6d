//! SIGKILL → the first act of the next process: floor, ours, and the peers that are installed, round by round.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Child as Started, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::child::{Child, Stamps, now};
use super::ours::System;
use super::report::Report;
use super::{Args, Bench};
use crate::say_error;
use crate::up::processes::Process;

/// Lets a child settle between two kills: a peer that waits one second after a short life would otherwise be measured for its pause alone.
const SETTLE: Duration = Duration::from_millis(20);
/// supervisord and runit look at how long a child lived; this is long enough for both.
const SETTLE_PEER: Duration = Duration::from_millis(1100);

/// More than 10 unasked ends of an instance within 60 s are slowed down, on purpose. So many instances are killed in turn,
/// and none of them that often.
const INSTANCES: i32 = 40;

/// Somebody who keeps one child alive.
struct Subject {
    who: &'static str,
    stamps: Stamps,
    /// The children that live, the one to kill next first.
    current: VecDeque<i32>,
    settle: Duration,
    kills: usize,
    samples: Vec<f64>,
    /// Ended by signal when the measurement is over.
    program: Option<Started>,
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
    let mut subjects = vec![floor(&dir, child, args)?];
    let (subject, daemon) = start_ours(&dir, runtime, ours, child, args)?;
    subjects.push(subject);
    for peer in [supervisord(&dir, child), runit(&dir, child)] {
        match peer {
            Ok(peer) => subjects.push(peer),
            Err(error) => say_error(&format!("not measured: {error:#}")),
        }
    }
    for round in 1..=args.rounds {
        say_error(&format!("{work}: round {round} of {}", args.rounds));
        for subject in &mut subjects {
            one_round(subject)?;
        }
    }
    for mut subject in subjects {
        report.add(
            &work,
            subject.who,
            "ms",
            std::mem::take(&mut subject.samples),
        );
        end(subject);
    }
    runtime.block_on(ours.delete(&daemon))
}

fn one_round(subject: &mut Subject) -> Result<()> {
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
        subject.samples.push((stamp.time - before) as f64 / 1e6);
        subject.current.push_back(stamp.pid);
    }
    Ok(())
}

fn subject(
    who: &'static str,
    mut stamps: Stamps,
    children: i32,
    settle: Duration,
    kills: usize,
    program: Option<Started>,
) -> Result<Subject> {
    let current = (0..children)
        .map(|_| {
            Ok(stamps
                .next()
                .with_context(|| format!("{who}: the first children"))?
                .pid)
        })
        .collect::<Result<_>>()?;
    Ok(Subject {
        who,
        stamps,
        current,
        settle,
        kills,
        samples: Vec::new(),
        program,
    })
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

fn floor(dir: &Path, child: &Child, args: &Args) -> Result<Subject> {
    let stamps = Stamps::new(dir.join("floor.pipe"))?;
    let program = quiet(
        Command::new(&child.floor)
            .arg(&child.program)
            .arg(&stamps.path),
    )
    .spawn()?;
    subject("floor", stamps, 1, SETTLE, args.kills, Some(program))
}

fn start_ours(
    dir: &Path,
    runtime: &Runtime,
    ours: &System,
    child: &Child,
    args: &Args,
) -> Result<(Subject, String)> {
    let stamps = Stamps::new(dir.join("ours.pipe"))?;
    let command = format!("{} {}", child.program.display(), stamps.path.display());
    let daemon = runtime.block_on(ours.create(command, INSTANCES))?;
    Ok((
        subject("ours", stamps, INSTANCES, SETTLE, args.kills, None)?,
        daemon.id,
    ))
}

fn supervisord(dir: &Path, child: &Child) -> Result<Subject> {
    let stamps = Stamps::new(dir.join("supervisord.pipe"))?;
    let config = dir.join("supervisord.conf");
    let text = format!(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={0}/supervisord.pid\n\
         [program:child]\ncommand={1} {2}\nstartsecs=0\nautorestart=true\nstdout_logfile=NONE\nstderr_logfile=NONE\n",
        dir.display(),
        child.program.display(),
        stamps.path.display(),
    );
    std::fs::write(&config, text)?;
    let program = quiet(Command::new("/usr/bin/supervisord").arg("-c").arg(&config))
        .spawn()
        .context("supervisord")?;
    subject("supervisord", stamps, 1, SETTLE_PEER, 2, Some(program))
}

fn runit(dir: &Path, child: &Child) -> Result<Subject> {
    use std::os::unix::fs::PermissionsExt as _;
    let stamps = Stamps::new(dir.join("runit.pipe"))?;
    let service = dir.join("runit");
    std::fs::create_dir_all(&service)?;
    let script = service.join("run");
    std::fs::write(
        &script,
        format!(
            "#!/bin/sh\nexec {} {}\n",
            child.program.display(),
            stamps.path.display()
        ),
    )?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
    let program = quiet(Command::new("runsv").arg(&service))
        .spawn()
        .context("runit's runsv")?;
    subject("runit", stamps, 1, SETTLE_PEER, 3, Some(program))
}

fn end(subject: Subject) {
    let Some(mut program) = subject.program else {
        return;
    };
    if let Some(process) = i32::try_from(program.id()).ok().and_then(Process::find) {
        let _ = process.end(Duration::from_secs(5));
    }
    let _ = program.wait();
    // runsv leaves its child to whoever comes next; nobody does.
    for child in subject.current.into_iter().filter_map(Process::find) {
        let _ = child.signal(Signal::KILL);
    }
}
