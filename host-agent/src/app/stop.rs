//! `host-agent stop --daemons`: ends the agent and everything it keeps alive, each with its own signal and grace. The
//! worker does it if there is one (so that last words reach their logs); whatever is left, or everything if no agent
//! runs, is found by run records and cgroups. Desired states and holds stay as they are.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use super::agent::{Lock, Process, STOP_DAEMONS, try_lock};
use crate::config::{Config, Settings};
use crate::spawn::cgroup::Cgroups;
use crate::spawn::fifo::Fifos;
use crate::spawn::record::{Found, Records, RunRecord};
use crate::spawn::tree::Tree;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// How often the worker is asked: it may be a new one that did not listen yet.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long after the longest grace the worker may take: the kill, and the last words.
const WORKER_EXTRA: Duration = Duration::from_secs(10);
/// How long the keeper may take to end: it gives its worker ten seconds.
const KEEPER_PATIENCE: Duration = Duration::from_secs(15);
/// How long a killed tree may take to be gone. A process that hangs in the kernel takes longer; then we say so.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Stops everything.
///
/// # Errors
/// What would not end.
pub(crate) fn stop_daemons(settings: &Settings) -> anyhow::Result<ExitCode> {
    let config = &settings.config;
    let _lock = match try_lock(config)? {
        Lock::NeverRan => return Ok(ExitCode::SUCCESS),
        Lock::Ours(file) => Lock::Ours(file),
        Lock::Keepers => {
            let_worker_stop(config)?;
            end_keeper(config)?
        }
    };
    stop_what_is_left(config)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the worker and waits until it has nothing left.
fn let_worker_stop(config: &Config) -> anyhow::Result<()> {
    let records = open_records(config)?;
    let grace = |record: &RunRecord| record.facts.stop_seconds;
    let longest = usable(&records)?.iter().map(grace).max().unwrap_or(0);
    let until = Instant::now() + Duration::from_secs(longest.into()) + WORKER_EXTRA;
    let mut ask_at = Instant::now();
    let mut stopped_once = false;
    while Instant::now() < until {
        if ask_at <= Instant::now() {
            if let Some(worker) = Process::worker(config) {
                // If it is gone by now there will be another.
                let _ = worker.signal(STOP_DAEMONS);
            }
            ask_at = Instant::now() + ASK_AGAIN;
            // A start that was on its way when it was asked shows itself in between.
            if stopped_once && records.read_all()?.is_empty() {
                return Ok(());
            }
            stopped_once = records.read_all()?.is_empty();
        }
        if matches!(try_lock(config)?, Lock::Ours(_)) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Ends keeper and worker; returns once no agent runs and none can start.
fn end_keeper(config: &Config) -> anyhow::Result<Lock> {
    let until = Instant::now() + KEEPER_PATIENCE;
    if let Some(keeper) = Process::keeper(config) {
        keeper
            .signal(Signal::TERM)
            .with_context(|| format!("end the agent's main process {}", keeper.pid))?;
    }
    loop {
        match try_lock(config)? {
            Lock::Keepers if Instant::now() < until => std::thread::sleep(LOOK),
            Lock::Keepers => bail!(
                "the agent does not end; end its main process (see {}) and try again",
                config.run_dir.join("keeper.pid").display()
            ),
            lock => return Ok(lock),
        }
    }
}

/// One run that is being stopped from outside.
struct Ending {
    record: RunRecord,
    process: Option<OwnedFd>,
    tree: Tree,
    kill_at: Instant,
    killed: bool,
}

fn stop_what_is_left(config: &Config) -> anyhow::Result<()> {
    let records = open_records(config)?;
    let now = Instant::now();
    let mut endings: Vec<Ending> = usable(&records)?
        .into_iter()
        .map(|record| Ending {
            process: record.open_process(),
            tree: Tree::of(&record),
            kill_at: now + Duration::from_secs(record.facts.stop_seconds.into()),
            killed: false,
            record,
        })
        .collect();
    let mut bases: BTreeSet<PathBuf> = Cgroups::place(&config.state_dir).into_iter().collect();
    for ending in &mut endings {
        let leaf = ending.record.facts.cgroup.as_deref();
        bases.extend(leaf.and_then(|leaf| Some(leaf.parent()?.parent()?.to_owned())));
        match &ending.process {
            Some(process) => {
                ending.tree.remember();
                ask(process, &ending.record);
            }
            None => ending.tree.signal(stop_signal(&ending.record)),
        }
    }
    let fifos = Fifos::new(config.run_dir.join("fifo"), false);
    while !endings.is_empty() {
        endings.retain_mut(|ending| {
            let over = ending.look();
            if over {
                fifos.remove(&ending.record.facts.fifo);
                records.remove(ending.record.pid);
                if let Tree::Leaf(leaf) = &ending.tree {
                    leaf.remove();
                }
            }
            !over
        });
        let overdue = endings
            .iter()
            .filter(|e| e.killed && e.kill_at + KILL_PATIENCE < Instant::now());
        let stuck: Vec<String> = overdue.map(|e| e.record.pid.to_string()).collect();
        if !stuck.is_empty() {
            bail!("these processes do not die: {}", stuck.join(", "));
        }
        std::thread::sleep(LOOK);
    }
    for base in bases {
        remove_strays(&Cgroups::at(base));
    }
    Ok(())
}

impl Ending {
    /// One look, and what follows from it; true when nothing of it is left.
    fn look(&mut self) -> bool {
        if self.process.as_ref().is_some_and(has_ended) {
            self.process = None;
            // What its end left of its tree gets the same signal, and the rest of the grace.
            self.tree.signal(stop_signal(&self.record));
        }
        if self.process.is_none() && self.tree.is_gone() {
            return true;
        }
        if self.kill_at <= Instant::now() {
            self.killed = true;
            if let Some(process) = &self.process {
                let _ = pidfd_send_signal(process, Signal::KILL);
            }
            self.tree.kill();
        }
        false
    }
}

fn ask(process: &OwnedFd, record: &RunRecord) {
    // One that has ended in this instant is no error.
    let _ = pidfd_send_signal(process, stop_signal(record));
}

fn stop_signal(record: &RunRecord) -> Signal {
    Signal::from_named_raw(record.facts.stop_signal.number()).unwrap_or(Signal::TERM)
}

/// A zombie has ended, whoever has not reaped it.
fn has_ended(process: &OwnedFd) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now));
    ready.is_ok_and(|ready| ready > 0)
}

/// What was being started when the agent ended, and never showed a record.
fn remove_strays(cgroups: &Cgroups) {
    for (_, leaf) in cgroups.leaves() {
        let until = Instant::now() + KILL_PATIENCE;
        while !leaf.is_empty() && Instant::now() < until {
            leaf.kill();
            std::thread::sleep(LOOK);
        }
        leaf.remove();
    }
    cgroups.remove();
}

fn open_records(config: &Config) -> anyhow::Result<Records> {
    let path = config.run_dir.join("records");
    Records::open(path.clone()).with_context(|| format!("open {}", path.display()))
}

/// The records of this boot. What can not be read is left to the next worker, which kills it.
fn usable(records: &Records) -> anyhow::Result<Vec<RunRecord>> {
    let boot_id = host_agent_sys::process::boot_id()?;
    let found = records.read_all()?.into_iter();
    let record = |found| match found {
        Found::Record(record) => Some(record),
        Found::Unreadable(..) => None,
    };
    Ok(found
        .filter_map(record)
        .filter(|record| record.facts.boot_id == boot_id && record.pid != Pid::INIT)
        .collect())
}
