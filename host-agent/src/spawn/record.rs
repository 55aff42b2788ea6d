//! Run records: what says after a kill which process is which run. Written by the exec helper as its first act (one file
//! per process, named by its pid), read here. They need only survive a kill, so nothing is synced.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use host_agent_engine::input::{Exit, Run, Slot};
use host_agent_sys::process::start_time;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use zhylon_shared::id::DaemonId;
use zhylon_shared::signal::StopSignal;

mod same;

/// Version of the format. A record of another one can not be acted on.
const VERSION: &str = "1";
/// A longer file is no record: the longest holds a cgroup path and a dozen short lines.
const RECORD_MAX_BYTES: u64 = 16 * 1024;
const EXIT_SUFFIX: &str = ".exit";

/// What the worker knows of a run before there is a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunFacts {
    pub(crate) run: Run,
    pub(crate) boot_id: String,
    pub(crate) spec_hash: String,
    pub(crate) restart_generation: i64,
    pub(crate) stop_signal: StopSignal,
    pub(crate) stop_seconds: u32,
    pub(crate) uid: u32,
    /// Its cgroup leaf; `None`: its tree is found by session and environment.
    pub(crate) cgroup: Option<PathBuf>,
    /// File name of its FIFO.
    pub(crate) fifo: String,
}

/// One run record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunRecord {
    pub(crate) pid: Pid,
    /// Clock ticks since boot.
    pub(crate) start_time: u64,
    pub(crate) facts: RunFacts,
}

/// A file among the records.
#[derive(Debug)]
pub(crate) enum Found {
    Record(RunRecord),
    /// Not to be understood; `(file name, why)`.
    Unreadable(String, String),
}

impl RunFacts {
    /// The lines that the helper writes below its own two.
    pub(crate) fn template(&self) -> String {
        let cgroup = self.cgroup.as_deref().unwrap_or(Path::new("")).display();
        format!(
            "version={VERSION}\nboot_id={}\ndaemon={}\nindex={}\ngeneration={}\nspec_hash={}\n\
             restart_generation={}\nstop_signal={}\nstop_seconds={}\nuid={}\ncgroup={cgroup}\nfifo={}\n",
            self.boot_id,
            self.run.slot.daemon.bare(),
            self.run.slot.index,
            self.run.generation,
            self.spec_hash,
            self.restart_generation,
            self.stop_signal.number(),
            self.stop_seconds,
            self.uid,
            self.fifo,
        )
    }
}

impl RunRecord {
    /// From the text of a record.
    ///
    /// # Errors
    /// Which key is missing or malformed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("does not end with a whole line".to_owned());
        }
        let fields = Fields { text };
        if fields.text("version")? != VERSION {
            return Err(format!("version: this agent knows {VERSION} only"));
        }
        let fifo = fields.text("fifo")?;
        if fifo.is_empty() || fifo.contains('/') {
            return Err("fifo: must be a file name".to_owned());
        }
        let cgroup = fields.text("cgroup")?;
        if !cgroup.is_empty() && !cgroup.starts_with('/') {
            return Err("cgroup: must be an absolute path".to_owned());
        }
        let malformed = |key: &str| format!("{key}: malformed");
        Ok(Self {
            pid: pid_of(fields.text("pid")?).ok_or_else(|| malformed("pid"))?,
            start_time: fields.number("start_time")?,
            facts: RunFacts {
                run: Run {
                    slot: Slot {
                        daemon: DaemonId::from_bare(fields.text("daemon")?)
                            .map_err(|_| malformed("daemon"))?,
                        index: fields.number("index")?,
                    },
                    generation: fields.number("generation")?,
                },
                boot_id: fields.text("boot_id")?.to_owned(),
                spec_hash: fields.text("spec_hash")?.to_owned(),
                restart_generation: fields.number("restart_generation")?,
                stop_signal: StopSignal::from_number(fields.number("stop_signal")?)
                    .ok_or_else(|| malformed("stop_signal"))?,
                stop_seconds: fields.number("stop_seconds")?,
                uid: fields.number("uid")?,
                cgroup: (!cgroup.is_empty()).then(|| PathBuf::from(cgroup)),
                fifo: fifo.to_owned(),
            },
        })
    }

    /// A pidfd of exactly this process; `None` when it is gone. A zombie is still there.
    pub(crate) fn open_process(&self) -> Option<OwnedFd> {
        // The order matters: once the pidfd is open the pid can not pass to another process unseen.
        let pidfd = pidfd_open(self.pid, PidfdFlags::empty()).ok()?;
        let is_it = start_time(self.pid).ok()? == self.start_time
            && same::is_the_runs(self.pid, &self.facts);
        is_it.then_some(pidfd)
    }
}

/// The version of a whole record that is not ours to read. Within a version keys are only added.
fn newer_version(text: &str) -> Option<u32> {
    let version = Fields { text }.number::<u32>("version").ok();
    version.filter(|version| text.ends_with('\n') && version.to_string() != VERSION)
}

/// A pid from text. (`Pid::from_raw` panics at what no pid can be.)
pub(crate) fn pid_of(text: &str) -> Option<Pid> {
    let number = text.parse().ok().filter(|number| *number > 0)?;
    Pid::from_raw(number)
}

/// Reads `key=value` lines; a key must be there once.
struct Fields<'a> {
    text: &'a str,
}

impl<'a> Fields<'a> {
    fn text(&self, key: &str) -> Result<&'a str, String> {
        let lines = self.text.lines();
        let mut values =
            lines.filter_map(|line| line.strip_prefix(key).and_then(|r| r.strip_prefix('=')));
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(format!("{key}: missing")),
            (Some(_), Some(_)) => Err(format!("{key}: there twice")),
        }
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T, String> {
        let value = self.text(key)?;
        value.parse().map_err(|_| format!("{key}: malformed"))
    }
}

/// The directory of run records.
#[derive(Debug)]
pub(crate) struct Records {
    path: PathBuf,
    dir: OwnedFd,
}

impl Records {
    /// Opens the directory; the keeper made it.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let dir = File::open(&path)?.into();
        Ok(Self { path, dir })
    }

    /// For the exec helper.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Every record; half-written temporary files are removed on the way.
    ///
    /// # Errors
    /// When the directory can not be read, or a newer agent wrote a record: what that means nobody here knows, so nothing
    /// may be done to anything.
    pub(crate) fn read_all(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<u32>().is_err() {
                continue;
            }
            let text = read_short(&entry.path());
            if let Some(version) = text.as_ref().ok().and_then(|text| newer_version(text)) {
                return Err(io::Error::other(format!(
                    "run record {name} has format version {version}, this agent knows {VERSION}: use the agent that \
                     wrote it; what runs is left alone"
                )));
            }
            let record = text
                .map_err(|error| error.to_string())
                .and_then(|text| RunRecord::parse(&text));
            found.push(match record {
                Ok(record) if record.pid.as_raw_nonzero().to_string() == name => {
                    Found::Record(record)
                }
                Ok(_) => Found::Unreadable(name, "pid: is not its name".to_owned()),
                Err(why) => Found::Unreadable(name, why),
            });
        }
        Ok(found)
    }

    /// Writes down how a process ended, before it is reaped.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn write_exit(&self, pid: Pid, exit: Exit) -> io::Result<()> {
        let exit = match exit {
            Exit::Code(code) => format!("code {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
            // Nobody saw it: there is nothing to write down.
            Exit::Unknown => return Ok(()),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let time_ms = now.unwrap_or(Duration::ZERO).as_millis();
        let path = self.exit_path(pid);
        let temporary = path.with_extension("exit.tmp");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(format!("exit={exit}\ntime_ms={time_ms}\n").as_bytes())?;
        std::fs::rename(temporary, path)
    }

    /// How a process ended, if that was written down.
    pub(crate) fn read_exit(&self, pid: Pid) -> Option<Exit> {
        let text = read_short(&self.exit_path(pid)).ok()?;
        let (kind, number) = Fields { text: &text }.text("exit").ok()?.split_once(' ')?;
        let number = number.parse().ok()?;
        match kind {
            "code" => Some(Exit::Code(number)),
            "signal" => Some(Exit::Signal(number)),
            _ => None,
        }
    }

    /// Removes a record and its exit.
    pub(crate) fn remove(&self, pid: Pid) {
        self.remove_named(&pid.as_raw_nonzero().to_string());
    }

    /// Removes the record of a run that is over, unless a newer process got its number and wrote its own there.
    pub(crate) fn remove_of(&self, pid: Pid, run: &Run) {
        let path = self.path.join(pid.as_raw_nonzero().to_string());
        let record = read_short(&path).map(|text| RunRecord::parse(&text));
        if !matches!(record, Ok(Ok(record)) if record.facts.run != *run) {
            self.remove(pid);
        }
    }

    /// Removes an exit that an earlier process of this number left.
    pub(crate) fn remove_exit(&self, pid: Pid) {
        let _ = std::fs::remove_file(self.exit_path(pid));
    }

    /// Whether there is a record of this name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    /// Removes a record and its exit, by file name. What is not there need not be removed.
    pub(crate) fn remove_named(&self, name: &str) {
        // The record last: a kill in between leaves a record without exit, never an exit that a later process with the
        // same pid could inherit.
        let _ = std::fs::remove_file(self.path.join(format!("{name}{EXIT_SUFFIX}")));
        let _ = std::fs::remove_file(self.path.join(name));
    }

    fn exit_path(&self, pid: Pid) -> PathBuf {
        self.path
            .join(format!("{}{EXIT_SUFFIX}", pid.as_raw_nonzero()))
    }
}

fn read_short(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(RECORD_MAX_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
