//! The log path's boundaries as functions of bytes: what fuzz targets and the property tests feed. They panic when a promise is
//! broken, and never otherwise.

#![expect(clippy::unwrap_used, reason = "never part of a program")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use host_agent_engine::input::{Run, Slot};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use tokio::sync::watch;
use zhylon_shared::id::DaemonId;
use zhylon_shared::{cursor, name};

use super::desk::Desk;
use super::entry::{ENTRY_LEN, Entry, FIRST_ENTRY, Kind, STATE_LEN, State, seal_bytes};
use super::index::Index;
use super::log::{Book, Estate, Log};
use super::past::Past;
use super::reader::LogReader;
use super::segment::{Published, Segment};
use super::{LogItem, Owner, Rules, pipe};

/// Items read of one log at most: an index that is nonsense may promise a great many.
const ITEMS: usize = 200;
/// Turns after which a log whose runs have all ended is drained.
const TURNS: usize = 2000;

/// A cursor is refused, or is the text that its position has.
pub(crate) fn log_cursor(data: &[u8]) {
    let daemon = DaemonId::from_bare("H3hxDfKZE0mHsxTqwN").unwrap();
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(position) = cursor::decode(&daemon, text)
    {
        assert_eq!(cursor::encode(&daemon, position), text);
    }
}

/// Any index whose check sums are right is read to an end, or refused.
pub(crate) fn log_index(data: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let (text, records) = data.split_at(
        data.len()
            .min(usize::from(data.first().map_or(0, |n| n % 64))),
    );
    let log = dir.path().join("log");
    fs::write(&log, text).unwrap();
    let log = Arc::new(File::open(log).unwrap());
    let path = dir.path().join("index");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    let (state, entries) = records.split_at(records.len().min(STATE_LEN));
    let mut state_bytes = [0; STATE_LEN];
    state_bytes[..state.len()].copy_from_slice(state);
    seal_bytes(&mut state_bytes, true);
    file.write_all_at(&state_bytes, 0).unwrap();
    for (number, entry) in entries.chunks_exact(ENTRY_LEN).enumerate() {
        let mut entry: [u8; ENTRY_LEN] = entry.try_into().unwrap();
        // One in eight stays torn.
        if !entry[0].is_multiple_of(8) {
            seal_bytes(&mut entry, false);
        }
        file.write_all_at(&entry, Entry::place(number as u64))
            .unwrap();
    }
    let daemon = DaemonId::from_bare("H3hxDfKZE0mHsxTqwN").unwrap();
    let reader = Arc::new(file.try_clone().unwrap());
    let Ok(mut index) = Index::load(file, &daemon) else {
        return;
    };
    let segments = index.segments_of(&log).unwrap_or_default();
    let rotated = index.rotated(20).unwrap_or_default();
    let _ = (
        index.newest_data(),
        index.rotated_with(index.state().segment),
    );
    for segment in 0..3 {
        let _ = index.rotated_with(segment);
    }
    let published = Published {
        ready: true,
        position: index.state().position,
        entries: index.published_entries(),
        segments: segments
            .into_iter()
            .chain([Arc::new(Segment::new(1, log, 9))])
            .collect(),
    };
    read_all(reader, published);
    let _ = index.forget(&rotated, 0);
}

fn read_all(index: Arc<File>, published: Published) {
    let end = published.position;
    let (_publisher, published) = watch::channel(published);
    let reader = LogReader::new(index, published, Past::nowhere());
    for from in [0, 1, end / 2, end.saturating_sub(1)] {
        let mut position = from;
        for _ in 0..ITEMS {
            let Ok(Some(item)) = reader.next(position, 100) else {
                break;
            };
            let (LogItem::Data { next_position, .. } | LogItem::Missing { next_position, .. }) =
                item;
            assert!(next_position > position && next_position <= end);
            position = next_position;
        }
        let mut position = from;
        for _ in 0..ITEMS {
            let begin = reader.before(position, (100, 0), None);
            let Some(begin) = begin.ok().filter(|_| position > 0) else {
                break;
            };
            assert!(begin < position);
            position = begin;
        }
    }
    let _ = (
        reader.tail_position(10, None),
        reader.tail_position(3, Some(1)),
    );
    let _ = (reader.last_bytes(1000), reader.since(1000));
}

/// What instances say, however it is cut up in time, is in the file once, in order, in whole lines, under their names.
pub(crate) fn log_lines(data: &[u8]) {
    Stage::new().play(data);
}

/// One log and three instances, moved by hand.
struct Stage {
    dir: tempfile::TempDir,
    daemon: DaemonId,
    desk: Desk,
    log: Log,
    /// Of each instance: its newest run, and that run's end of the pipe.
    cast: Vec<(Run, Option<OwnedFd>)>,
    /// By run: the next one may overtake the end of the one before.
    said: BTreeMap<(u32, u64), Vec<u8>>,
    events: Vec<epoll::Event>,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let daemon = DaemonId::from_bare("H3hxDfKZE0mHsxTqwN").unwrap();
        let owner = Owner {
            name: "fuzz".to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            gid: 0,
            groups: Vec::new(),
            home: dir.path().to_owned(),
        };
        let (_, rules) = watch::channel(Rules::default());
        let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let mut desk = Desk::new(&bell, rules).unwrap();
        let path = dir.path().join("index");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .unwrap();
        let (publisher, _) = watch::channel(Published::default());
        let mut log = Log::new(daemon, owner);
        log.inherit(Estate::new(Some(Book::new(file, publisher))), &mut desk);
        let mut stage = Self {
            dir,
            daemon,
            desk,
            log,
            cast: Vec::new(),
            said: BTreeMap::new(),
            events: Vec::with_capacity(16),
        };
        for index in 0..3 {
            stage.cast.push((stage.run(index, 0), None));
        }
        stage
    }

    fn run(&self, index: u32, generation: u64) -> Run {
        let daemon = self.daemon;
        Run {
            slot: Slot { daemon, index },
            generation,
        }
    }

    fn play(mut self, data: &[u8]) {
        for pair in data.chunks_exact(2) {
            let (what, much) = (pair[0], pair[1]);
            let instance = usize::from(what % 3);
            match what / 3 % 8 {
                0 | 1 => self.say(instance, &b"some words "[..usize::from(much % 11)]),
                2 => self.say(instance, b"\n"),
                3 => self.say(instance, format!("line\n\r\0{much}\n").as_bytes()),
                4 => self.say(instance, &vec![b'x'; usize::from(much) * 1024]),
                5 => self.pass(u64::from(much) * 8),
                6 => self.end(instance),
                _ => self.pass(0),
            }
        }
        for instance in 0..3 {
            self.end(instance);
        }
        let mut turns = 0;
        while !self.desk.drained.is_empty() || !self.is_drained() {
            self.desk.drained.clear();
            self.pass(100);
            turns += 1;
            assert!(turns < TURNS, "it is never drained");
        }
        self.log.settle();
        self.check();
    }

    fn say(&mut self, instance: usize, mut bytes: &[u8]) {
        if self.cast[instance].1.is_none() {
            let index = instance as u32;
            let run = self.run(index, self.cast[instance].0.generation + 1);
            let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
            // Refused where a user's pipe pages are used up.
            let _ = fcntl_setpipe_size(&write, pipe::PIPE_SIZE);
            self.log.attach(run, read, &mut self.desk);
            (self.cast[instance].0, self.cast[instance].1) = (run, Some(write));
        }
        let (run, pipe) = &self.cast[instance];
        let said = self
            .said
            .entry((run.slot.index, run.generation))
            .or_default();
        // What does not fit was never said.
        while let Some(pipe) = pipe.as_ref()
            && !bytes.is_empty()
            && let Ok(written) = rustix::io::write(pipe, bytes)
        {
            said.extend_from_slice(&bytes[..written]);
            bytes = &bytes[written..];
        }
    }

    fn end(&mut self, instance: usize) {
        if self.cast[instance].1.take().is_some() {
            self.log.ended(self.cast[instance].0, &mut self.desk);
        }
    }

    /// Some time goes by, and the log has a turn.
    fn pass(&mut self, milliseconds: u64) {
        self.desk.now += Duration::from_millis(milliseconds);
        self.desk.second += 1;
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut events = std::mem::take(&mut self.events);
        self.desk.wait(Some(&at_once), &mut events).unwrap();
        events
            .iter()
            .for_each(|event| self.log.ring(event.data.u64()));
        self.events = events;
        self.log.turn(&mut self.desk);
    }

    fn is_drained(&self) -> bool {
        self.log.has_no_feeds()
    }

    fn check(&self) {
        let file = self
            .dir
            .path()
            .join(".zhylon")
            .join(name::log_file(&self.daemon));
        let file = fs::read(file).unwrap_or_default();
        let index = fs::read(self.dir.path().join("index")).unwrap_or_default();
        let Some(state) = index.get(..STATE_LEN).and_then(State::decode) else {
            return assert!(self.said.values().all(Vec::is_empty));
        };
        let entries: Vec<Entry> = index[FIRST_ENTRY as usize..]
            .chunks_exact(ENTRY_LEN)
            .take(state.entries as usize)
            .map(|bytes| Entry::decode(bytes).unwrap())
            .collect();
        let mut heard: BTreeMap<(u32, u64), Vec<u8>> = BTreeMap::new();
        for (number, entry) in entries.iter().enumerate() {
            let end = entries
                .get(number + 1)
                .map_or(state.position, |next| next.position);
            let bytes = &file[entry.offset as usize..][..(end - entry.position) as usize];
            let before = number.checked_sub(1).map(|before| entries[before].source);
            if before.is_some_and(|before| before != entry.source) && !bytes.is_empty() {
                assert_eq!(file[entry.offset as usize - 1], b'\n', "mixed lines");
            }
            match entry.kind {
                Kind::Data => heard
                    .entry((entry.source.instance, entry.source.generation))
                    .or_default()
                    .extend_from_slice(bytes),
                Kind::Newline => assert!(bytes.is_empty() || bytes == b"\n"),
                kind => panic!("{kind:?}"),
            }
        }
        assert_eq!(state.position, file.len() as u64);
        for (run, said) in &self.said {
            let heard = heard.get(run).map_or(&[][..], Vec::as_slice);
            assert!(heard == said, "{run:?}: {} of {}", heard.len(), said.len());
        }
    }
}
