//! The floor and the peers: programs that keep children alive, started with so many of them and ended without a trace.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Started, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::child::Child;
use super::report::STEPS;
use crate::up::processes::{Process, wait_until};

/// Who else keeps processes alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The smallest program that does it.
    Floor,
    /// The smallest program that does it with our guarantees: the same kernel calls for each start and end.
    Steps,
    /// Debian's supervisord.
    Supervisord,
    /// runsvdir with a runsv for each.
    Runit,
    /// s6-svscan with an s6-supervise for each.
    S6,
}

/// All of them, the floors first.
pub(crate) const ALL: [Kind; 5] = [
    Kind::Floor,
    Kind::Steps,
    Kind::Supervisord,
    Kind::Runit,
    Kind::S6,
];
/// What is measured as often as ours is.
pub(crate) const FLOORS: [Kind; 2] = [Kind::Floor, Kind::Steps];

/// So many processes start the children of [`Kind::Steps`] where there are many, as two threads do in our agent.
const STARTERS: usize = 2;

/// Longest a supervisor may take to end its children.
const END: Duration = Duration::from_secs(20);

/// One that could be started.
#[derive(Debug)]
pub(crate) struct Prepared {
    kind: Kind,
    command: Command,
    child: PathBuf,
    dir: PathBuf,
    cgroup: Option<CgroupDir>,
}

/// One that runs.
#[derive(Debug)]
pub(crate) struct Peer {
    program: Started,
    /// What the children execute: all else below `program` is the peer's own.
    child: PathBuf,
    dir: PathBuf,
    cgroup: Option<CgroupDir>,
}

/// A directory of cgroups, removed when dropped; by then nothing lives in it.
#[derive(Debug)]
struct CgroupDir(PathBuf);

impl CgroupDir {
    fn make() -> Result<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let mut mounts = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mounts.find(|words| words.get(2) == Some(&"cgroup2"));
        let mount = mount.context("no cgroup v2 is mounted")?;
        let dir = Path::new(mount[1]).join(format!("zhylon-bench-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        Ok(Self(dir))
    }
}

impl Drop for CgroupDir {
    fn drop(&mut self) {
        for leaf in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(leaf.path());
        }
        if let Err(error) = std::fs::remove_dir(&self.0) {
            crate::say_error(&format!("{} stays: {error}", self.0.display()));
        }
    }
}

impl Kind {
    /// As the table names it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Steps => STEPS,
            Self::Supervisord => "supervisord",
            Self::Runit => "runit",
            Self::S6 => "s6",
        }
    }

    /// Lays down what it needs for `count` children that stamp into `pipe`. `dir` must not exist; it is made.
    ///
    /// # Errors
    /// When the files can not be made.
    pub(crate) fn prepare(
        self,
        dir: &Path,
        child: &Child,
        pipe: &Path,
        count: usize,
    ) -> Result<Prepared> {
        std::fs::create_dir_all(dir)?;
        let mut cgroup = None;
        let command = match self {
            Self::Floor => {
                let mut command = Command::new(&child.floor);
                command.arg(&child.program).arg(pipe).arg(count.to_string());
                command
            }
            Self::Steps => {
                let [program, helper] = &child.steps;
                let cgroups = cgroup.insert(CgroupDir::make()?);
                let mut command = Command::new(program);
                command.arg(&child.program).arg(pipe).arg(count.to_string());
                command.arg(helper).arg(dir).arg(&cgroups.0);
                command.arg(STARTERS.min(count).to_string());
                command
            }
            Self::Supervisord => {
                let config = dir.join("supervisord.conf");
                std::fs::write(&config, supervisord_config(dir, child, pipe, count))?;
                let mut command = Command::new("/usr/bin/supervisord");
                command.arg("-c").arg(config);
                command
            }
            Self::Runit => {
                let mut command = Command::new("runsvdir");
                command.arg(services(dir, child, pipe, count)?);
                command
            }
            Self::S6 => {
                let mut command = Command::new("s6-svscan");
                // Its own bound on services is 500 unless told.
                command.args(["-c", "4000"]);
                command.arg(services(dir, child, pipe, count)?);
                command
            }
        };
        Ok(Prepared {
            kind: self,
            command,
            child: child.program.clone(),
            dir: dir.to_owned(),
            cgroup,
        })
    }

    /// As [`Kind::prepare`], and starts it.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn start(
        self,
        dir: &Path,
        child: &Child,
        pipe: &Path,
        count: usize,
    ) -> Result<Peer> {
        self.prepare(dir, child, pipe, count)?.start()
    }
}

impl Prepared {
    /// Starts it.
    ///
    /// # Errors
    /// When it is not installed.
    pub(crate) fn start(mut self) -> Result<Peer> {
        let program = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} is not installed", self.kind.name()))?;
        Ok(Peer {
            program,
            child: self.child,
            dir: self.dir,
            cgroup: self.cgroup,
        })
    }
}

impl Peer {
    /// supervisord's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("supervisor.sock")
    }

    /// The supervising processes: everything below it that is none of the measured children.
    pub(crate) fn own(&self) -> Result<Vec<i32>> {
        let all = below(i32::try_from(self.program.id())?);
        let own = all.into_iter().filter(|pid| !self.is_child(*pid));
        Ok(own.collect())
    }

    fn is_child(&self, pid: i32) -> bool {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.child)
    }

    /// Ends it and everything it started.
    pub(crate) fn end(mut self) -> Result<()> {
        let pid = i32::try_from(self.program.id())?;
        let all: Vec<Process> = below(pid).into_iter().filter_map(Process::find).collect();
        let (top, own): (Vec<Process>, Vec<Process>) = (all.iter().copied())
            .filter(|process| !self.is_child(process.pid))
            .partition(|process| process.pid == pid);
        // The top first and alone: runsvdir would start again what ends below it. It leaves its runsv to themselves then, and a
        // runsv that is asked to end takes its child along.
        for asked in [top, own] {
            for process in &asked {
                let _ = process.signal(Signal::TERM);
            }
            wait_until(END, || {
                let _ = self.program.try_wait();
                !asked.iter().any(Process::lives)
            });
        }
        for process in &all {
            let _ = process.signal(Signal::KILL);
        }
        self.program.wait()?;
        wait_until(END, || !all.iter().any(Process::lives));
        std::fs::remove_dir_all(&self.dir)?;
        drop(self.cgroup);
        Ok(())
    }
}

/// A process and all its descendants.
pub(crate) fn below(root: i32) -> BTreeSet<i32> {
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            Some((pid, parent.parse().ok()?))
        })
        .collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        for (pid, parent) in &parents {
            if found.contains(parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn supervisord_config(dir: &Path, child: &Child, pipe: &Path, count: usize) -> String {
    let dir = dir.display();
    // Two descriptors for each program, and its default of 1024 gives out at 200 to 330.
    let files = 1024 + 5 * count;
    format!(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={dir}/supervisord.pid\nminfds={files}\n\
         [unix_http_server]\nfile={dir}/supervisor.sock\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [program:child]\ncommand={} {}\nnumprocs={count}\nprocess_name=child_%(process_num)05d\nstartsecs=0\n\
         autorestart=true\nstdout_logfile=NONE\nstderr_logfile=NONE\n",
        child.program.display(),
        pipe.display(),
    )
}

/// A directory of services, as runsvdir and s6-svscan take it.
fn services(dir: &Path, child: &Child, pipe: &Path, count: usize) -> Result<PathBuf> {
    let services = dir.join("services");
    for n in 0..count {
        let service = services.join(format!("child{n}"));
        std::fs::create_dir_all(&service)?;
        let script = service.join("run");
        let text = format!(
            "#!/bin/sh\nexec {} {}\n",
            child.program.display(),
            pipe.display()
        );
        std::fs::write(&script, text)?;
        std::fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    }
    Ok(services)
}
