//! The measured children and the pipe by which they say that they are there.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode};

use crate::build::root;
use crate::say_error;

/// A compiled child: a static program, whose own start is part of every figure.
#[derive(Debug)]
pub(crate) struct Child {
    /// `static glibc` or `static musl`.
    pub(crate) kind: &'static str,
    pub(crate) program: PathBuf,
    /// The floor, compiled the same way.
    pub(crate) floor: PathBuf,
    /// The floor with our guarantees and its helper: always the same ones, as our agent and its helper are.
    pub(crate) steps: [PathBuf; 2],
}

impl Child {
    /// Its command line, stamping into `pipe`.
    pub(crate) fn command(&self, pipe: &Path) -> String {
        format!("{} {}", self.program.display(), pipe.display())
    }
}

/// Compiles the programs with every C library there is.
pub(crate) fn compile(dir: &Path) -> Result<Vec<Child>> {
    let steps = [one(dir, "cc", "steps.c")?, {
        // The smaller one's start is shorter, and ours is linked to it, too.
        one(dir, "musl-gcc", "steps_helper.c").or_else(|_| one(dir, "cc", "steps_helper.c"))?
    }];
    let mut children = Vec::new();
    for (kind, compiler) in [("static glibc", "cc"), ("static musl", "musl-gcc")] {
        let both = one(dir, compiler, "child.c")
            .and_then(|program| Ok((program, one(dir, compiler, "floor.c")?)));
        match both {
            Ok((program, floor)) => children.push(Child {
                kind,
                program,
                floor,
                steps: steps.clone(),
            }),
            Err(error) => say_error(&format!("not measured: a {kind} child: {error:#}")),
        }
    }
    if children.is_empty() {
        bail!("no C compiler makes static programs here");
    }
    Ok(children)
}

fn one(dir: &Path, compiler: &str, source: &str) -> Result<PathBuf> {
    let out = dir.join(format!("{}-{compiler}", source.trim_end_matches(".c")));
    let status = Command::new(compiler)
        .args(["-O2", "-static", "-o"])
        .arg(&out)
        .arg(root().join("xtask/bench").join(source))
        .status()
        .with_context(|| format!("start {compiler}"))?;
    anyhow::ensure!(status.success(), "{compiler} failed");
    Ok(out)
}

/// The pipe children write to.
#[derive(Debug)]
pub(crate) struct Stamps {
    pub(crate) path: PathBuf,
    pipe: File,
}

/// When a child was there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) pid: i32,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub(crate) time: i64,
}

impl Stamps {
    /// A new pipe. We hold both ends, so that no child waits for us.
    pub(crate) fn new(path: PathBuf) -> Result<Self> {
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0)
            .context("make a FIFO")?;
        let pipe = File::options().read(true).write(true).open(&path)?;
        Ok(Self { path, pipe })
    }

    /// The next `count` stamps.
    pub(crate) fn take(&mut self, count: usize) -> Result<Vec<Stamp>> {
        (0..count).map(|_| self.next()).collect()
    }

    /// The next stamp.
    pub(crate) fn next(&mut self) -> Result<Stamp> {
        let limit = Timespec::try_from(Duration::from_secs(30))?;
        let mut ready = [PollFd::from_borrowed_fd(self.pipe.as_fd(), PollFlags::IN)];
        if poll(&mut ready, Some(&limit))? == 0 {
            bail!("no child came within 30 s");
        }
        let mut bytes = [0; 16];
        self.pipe.read_exact(&mut bytes)?;
        let (pid, time) = bytes.split_at(8);
        let number = |half: &[u8]| half.try_into().map(i64::from_ne_bytes);
        Ok(Stamp {
            pid: i32::try_from(number(pid)?)?,
            time: number(time)?,
        })
    }
}

/// CLOCK_MONOTONIC now, nanoseconds: the children's clock.
pub(crate) fn now() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
