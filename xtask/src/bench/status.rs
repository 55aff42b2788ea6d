//! A whole `supervisorctl status`, from the caller's fork to the exit status, beside an empty program of its kind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::Bench;
use super::child::{Child, Stamps};
use super::ours::System;
use super::report::{Figure, Limit, Report};
use crate::build::root;

/// Runs of each program, in turns. The median of fewer moves with the machine.
const RUNS: usize = 250;

/// Debian's client starts Python: more of its runs would only take long.
const RUNS_OF_PEER: usize = 20;

/// Instances shown, in two daemons; 64 are the most one may have.
const INSTANCES: [usize; 2] = [50, 50];

pub(crate) async fn measure(
    system: &System,
    child: &Child,
    bench: &Bench,
    report: &mut Report,
) -> Result<()> {
    let empty = compile(bench.dir.path())?;
    let mut stamps = Stamps::new(bench.dir.path().join("status.pipe"))?;
    let command = child.command(&stamps.path);
    let mut daemons = Vec::new();
    for instances in INSTANCES {
        daemons.push(system.create(command.clone(), instances).await?.id);
        stamps.take(instances)?;
    }
    let socket = system.socket()?;
    let client = bench.programs.dir.join("supervisorctl");
    let ours = || {
        let mut command = Command::new(&client);
        command
            .arg("status")
            .env("ZHYLON_SUPERVISOR_SOCKET", &socket);
        command
    };
    // What is fast because it shows nothing is not measured.
    let shown = ours().output()?.stdout;
    let lines = String::from_utf8_lossy(&shown).lines().count();
    let expected: usize = INSTANCES.iter().sum();
    ensure!(
        lines >= expected,
        "status shows {lines} of {expected} instances"
    );
    let (mut floor, mut own) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        floor.push(time(&mut Command::new(&empty))?);
        own.push(time(&mut ours())?);
    }
    let work = format!("supervisorctl status, {expected} instances");
    report.add(&work, "floor", "ms", floor);
    report.add(&work, "ours", "ms", own);
    report.bar(&work, Figure::P50, Limit::Times(10.0));
    report.bar(&work, Figure::P50, Limit::Most(5.0));
    let peer = Path::new("/usr/bin/supervisorctl");
    if peer.exists() {
        let url = format!("unix://{}", socket.display());
        let times = (0..RUNS_OF_PEER)
            .map(|_| time(Command::new(peer).args(["-s", &url, "status"])))
            .collect::<Result<_>>()?;
        report.add(&work, "Debian's", "ms", times);
    }
    for id in daemons {
        system.delete(&id).await?;
    }
    Ok(())
}

/// Milliseconds from before its start until its end is known.
fn time(command: &mut Command) -> Result<f64> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let before = Instant::now();
    let status = command.status()?;
    let took = before.elapsed();
    ensure!(status.success(), "{command:?}: {status}");
    Ok(took.as_secs_f64() * 1e3)
}

fn compile(dir: &Path) -> Result<PathBuf> {
    let out = dir.join("empty");
    let status = Command::new("rustc")
        .args(["--edition", "2024", "-O", "-o"])
        .arg(&out)
        .arg(root().join("xtask/bench/empty.rs"))
        .status()
        .context("start rustc")?;
    ensure!(status.success(), "rustc failed");
    Ok(out)
}
