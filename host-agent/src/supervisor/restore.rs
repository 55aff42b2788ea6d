//! What a dead worker (or a dead agent) left: every run record is a run to take over, alive or not; everything without a
//! record is a start that was cut off, and removed.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host_agent_engine::input::{Adopted, DesiredDaemon, Exit, Hold, Input, Past, Run};
use host_agent_sys::fail_point::fail_point;

use super::clock;
use super::core::Core;
use super::ends::Reaper;
use super::runs::{LiveRun, Main};
use crate::journal::LocalLedger;
use crate::spawn::record::{self, RunRecord};
use crate::spawn::tree::Tree;
use crate::spawn::users::Account;
use crate::spawn::{Ground, hold, key};

/// Generations of one worker's life: enough for a respawn every millisecond over eleven days, and unique over all lives
/// without a count per slot.
const GENERATIONS_PER_START: u64 = 1_000_000_000;
/// How long a start that was cut off may take to die or to show its record.
const SETTLE: Duration = Duration::from_secs(1);
const SETTLE_LOOK: Duration = Duration::from_millis(2);
/// When to ask again for the user of a run that was found. For as long as it lives; after that its log is given up.
const OWNER_RETRY: Duration = Duration::from_secs(5);

/// One run to take over.
#[derive(Debug)]
pub(super) struct Found {
    record: RunRecord,
    /// `None`: it has ended, this way.
    process: Result<(), Exit>,
}

/// Reads records, cgroups and FIFOs, and removes what has no record.
///
/// # Errors
/// When the records can not be read: then nothing may be started.
pub(super) fn find(ground: &Ground) -> io::Result<Vec<Found>> {
    wait_for_helpers(ground);
    let mut found = Vec::new();
    for entry in ground.records.read_all()? {
        match entry {
            record::Found::Unreadable(name, why) => {
                tracing::error!(
                    name,
                    why,
                    "a run record is not usable; its processes are killed"
                );
                ground.records.remove_named(&name);
            }
            record::Found::Record(record) if record.facts.boot_id != ground.boot_id => {
                ground.records.remove(record.pid);
            }
            record::Found::Record(record) => {
                let process = match record.open_process() {
                    Some(_) => Ok(()),
                    None => Err(ground
                        .records
                        .read_exit(record.pid)
                        .unwrap_or(Exit::Unknown)),
                };
                found.push(Found { record, process });
            }
        }
    }
    let recorded: BTreeSet<Run> = found.iter().map(|found| found.record.facts.run).collect();
    remove_unrecorded(ground, &recorded);
    Ok(found)
}

fn remove_unrecorded(ground: &Ground, recorded: &BTreeSet<Run>) {
    let leaves = ground.cgroups.iter().flat_map(|cgroups| cgroups.leaves());
    for (run, leaf) in leaves.filter(|(run, _)| !recorded.contains(run)) {
        leaf.kill();
        let deadline = Instant::now() + SETTLE;
        while !leaf.is_empty() && Instant::now() < deadline {
            std::thread::sleep(SETTLE_LOOK);
            leaf.kill();
        }
        if leaf.is_empty() {
            leaf.remove();
        } else {
            tracing::error!(?run, "processes of a start that was cut off do not die");
        }
    }
    for (run, name) in ground.fifos.all() {
        if !recorded.contains(&run) {
            ground.fifos.remove(&name);
            // A keeper that does not hear it holds an empty pipe.
            let _ = ground.keeper.send_drop(&key(&run));
        }
    }
}

/// A helper that a dead worker started is the keeper's child now; writing its record is the first thing it does.
fn wait_for_helpers(ground: &Ground) {
    let Some(keeper) = rustix::process::getppid() else {
        return;
    };
    let deadline = Instant::now() + SETTLE;
    let unrecorded = || {
        let path = format!("/proc/{keeper}/task/{keeper}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        children.split_ascii_whitespace().any(|pid| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim_end() == "zhylon-exec") && !ground.records.contains(pid)
        })
    };
    while unrecorded() && Instant::now() < deadline {
        std::thread::sleep(SETTLE_LOOK);
    }
}

/// The first thing the engine hears.
pub(super) fn input(
    found: &[Found],
    local: &LocalLedger,
    past: Vec<Past>,
    desired: Vec<DesiredDaemon>,
) -> Input {
    let adopted = found.iter().map(|found| {
        let (record, facts) = (&found.record, &found.record.facts);
        Adopted {
            run: facts.run,
            spec_hash: facts.spec_hash.clone(),
            restart_generation: facts.restart_generation,
            stop_signal: facts.stop_signal,
            stop_seconds: facts.stop_seconds,
            ran_for: clock::ran_for(record.start_time),
            pid: record.pid.as_raw_nonzero().get(),
        }
    });
    let of_daemons = local.holds.iter().map(|(id, hold)| (*id, None, hold));
    let of_instances = local.instance_holds.iter();
    let of_instances = of_instances.map(|(id, index, hold)| (*id, Some(*index), hold));
    let holds = of_daemons.chain(of_instances);
    let holds = holds.map(|(id, index, hold)| (id, index, Hold::from(hold)));
    Input::Restore {
        desired,
        holds: holds.collect(),
        settled: local.settled.clone(),
        stopped: local.stopped.clone(),
        adopted: adopted.collect(),
        past,
        first_generation: local.worker_starts.saturating_mul(GENERATIONS_PER_START),
    }
}

impl Core {
    /// Watches a run that was found, gives its FIFO to the keeper and, once its user is known, to the log threads.
    pub(super) fn take_over(&mut self, found: &Found) -> io::Result<()> {
        let record = &found.record;
        let run = record.facts.run;
        fail_point(self.ground.records.dir(), "adopt-found");
        self.events.found(run);
        let pidfd: Option<OwnedFd> = match found.process {
            Ok(()) => record.open_process(),
            Err(_) => None,
        };
        let main = pidfd.map_or(Main::Awaited, |pidfd| Main::Adopted { pidfd });
        let awaited = matches!(main, Main::Awaited);
        let (pid, start_time) = (record.pid, Some(record.start_time));
        let fifo = record.facts.fifo.clone();
        match self.ground.fifos.open(&fifo) {
            // The keeper may be a new one.
            Ok(reader) => {
                if let Err(error) =
                    hold(&self.ground.keeper, &run, std::os::fd::AsFd::as_fd(&reader))
                {
                    tracing::error!(%error, ?run, "the keeper does not take a log pipe");
                }
            }
            Err(error) => tracing::error!(%error, fifo, "a log pipe is gone"),
        }
        let live = LiveRun::new(pid, start_time, main, Tree::of(record), fifo);
        self.runs.insert(run, live)?;
        match found.process {
            Err(exit) if awaited && exit != Exit::Unknown => {
                self.main_ended(run, exit, Reaper::Keeper)
            }
            // Nobody wrote down how it ended. The keeper may still say.
            _ if awaited => self.await_keeper(run),
            _ => {}
        }
        self.presume_user(run.slot.daemon, &record.facts.spec_hash, record.facts.uid);
        self.find_owner(run, record.facts.uid, Duration::ZERO);
        fail_point(self.ground.records.dir(), "adopt-watched");
        Ok(())
    }

    /// Asks whose a run is that was found.
    fn find_owner(&mut self, run: Run, uid: u32, after: Duration) {
        let spec = self.specs.get(&run.slot.daemon);
        let name = spec.map(|spec| spec.user().to_owned());
        self.queries.owner(run, name, uid, after);
    }

    /// Whose it is: its log goes there.
    pub(super) fn on_owner(&mut self, run: Run, uid: u32, account: Result<Arc<Account>, String>) {
        let Some(live) = self.runs.get_mut(&run) else {
            return;
        };
        let opened = account.and_then(|account| {
            let reader = self.ground.fifos.open(&live.fifo);
            let reader = reader.map_err(|error| format!("log pipe {}: {error}", live.fifo))?;
            Ok((account, reader))
        });
        match opened {
            Ok((account, reader)) => {
                live.attached = true;
                let gone = live.gone;
                self.own(run.slot.daemon, account.owner.clone());
                self.logs.attach(run, reader);
                if gone {
                    self.logs.ended(run);
                }
            }
            Err(why) if live.gone => {
                tracing::error!(why, ?run, "last words of a run that was found are given up");
                self.on_drained(run);
            }
            Err(why) => {
                tracing::warn!(why, ?run, "the log of a run that was found waits");
                self.find_owner(run, uid, OWNER_RETRY);
            }
        }
    }
}
