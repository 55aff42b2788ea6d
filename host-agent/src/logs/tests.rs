//! The log path with real FIFOs and real homes.

mod back;
mod clear;
mod fuzzed;
mod kill;
mod lines;
mod long;
mod place;
mod race;
mod reading;
mod room;
mod rotation;
mod steps;
mod trouble;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use host_agent_engine::input::Slot;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tempfile::TempDir;
use tokio::runtime;

use zhylon_proto::daemons::v1::LogGapReason as Reason;

use std::sync::atomic::Ordering;

use super::entry::{Entry, FIRST_ENTRY, Kind, STATE_LEN, State};
use super::inbox::Inbox;
use super::rules::KeepFree;
use super::*;

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);
/// Whose files the logs are: nobody's when root, to be sure that nothing is done as root.
const NOBODY: u32 = 65534;

/// A host with one user and one daemon.
struct World {
    dir: TempDir,
    daemon: DaemonId,
    owner: Owner,
    rules: Rules,
    logs: Option<Logs>,
    events: mpsc::Receiver<LogEvent>,
    /// What was said while something else was waited for.
    gaps: Vec<(DaemonId, String)>,
    runtime: runtime::Runtime,
}

/// An instance's end of its FIFO.
struct Instance {
    run: Run,
    stdout: File,
}

impl Instance {
    fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stdout.write_all(bytes.as_ref()).unwrap();
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn owner_of(home: &Path) -> Owner {
    fs::create_dir_all(home).unwrap();
    let (uid, gid) = match own_uid() {
        0 => (NOBODY, NOBODY),
        uid => (uid, rustix::process::getegid().as_raw()),
    };
    chown(home, Some(uid), Some(gid)).unwrap();
    Owner {
        name: "test".to_owned(),
        uid,
        gid,
        groups: Vec::new(),
        home: home.to_owned(),
    }
}

impl World {
    /// A log that nothing was done with yet.
    fn quiet() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let (_, events) = mpsc::channel(1);
        let daemon = DaemonId::random().unwrap();
        let mut owner = owner_of(&dir.path().join("home"));
        daemon.bare()[..8].clone_into(&mut owner.name);
        Self {
            daemon,
            owner,
            dir,
            // Whatever else is on this disk.
            rules: Rules {
                keep_free: KeepFree::NOTHING,
                ..Rules::default()
            },
            logs: None,
            events,
            gaps: Vec::new(),
            runtime: runtime.unwrap(),
        }
    }

    fn new() -> Self {
        let mut world = Self::quiet();
        world.start();
        world
    }

    /// The agent starts, or starts again.
    fn start(&mut self) {
        self.logs = None;
        let (sender, events) = mpsc::channel(64);
        let logs = Logs::start(self.dir.path().join("index"), self.rules, sender).unwrap();
        logs.register(self.daemon, self.owner.clone());
        self.events = events;
        self.logs = Some(logs);
    }

    fn logs(&self) -> &Logs {
        self.logs.as_ref().unwrap()
    }

    fn file(&self) -> PathBuf {
        let name = zhylon_shared::name::log_file(&self.daemon);
        self.owner.home.join(".zhylon").join(name)
    }

    fn index(&self) -> PathBuf {
        self.dir
            .path()
            .join("index")
            .join(self.daemon.bare())
            .join("index")
    }

    /// Makes the FIFO of a run; both its ends.
    fn fifo(&self, run: Run) -> (OwnedFd, File) {
        let path = self
            .dir
            .path()
            .join(format!("{}.{}", run.slot.index, run.generation));
        if !path.exists() {
            let mode = Mode::RUSR | Mode::WUSR;
            mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let read = rustix::fs::open(&path, flags, Mode::empty()).unwrap();
        // Without privilege only the first 64 of a user get so much.
        let _ = rustix::pipe::fcntl_setpipe_size(&read, pipe::PIPE_SIZE);
        (
            read,
            File::options().read(true).write(true).open(&path).unwrap(),
        )
    }

    fn run(&self, index: u32, generation: u64) -> Run {
        let daemon = self.daemon;
        Run {
            slot: Slot { daemon, index },
            generation,
        }
    }

    fn spawn(&self, index: u32) -> Instance {
        self.spawn_generation(index, 1)
    }

    fn spawn_generation(&self, index: u32, generation: u64) -> Instance {
        let run = self.run(index, generation);
        let (read, stdout) = self.fifo(run);
        self.logs().attach(run, read);
        Instance { run, stdout }
    }

    /// The instance ends; returns once its log is drained.
    fn end(&mut self, instance: Instance) {
        let run = instance.run;
        drop(instance);
        self.logs().ended(run);
        self.drained(run);
    }

    fn drained(&mut self, run: Run) {
        loop {
            let event = self.runtime.block_on(async {
                timeout(PATIENCE, self.events.recv())
                    .await
                    .expect("drained in time")
            });
            match event.unwrap() {
                LogEvent::Gap(daemon, why) => self.gaps.push((daemon, why)),
                LogEvent::Drained(drained) => return assert_eq!(drained, run),
            }
        }
    }

    fn reader(&self) -> LogReader {
        self.try_reader().unwrap().unwrap()
    }

    fn try_reader(&self) -> io::Result<Option<LogReader>> {
        self.runtime.block_on(self.logs().reader(self.daemon))
    }

    fn text(&self) -> String {
        let bytes = fs::read(self.file()).unwrap_or_default();
        String::from_utf8(bytes).unwrap()
    }

    /// Waits until the file reads so.
    fn wait_for(&self, text: &str) {
        eventually(|| {
            let now = self.text();
            if now == text {
                Ok(())
            } else {
                Err(format!("{now:?}, not {text:?}"))
            }
        });
    }

    /// What readers are shown, from `position` on, once the end is at least `end`.
    fn items(&self, reader: &LogReader, mut position: u64, end: u64) -> Vec<LogItem> {
        eventually(|| {
            if reader.end() >= end {
                Ok(())
            } else {
                Err(reader.end().to_string())
            }
        });
        let mut items = Vec::new();
        while let Some(item) = reader.next(position, 1 << 20).unwrap() {
            position = next_position(&item);
            items.push(item);
        }
        assert_eq!(position, reader.end());
        items
    }

    /// The index, read by the rules of its format.
    fn entries(&self) -> Vec<Entry> {
        let bytes = fs::read(self.index()).unwrap();
        let state = State::decode(&bytes[..STATE_LEN]).unwrap();
        let entries = bytes[FIRST_ENTRY as usize..].chunks(entry::ENTRY_LEN);
        let entries = entries.take(state.entries as usize);
        entries.map(|bytes| Entry::decode(bytes).unwrap()).collect()
    }

    fn kinds(&self) -> Vec<Kind> {
        self.entries().iter().map(|entry| entry.kind).collect()
    }
}

fn next_position(item: &LogItem) -> u64 {
    let (LogItem::Data { next_position, .. } | LogItem::Missing { next_position, .. }) = item;
    *next_position
}

/// One item, short: `0:text`, `0~text` if partial, `-12 User` if missing.
fn short(item: &LogItem) -> String {
    match item {
        LogItem::Data {
            instance,
            data,
            partial,
            ..
        } => {
            let text = String::from_utf8_lossy(data);
            format!("{instance}{}{text}", if *partial { '~' } else { ':' })
        }
        LogItem::Missing { bytes, reason, .. } => format!("-{bytes} {reason:?}"),
    }
}

fn shorts(items: &[LogItem]) -> Vec<String> {
    items.iter().map(short).collect()
}

/// Tries until it holds.
fn eventually<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < deadline, "still: {why}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Small, quick, repeatable.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn open_plain(path: &Path) -> File {
    let mut options = File::options();
    options
        .append(true)
        .create(true)
        .mode(0o644)
        .open(path)
        .unwrap()
}
