//! What the host gives: cgroups, limits, directories, and its own policy.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{StatVfs, statfs, statvfs};
use rustix::process::Resource;
use rustix::thread::CapabilitySet;

use super::{Finding, Patient};
use crate::app::policy::whose;
use crate::journal;
use crate::spawn::cgroup::Cgroups;

/// What a log pipe should hold (bytes): what a daemon writes while the agent is away.
const PIPE_BYTES: u64 = 1 << 20;
/// Descriptors that a run costs, in the worker: pidfd, status pipe, FIFO, log.
const FILES_PER_RUN: u64 = 4;
/// Descriptors for everything else: sockets, the link, logs of readers.
const FILES_BESIDES: u64 = 200;
/// Free bytes below which the ledger may soon have no room.
const LITTLE_ROOM: u64 = 64 << 20;
/// `f_type` of tmpfs and ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

pub(super) fn cgroups(patient: &Patient<'_>) -> Vec<Finding> {
    let weaker = "a daemon's processes are found by session and environment, which a hostile one can outrun; no memory_max, \
                  no cpu_max";
    if !patient.is_root() {
        return Finding::warn("none without root")
            .means(weaker)
            .remedy("run the agent as root");
    }
    let place = match Cgroups::place(&patient.config().state_dir) {
        Ok(place) => place,
        Err(why) => {
            return Finding::warn(why)
                .means(weaker)
                .remedy("mount a cgroup v2 hierarchy");
        }
    };
    let own = place.parent().unwrap_or(&place);
    let controllers = std::fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    let missing: Vec<&str> = ["memory", "cpu"]
        .into_iter()
        .filter(|name| !controllers.split_ascii_whitespace().any(|c| c == *name))
        .collect();
    if missing.is_empty() {
        return Finding::ok(format!("{}, with memory and cpu", place.display()));
    }
    Finding::warn(format!(
        "{} has no controller {}",
        own.display(),
        missing.join(", ")
    ))
    .means("memory_max and cpu_max of daemons are refused here")
    .remedy("cgroup v2 alone (no v1 beside it), and Delegate=yes in the agent's unit")
}

fn capabilities_of(sets: CapabilitySet) -> Vec<Finding> {
    if sets.contains(CapabilitySet::SYS_RESOURCE) {
        return Finding::ok("all that are used");
    }
    Finding::warn("no CAP_SYS_RESOURCE")
        .means("limits can not be raised above the agent's own hard ones, and the agent can not be spared by the OOM killer")
        .remedy("give it to the agent's unit or container")
}

pub(super) fn capabilities(patient: &Patient<'_>) -> Vec<Finding> {
    if !patient.is_root() {
        return Vec::new();
    }
    match rustix::thread::capabilities(None) {
        Ok(sets) => capabilities_of(sets.effective),
        Err(error) => Finding::warn(format!("can not be read: {error}")).remedy(""),
    }
}

pub(super) fn pipe_size(patient: &Patient<'_>) -> Vec<Finding> {
    if !patient.is_root() {
        return Finding::warn("64 KiB each without root")
            .means("a daemon that writes more while the agent is away waits for it")
            .remedy("run the agent as root");
    }
    judge_number(
        "/proc/sys/fs/pipe-max-size",
        PIPE_BYTES,
        "bytes at most",
        || "a daemon that writes more than that while the agent is away waits for it".to_owned(),
    )
}

pub(super) fn pid_max(patient: &Patient<'_>) -> Vec<Finding> {
    let most = u64::from(patient.config().policy.max_processes);
    judge_number("/proc/sys/kernel/pid_max", 2 * most, "numbers", || {
        format!("the policy lets {most} processes of daemons run, and each may have children")
    })
}

/// A number of the kernel's that should be at least so much.
fn judge_number(
    path: &str,
    least: u64,
    unit: &str,
    means: impl FnOnce() -> String,
) -> Vec<Finding> {
    let number = std::fs::read_to_string(path).ok();
    match number.and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(number) if number >= least => Finding::ok(format!("{number} {unit}")),
        Some(number) => Finding::warn(format!("{number} {unit}"))
            .means(means())
            .remedy(format!("write {least} or more to {path} (sysctl)")),
        None => Finding::warn(format!("{path} can not be read")).remedy(""),
    }
}

pub(super) fn open_files(patient: &Patient<'_>) -> Vec<Finding> {
    let ledger = journal::read_desired(&patient.config().state_dir.join("ledger"));
    let runs = ledger.map_or(0, |ledger| {
        let processes = ledger.daemons.iter().map(|d| u64::from(d.spec.processes()));
        processes.sum::<u64>()
    });
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    judge_open_files(hard.unwrap_or(u64::MAX), runs)
}

fn judge_open_files(hard: u64, runs: u64) -> Vec<Finding> {
    let needed = FILES_BESIDES + FILES_PER_RUN * runs;
    let found = format!("{hard} at most, for {runs} processes of daemons");
    if hard >= 2 * needed {
        return Finding::ok(found);
    }
    let means = format!("about {needed} are needed: with more daemons, starts fail");
    let level = if hard < needed {
        Finding::fail
    } else {
        Finding::warn
    };
    level(found)
        .means(means)
        .remedy("raise LimitNOFILE in the agent's unit (or `ulimit -Hn` where it is started)")
}

pub(super) fn state_dir(patient: &Patient<'_>) -> Vec<Finding> {
    let path = &patient.config().state_dir;
    let mut findings = judge_dir(patient, path, 0o077, "0700");
    if is_in_memory(path) == Some(true) {
        findings.extend(
            Finding::warn(format!("{} is in memory", path.display()))
                .means("after a reboot this host has no identity, no holds, and its logs no index")
                .remedy("put state_dir on a disk"),
        );
    }
    if let Ok(fs) = statvfs(path) {
        findings.extend(judge_room(path, &fs));
    }
    or_well(findings, path)
}

pub(super) fn run_dir(patient: &Patient<'_>) -> Vec<Finding> {
    let path = &patient.config().run_dir;
    let mut findings = judge_dir(patient, path, 0o022, "0755");
    if is_in_memory(path) == Some(false) {
        findings.extend(on_disk(path));
    }
    or_well(findings, path)
}

fn on_disk(path: &Path) -> Vec<Finding> {
    Finding::warn(format!("{} is on a disk", path.display()))
        .means("each start and each end of a daemon waits for that disk, some milliseconds when it is busy")
        .remedy("put run_dir below /run, and a tmpfs there (`mount -t tmpfs tmpfs /run` at boot, as systemd does)")
}

/// `None` where there is no telling.
fn is_in_memory(path: &Path) -> Option<bool> {
    let fs = statfs(path).ok()?;
    Some(IN_MEMORY.contains(&(fs.f_type as u64)))
}

fn or_well(findings: Vec<Finding>, path: &Path) -> Vec<Finding> {
    if findings.is_empty() {
        return Finding::ok(path.display().to_string());
    }
    findings
}

/// Whose it is, and that nobody else has rights in `forbidden`.
fn judge_dir(patient: &Patient<'_>, path: &Path, forbidden: u32, mode: &str) -> Vec<Finding> {
    let (shown, own) = (path.display(), patient.caller.uid);
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) => {
            return Finding::fail(format!("{shown}: {error}"))
                .means("no agent has run here")
                .remedy("`host-agent run` makes it");
        }
    };
    let mut findings = Vec::new();
    if found.uid() != own {
        findings.extend(
            Finding::fail(format!("{shown} belongs to uid {}", found.uid()))
                .means("somebody else decides what the agent finds there")
                .remedy(format!(
                    "stop the agent, look at what is in it, `chown -R {own} {shown}`"
                )),
        );
    }
    if found.mode() & forbidden != 0 {
        findings.extend(
            Finding::fail(format!("{shown} has mode {:04o}", found.mode() & 0o7777))
                .means("other users can read or change what is the agent's alone")
                .remedy(format!("`chmod {mode} {shown}`")),
        );
    }
    findings
}

fn judge_room(path: &Path, fs: &StatVfs) -> Vec<Finding> {
    let free = fs.f_bavail.saturating_mul(fs.f_frsize);
    if free >= LITTLE_ROOM {
        return Vec::new();
    }
    Finding::warn(format!("{} has {} KiB left", path.display(), free / 1024))
        .means("without room no change of a daemon is taken, and no line of a log is indexed")
        .remedy("free some space there")
}

pub(super) fn policy(patient: &Patient<'_>) -> Vec<Finding> {
    let policy = &patient.config().policy;
    let found = format!(
        "{}; at most {} processes",
        whose(policy),
        policy.max_processes
    );
    if patient.is_root() && policy.users.iter().any(|user| user == "root") {
        return Finding::warn(found)
            .means("whoever may create daemons on this server is root on it")
            .remedy("take `root` out of `policy.users`, unless that is meant");
    }
    Finding::ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn limits_that_are_too_low_are_told() {
        let level = |findings: Vec<Finding>| findings[0].level;
        assert_eq!(level(judge_open_files(1024, 0)), Level::Ok);
        assert_eq!(level(judge_open_files(1024, 100)), Level::Warn);
        assert_eq!(level(judge_open_files(1024, 300)), Level::Fail);
        let pipes = |least| {
            level(judge_number(
                "/proc/sys/fs/pipe-max-size",
                least,
                "",
                String::new,
            ))
        };
        assert_eq!(pipes(1), Level::Ok);
        assert_eq!(pipes(u64::MAX), Level::Warn);
        assert_eq!(
            level(judge_number("/proc/none", 1, "", String::new)),
            Level::Warn
        );
        assert_eq!(level(capabilities_of(CapabilitySet::all())), Level::Ok);
        assert_eq!(level(capabilities_of(CapabilitySet::empty())), Level::Warn);
    }

    #[test]
    fn what_lies_in_memory_is_known() {
        assert_eq!(is_in_memory(Path::new("/dev/shm")), Some(true));
        assert_eq!(is_in_memory(Path::new("/proc/self")), Some(false));
        assert_eq!(is_in_memory(Path::new("/does/not/exist")), None);
    }

    #[test]
    fn a_full_disk_is_told() {
        let mut fs = statvfs("/").unwrap();
        (fs.f_bavail, fs.f_frsize) = (1, 4096);
        let told = judge_room(Path::new("/x"), &fs);
        assert_eq!(told[0].found, "/x has 4 KiB left");
        fs.f_bavail = LITTLE_ROOM;
        assert_eq!(judge_room(Path::new("/x"), &fs), []);
    }
}
