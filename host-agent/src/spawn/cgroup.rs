//! One cgroup v2 leaf per run: `<own cgroup>/zhylon-agent.<hash of state_dir>/d-<bare id>/<index>.<generation>`. It holds
//! the run's whole tree whatever that does (double fork, setsid), so it is what "gone" is judged by.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::record::pid_of;
use host_agent_engine::input::{Run, Slot};
use host_agent_sys::spawn::can_spawn_into_cgroup;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sha2::{Digest as _, Sha256};
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::Limits;

pub(crate) mod controllers;

/// Our directory's name, in front of the hash.
const NAME: &str = "zhylon-agent.";
/// Hex digits of the hash that keeps agents with different state directories apart.
const HASH_DIGITS: usize = 12;
/// Where keeper and worker go when their own cgroup has to be empty: our directory's name and this, beside it.
const SELF_SUFFIX: &str = ".self";
/// A daemon's directory may be removed by the end of its former run between our two steps; that can happen once per end.
const MAKE_TRIES: usize = 4;

/// Processes held open at once to be signalled: a fork storm must not use up the agent's descriptors. The rest comes after.
const PIDFDS_MAX: usize = 256;

/// This agent's part of the host's cgroup tree.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    base: PathBuf,
    /// The kernel starts processes in them (Linux 5.7). Else each joins by itself, which costs tens of milliseconds.
    born_inside: bool,
    /// Daemons' directories have (or had) a controller's files: there may be limits to set, or to take away.
    controlled: Arc<AtomicBool>,
}

/// How a process gets into its leaf.
#[derive(Debug)]
pub(crate) enum Way {
    /// Started in this directory.
    Born(OwnedFd),
    /// By writing to this `cgroup.procs`.
    Joins(OwnedFd),
}

/// The leaf of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaf {
    path: PathBuf,
}

impl Cgroups {
    /// Finds (or makes) this agent's directory.
    ///
    /// # Errors
    /// Why this host has no cgroups for us, for people.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, String> {
        let base = Self::place(state_dir)?;
        match std::fs::create_dir(&base) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(format!("{}: {error}", base.display()))
            }
            _ => Ok(Self {
                born_inside: can_spawn_into_cgroup().map_err(|error| format!("clone3: {error}"))?,
                controlled: Arc::new(controllers::any(&base).into()),
                base,
            }),
        }
    }

    /// A directory known from a run record.
    pub(crate) fn at(base: PathBuf) -> Self {
        Self {
            born_inside: false,
            controlled: Arc::default(),
            base,
        }
    }

    /// Removes the directory if nothing is in it.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir(&self.base);
    }

    /// Where this agent's directory is, whether it exists or not.
    ///
    /// # Errors
    /// Why there is no such place, for people.
    pub(crate) fn place(state_dir: &Path) -> Result<PathBuf, String> {
        let read =
            |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let own = own_directory(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)?;
        let hash = format!(
            "{:x}",
            Sha256::digest(state_dir.as_os_str().as_encoded_bytes())
        );
        Ok(own.join(format!("{NAME}{}", &hash[..HASH_DIGITS])))
    }

    /// Makes the leaf of a run and opens it, to be spawned into. The limits are the whole daemon's.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn make_leaf(&self, run: &Run, limits: Limits) -> io::Result<(Leaf, Way)> {
        let daemon = self.base.join(format!("d-{}", run.slot.daemon.bare()));
        let path = daemon.join(format!("{}.{}", run.slot.index, run.generation));
        // Most often there is an instance before this one, and with it the daemon's directory.
        let mut made = std::fs::create_dir(&path);
        for _ in 0..MAKE_TRIES {
            match &made {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => break,
            }
            if let Err(error) = std::fs::create_dir(&daemon)
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(error);
            }
            made = std::fs::create_dir(&path);
        }
        made?;
        let controlled = self.controlled.load(Ordering::Relaxed);
        if (controlled || limits.memory_max().is_some() || limits.cpu_max().is_some())
            && let Err(error) = controllers::keep(&daemon, limits)
        {
            Leaf { path }.remove();
            return Err(error);
        }
        let way = if self.born_inside {
            Way::Born(File::open(&path)?.into())
        } else {
            let procs = File::options().write(true).open(path.join("cgroup.procs"));
            Way::Joins(procs?.into())
        };
        Ok((Leaf { path }, way))
    }

    /// Every leaf there is, with the run it was made for.
    pub(crate) fn leaves(&self) -> Vec<(Run, Leaf)> {
        let mut found = Vec::new();
        for (daemon, path) in subdirectories(&self.base) {
            let id = daemon.strip_prefix("d-").map(DaemonId::from_bare);
            let Some(Ok(daemon)) = id else { continue };
            for (name, path) in subdirectories(&path) {
                let Some((index, generation)) = name.split_once('.') else {
                    continue;
                };
                if let (Ok(index), Ok(generation)) = (index.parse(), generation.parse()) {
                    let slot = Slot { daemon, index };
                    found.push((Run { slot, generation }, Leaf { path }));
                }
            }
        }
        found
    }
}

impl Leaf {
    /// A leaf known from a run record.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing lives in it (any more). A leaf that is not there holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        match read_at_once(&self.path.join("cgroup.events")) {
            Ok(events) => events.lines().any(|line| line == "populated 0"),
            Err(error) => {
                matches!(error.kind(), io::ErrorKind::NotFound)
                    || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
            }
        }
    }

    /// Kills everything in it at once.
    pub(crate) fn kill(&self) {
        if std::fs::write(self.path.join("cgroup.kill"), "1").is_err() {
            self.freeze_and_kill();
        }
    }

    /// Before Linux 5.14. What is frozen forks no more, and dies of SIGKILL all the same. It freezes a moment after it was
    /// told to: the caller looks, and kills, again until it is empty.
    fn freeze_and_kill(&self) {
        let _ = std::fs::write(self.path.join("cgroup.freeze"), "1");
        self.signal(Signal::KILL);
    }

    /// Sends a signal to everything in it.
    pub(crate) fn signal(&self, signal: Signal) {
        for pids in self.processes().chunks(PIDFDS_MAX) {
            let open = |pid: &Pid| Some((*pid, pidfd_open(*pid, PidfdFlags::empty()).ok()?));
            let opened: Vec<(Pid, OwnedFd)> = pids.iter().filter_map(open).collect();
            // One may have ended between the list and its pidfd, and its pid be a stranger's now: not if it is still here.
            let here: HashSet<Pid> = self.processes().into_iter().collect();
            for (_, pidfd) in opened.iter().filter(|(pid, _)| here.contains(pid)) {
                let _ = pidfd_send_signal(pidfd, signal);
            }
        }
    }

    /// CPU time of everything that ever lived in it. `None` where the kernel does not count it.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        Some(Duration::from_micros(
            self.figure("cpu.stat", "usage_usec")?,
        ))
    }

    /// Memory of everything in it, bytes, page cache included. `None` without the memory controller.
    pub(crate) fn memory(&self) -> Option<u64> {
        let text = read_at_once(&self.path.join("memory.current")).ok()?;
        text.trim().parse().ok()
    }

    /// How many of its processes the kernel killed for want of memory. 0 without the memory controller.
    pub(crate) fn oom_kills(&self) -> u64 {
        self.figure("memory.events", "oom_kill").unwrap_or(0)
    }

    fn figure(&self, file: &str, key: &str) -> Option<u64> {
        let text = read_at_once(&self.path.join(file)).ok()?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(name, _)| *name == key)?.1.parse().ok()
    }

    /// Removes it, and its daemon's directory if that was the last one. One that is not empty stays.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir(&self.path);
        if let Some(daemon) = self.path.parent() {
            let _ = std::fs::remove_dir(daemon);
        }
    }

    fn processes(&self) -> Vec<Pid> {
        let list = std::fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        list.lines().filter_map(pid_of).collect()
    }
}

/// Reads one of the kernel's short files by a single read, which is whole: each end and each look at a run needs one.
fn read_at_once(path: &Path) -> io::Result<String> {
    let mut bytes = [0; 1024];
    let len = File::open(path)?.read(&mut bytes)?;
    let text = std::str::from_utf8(&bytes[..len]);
    Ok(text.map_err(|_| io::ErrorKind::InvalidData)?.to_owned())
}

fn subdirectories(path: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        })
        .collect()
}

/// The directory of this process's own cgroup v2, also where v2 is mounted beside v1.
fn own_directory(mountinfo: &str, cgroup: &str) -> Result<PathBuf, String> {
    let own = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or("this process is in no cgroup v2")?;
    mountinfo
        .lines()
        .find_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            if filesystem.split(' ').next() != Some("cgroup2") {
                return None;
            }
            let mut fields = mount.split(' ').skip(3);
            let (root, point) = (fields.next()?, fields.next()?);
            // In a container the mount may show only a part of the tree.
            let below = Path::new(own).strip_prefix(root).ok()?;
            let place = Path::new(point).join(below);
            let aside = below.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with(NAME) && name.ends_with(SELF_SUFFIX)
            });
            Some(match place.parent() {
                Some(parent) if aside => parent.to_owned(),
                _ => place,
            })
        })
        .ok_or_else(|| "no cgroup v2 is mounted here".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_cgroup_is_found_in_every_layout() {
        let unified = "25 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw";
        let hybrid = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let part = "41 31 0:38 /box /sys/fs/cgroup rw shared:1 - cgroup2 cgroup2 rw";
        let own = "9:pids:/\n0::/box/agent.service\n";
        for (mountinfo, expected) in [
            (unified, "/sys/fs/cgroup/box/agent.service"),
            (hybrid, "/sys/fs/cgroup/unified/box/agent.service"),
            (part, "/sys/fs/cgroup/agent.service"),
        ] {
            let found = own_directory(mountinfo, own).unwrap();
            assert_eq!(found.to_str(), Some(expected));
        }
        assert!(
            own_directory("30 1 0:9 / /sys/fs/cgroup/pids rw - cgroup cgroup rw", own).is_err()
        );
        assert!(own_directory(unified, "9:pids:/\n").is_err());
        // Once it stepped aside, its place is where it was before.
        let aside = "0::/box/agent.service/zhylon-agent.0123456789ab.self\n";
        let found = own_directory(unified, aside).unwrap();
        assert_eq!(found.to_str(), Some("/sys/fs/cgroup/box/agent.service"));
    }

    /// Forty processes of which each forks and ends, for ever: who goes by their numbers always comes too late.
    const HOPPERS: &str = r#"open(P, ">", "$ARGV[0]/cgroup.procs") or die; syswrite(P, "0"); close(P); for (1..39) { fork or last } while (1) { fork and exit }"#;

    #[test]
    fn without_cgroup_kill_a_tree_that_forks_and_forks_dies_all_the_same() {
        let state_dir = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::open(state_dir.path());
        let Some(cgroups) = cgroups
            .ok()
            .filter(|_| rustix::process::geteuid().is_root())
        else {
            let _ = io::Write::write_all(
                &mut io::stdout(),
                b"\nSKIPPED without_cgroup_kill_a_tree_that_forks_and_forks_dies_all_the_same: needs a cgroup v2 and root\n",
            );
            return;
        };
        let slot = Slot {
            daemon: DaemonId::random().unwrap(),
            index: 0,
        };
        let (leaf, _) = cgroups
            .make_leaf(
                &Run {
                    slot,
                    generation: 1,
                },
                Limits::default(),
            )
            .unwrap();
        let mut first = std::process::Command::new("perl");
        first.args(["-e", HOPPERS]).arg(leaf.path());
        assert!(first.status().unwrap().success());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while leaf.processes().len() < 30 {
            assert!(std::time::Instant::now() < deadline, "they hop");
        }
        while !leaf.is_empty() {
            assert!(std::time::Instant::now() < deadline, "they die");
            leaf.freeze_and_kill();
        }
        // Luck may kill them without it.
        let frozen = std::fs::read_to_string(leaf.path().join("cgroup.freeze"));
        assert_eq!(frozen.unwrap(), "1\n");
        leaf.remove();
        cgroups.remove();
        assert!(!leaf.path().exists());
    }
}
