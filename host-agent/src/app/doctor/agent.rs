//! The agent itself: its programs, its processes, and what they left.

use std::os::unix::fs::MetadataExt as _;

use rustix::process::Pid;

use super::{Finding, Patient};
use crate::app::agent::{Lock, Process, try_lock};
use crate::spawn::Helper;
use crate::spawn::record::{Found, Records};

pub(super) fn helper(_: &Patient<'_>) -> Vec<Finding> {
    match Helper::open() {
        Ok(_) => Finding::ok("zhylon-exec lies beside this program and understands its orders"),
        Err(error) => Finding::fail(error.to_string())
            .means("no daemon can be started once the worker is started anew")
            .remedy("install host-agent and zhylon-exec from one package"),
    }
}

pub(super) fn processes(patient: &Patient<'_>) -> Vec<Finding> {
    let config = patient.config();
    match try_lock(config) {
        Ok(Lock::Keepers) => {}
        Ok(_) => {
            return Finding::fail("does not run")
                .means("what runs is kept alive by nobody")
                .remedy("start it: `systemctl start zhylon-agent`, or `host-agent run`");
        }
        Err(error) => return Finding::fail(format!("{error:#}")).remedy(""),
    }
    match (Process::keeper(config), Process::worker(config)) {
        (Some(keeper), Some(worker)) => Finding::ok(format!(
            "keeper {} and worker {} run",
            keeper.pid, worker.pid
        )),
        (keeper, _) => Finding::fail(match keeper {
            Some(keeper) => format!("keeper {} runs, but no worker", keeper.pid),
            None => "somebody has the keeper's lock, but it is not to be found".to_owned(),
        })
        .means("no daemon that ends is started again")
        .remedy("look at the agent's log: it says why"),
    }
}

/// Whether what runs is what is installed.
pub(super) fn versions(patient: &Patient<'_>) -> Vec<Finding> {
    let config = patient.config();
    let installed = std::env::current_exe().and_then(std::fs::metadata);
    let Ok(installed) = installed.map(|file| (file.dev(), file.ino())) else {
        return Vec::new();
    };
    let is_other = |pid: Pid| {
        let running = std::fs::metadata(format!("/proc/{pid}/exe"));
        running.is_ok_and(|file| (file.dev(), file.ino()) != installed)
    };
    let running = [Process::keeper(config), Process::worker(config)];
    if running
        .into_iter()
        .flatten()
        .any(|process| is_other(process.pid))
    {
        return Finding::warn("what runs is another program than the installed one")
            .means("an upgrade is not finished")
            .remedy("`host-agent upgrade`: daemons go on running");
    }
    Finding::ok(format!("{}, and no other runs", env!("CARGO_PKG_VERSION")))
}

/// Records of this boot whose process is gone.
pub(super) fn orphans(patient: &Patient<'_>) -> Vec<Finding> {
    let path = patient.config().run_dir.join("records");
    let found = Records::open(path.clone()).and_then(|records| records.read_all());
    let (Ok(found), Ok(boot_id)) = (found, host_agent_sys::process::boot_id()) else {
        return Vec::new();
    };
    let all = found.len();
    let mut bad = Vec::new();
    for entry in found {
        match entry {
            Found::Unreadable(name, why) => bad.push(format!("{name} ({why})")),
            Found::Record(record)
                if record.facts.boot_id == boot_id && record.open_process().is_none() =>
            {
                bad.push(format!("{} (no such process)", record.pid));
            }
            Found::Record(_) => {}
        }
    }
    if bad.is_empty() {
        return Finding::ok(format!("{all}, each with its process"));
    }
    Finding::warn(format!("{}: {}", path.display(), bad.join(", ")))
        .means("an end was not seen yet; the next worker takes it for one nobody saw")
        .remedy("look again in a moment; if it stays, restart the agent: daemons go on running")
}
