//! The drainer is killed at random moments, many times; afterwards every byte must be in the file once, in order, in whole lines,
//! under its instance's name. The check reads file and index by itself.

use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::process::{Child, ChildStdout, Command as Program, Stdio};
use std::sync::atomic::AtomicBool;

use super::*;

pub(super) const INSTANCES: u32 = 8;
const KILLS: u32 = 60;
/// Kills that must have met a line half moved (or half a clear, half a rotation), else nothing was proven; more kills follow
/// until there are so many.
const HITS: u32 = 3;
const KILLS_MAX: u32 = 400;
const DIR: &str = "ZHYLON_TEST_DRAIN_DIR";
const DAEMON: &str = "ZHYLON_TEST_DRAIN_DAEMON";
/// What it does besides.
const BESIDES: &str = "ZHYLON_TEST_DRAIN_BESIDES";

/// What the drainer does besides draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Besides {
    Nothing,
    /// It clears the log, again and again.
    Clears,
    /// It rotates after a quarter of a megabyte.
    Rotates,
}

impl Besides {
    fn word(self) -> String {
        format!("{self:?}")
    }
}

/// What an instance says, line by line: everything follows from its number.
struct Speech {
    dice: Dice,
    letters: Arc<[u8]>,
}

impl Speech {
    const LONGEST: u64 = 300 * 1024;

    fn new(instance: u32, letters: Arc<[u8]>) -> Self {
        let dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (u64::from(instance) + 1));
        Self { dice, letters }
    }

    fn letters() -> Arc<[u8]> {
        let mut dice = Dice(42);
        (0..2 * Self::LONGEST)
            .map(|_| b'!' + dice.roll(90) as u8)
            .collect()
    }

    /// 1 byte to 300 KiB, short ones far more often.
    fn line(&mut self, into: &mut Vec<u8>) {
        let size = 1 << self.dice.roll(19);
        let length = self.dice.roll(size.min(Self::LONGEST)) as usize;
        let from = self.dice.roll(Self::LONGEST) as usize;
        into.extend_from_slice(&self.letters[from..from + length]);
        into.push(b'\n');
    }
}

#[test]
fn no_kill_tears_mixes_loses_or_doubles_a_line() {
    let world = World::quiet();
    let (kills, in_a_line, lengths, letters) = killed(&world, Besides::Nothing, || {
        let ends = |file: File| {
            use std::os::unix::fs::FileExt as _;
            let mut last = [b'\n'];
            let size = file.metadata().unwrap().len();
            file.read_at(&mut last, size.saturating_sub(1)).unwrap();
            last == *b"\n"
        };
        !File::open(world.file()).map_or(true, ends)
    });
    let lines = check(&world, &letters, &lengths);
    eprintln!("{kills} kills, {in_a_line} in a begun line, {lines} lines");
}

/// The same while the log is rotated again and again: all files together are the stream.
#[test]
fn no_kill_in_a_rotation_tears_mixes_loses_or_doubles_a_line() {
    let world = World::quiet();
    let (kills, in_a_rotation, lengths, letters) = killed(&world, Besides::Rotates, || {
        use std::os::unix::fs::MetadataExt as _;
        let index = fs::read(world.index()).unwrap_or_default();
        let state = index.get(..STATE_LEN).and_then(State::decode);
        let here = fs::metadata(world.file()).map(|file| file.ino()).ok();
        state.is_some_and(|state| state.segment > 0 && here != Some(state.inode))
    });
    let lines = check(&world, &letters, &lengths);
    let files = world.rotated().len();
    assert!(files > 5, "{files} rotations");
    eprintln!("{kills} kills, {in_a_rotation} in one of {files} rotations, {lines} lines");
}

/// Kills drainers of eight instances until enough kills `met` what they were to meet, then lets one finish. Says how many
/// kills there were, how many met it, and how much each instance said.
fn killed(
    world: &World,
    besides: Besides,
    met: impl Fn() -> bool,
) -> (u32, u32, Vec<usize>, Arc<[u8]>) {
    let letters = Speech::letters();
    let runs: Vec<Run> = (0..INSTANCES).map(|index| world.run(index, 1)).collect();
    // As the keeper does: holds the reading ends.
    let fifos: Vec<_> = runs.iter().map(|run| world.fifo(*run)).collect();
    let (held, writers): (Vec<OwnedFd>, Vec<File>) = fifos.into_iter().unzip();
    let stop = Arc::new(AtomicBool::new(false));
    let speakers: Vec<_> = (0..)
        .zip(writers)
        .map(|(index, stdout)| {
            let (stop, speech) = (Arc::clone(&stop), Speech::new(index, Arc::clone(&letters)));
            std::thread::spawn(move || speak(index, stdout, speech, &stop))
        })
        .collect();
    let seed = (u64::from(std::process::id()) << 20) | 1;
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    let (mut kills, mut hits) = (0, 0);
    while kills < KILLS || (hits < HITS && kills < KILLS_MAX) {
        let mut drainer = Drainer::start(world, besides);
        std::thread::sleep(Duration::from_micros(dice.roll(14_000)));
        drainer.child.kill().unwrap();
        drainer.child.wait().unwrap();
        kills += 1;
        hits += u32::from(met());
    }
    assert!(
        hits >= HITS,
        "{hits} of {kills} kills met what they were to meet"
    );
    stop.store(true, Ordering::Relaxed);
    let last = match besides {
        Besides::Clears => Besides::Nothing,
        besides => besides,
    };
    let mut drainer = Drainer::start(world, last);
    let lengths: Vec<usize> = speakers.into_iter().map(|s| s.join().unwrap()).collect();
    drainer.finish();
    drop(held);
    (kills, hits, lengths, letters)
}

/// The same while the log is cleared again and again: what was in the file is gone, but nothing that was written since is,
/// and every byte of the stream is still known to be somebody's.
#[test]
fn no_kill_in_a_clear_loses_or_misattributes_what_comes_after() {
    let world = World::quiet();
    let (kills, in_a_clear, lengths, letters) = killed(&world, Besides::Clears, || {
        let index = fs::read(world.index()).unwrap_or_default();
        let state = index.get(..STATE_LEN).and_then(State::decode);
        state.is_some_and(|state| state.clearing)
    });
    let cleared = check_cleared(&world, &letters, &lengths);
    eprintln!("{kills} kills, {in_a_clear} in a clear, {cleared} clears");
}

/// Counts every byte of the stream, compares those that are still in the file; says how often it was cleared.
fn check_cleared(world: &World, letters: &Arc<[u8]>, lengths: &[usize]) -> usize {
    let file = fs::read(world.file()).unwrap();
    let state = State::decode(&fs::read(world.index()).unwrap()[..STATE_LEN]).unwrap();
    let entries = world.entries();
    let end = state.position + (file.len() as u64 - state.offset);
    let speeches: Vec<Vec<u8>> = (0..)
        .zip(lengths)
        .map(|(index, length)| {
            let mut speech = Speech::new(index, Arc::clone(letters));
            let mut said = Vec::new();
            while said.len() < *length {
                speech.line(&mut said);
            }
            said.truncate(*length);
            said
        })
        .collect();
    let (mut told, mut in_file, mut cleared) = (vec![0; lengths.len()], 0, 0);
    for (number, entry) in entries.iter().enumerate() {
        let next = entries.get(number + 1).map_or(end, |next| next.position);
        let bytes = (next - entry.position) as usize;
        cleared += usize::from(entry.kind == Kind::Cleared);
        let instance = entry.source.instance as usize;
        let there = (entry.segment == state.segment && bytes > 0)
            .then(|| &file[entry.offset as usize..entry.offset as usize + bytes]);
        in_file += there.map_or(0, <[u8]>::len);
        match entry.kind {
            Kind::Data => {
                let said = &speeches[instance][told[instance]..told[instance] + bytes];
                if let Some(there) = there {
                    assert!(
                        there == said,
                        "entry {number} is not what instance {instance} said"
                    );
                }
                told[instance] += bytes;
            }
            Kind::Newline => assert!(there.is_none_or(|there| there == b"\n") && bytes <= 1),
            Kind::Cleared => assert_eq!((bytes, entry.offset), (0, 0)),
            kind => panic!("{kind:?}"),
        }
    }
    assert_eq!(told, lengths, "every byte is somebody's, once");
    assert_eq!(in_file, file.len());
    cleared
}

/// Speaks until told to stop; odd ones stop in the middle of a line. Says how much it said.
fn speak(index: u32, mut stdout: File, mut speech: Speech, stop: &AtomicBool) -> usize {
    let mut pauses = Dice(7 + u64::from(index));
    let (mut line, mut length) = (Vec::new(), 0);
    loop {
        line.clear();
        speech.line(&mut line);
        let over = stop.load(Ordering::Relaxed);
        if over && index % 2 == 1 {
            line.pop();
        }
        stdout.write_all(&line).unwrap();
        length += line.len();
        if over {
            return length;
        }
        if pauses.roll(8) == 0 {
            std::thread::sleep(Duration::from_micros(pauses.roll(3000)));
        }
    }
}

/// The program that is killed: this one, running only `drainer`.
pub(super) struct Drainer {
    pub(super) child: Child,
    /// Kept open for its last words.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Drainer {
    pub(super) fn start(world: &World, besides: Besides) -> Self {
        let mut child = Program::new(std::env::current_exe().unwrap())
            .env(BESIDES, besides.word())
            .args(["logs::tests::kill::drainer", "--exact", "--nocapture"])
            .env(DIR, world.dir.path())
            .env(DAEMON, world.daemon.bare())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = said.any(|line| line.unwrap().ends_with("ready"));
        assert!(ready);
        Self { child, _said: said }
    }

    pub(super) fn finish(&mut self) {
        self.child
            .stdin
            .take()
            .unwrap()
            .write_all(b"finish")
            .unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

/// Not a test: the drainer of the test above.
#[test]
fn drainer() {
    let (Some(dir), Ok(daemon)) = (std::env::var_os(DIR), std::env::var(DAEMON)) else {
        return;
    };
    let daemon = DaemonId::from_bare(&daemon).unwrap();
    let dir = PathBuf::from(dir);
    let (sender, mut events) = mpsc::channel(64);
    let besides = std::env::var(BESIDES).unwrap();
    let rotation = match besides == Besides::Rotates.word() {
        true => Rotation {
            bytes: 256 * 1024,
            keep: usize::MAX / 2,
            ..Rotation::default()
        },
        false => Rotation::default(),
    };
    let rules = Rules {
        rotation,
        keep_free: KeepFree::NOTHING,
        ..Rules::default()
    };
    let logs = Logs::start(dir.join("index"), rules, sender).unwrap();
    logs.register(daemon, owner_of(&dir.join("home")));
    let runs = (0..INSTANCES).map(|index| Run {
        slot: Slot { daemon, index },
        generation: 1,
    });
    let runs: Vec<Run> = runs.collect();
    for run in &runs {
        let path = dir.join(format!("{}.{}", run.slot.index, run.generation));
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        logs.attach(*run, rustix::fs::open(path, flags, Mode::empty()).unwrap());
    }
    println!("ready");
    if besides == Besides::Clears.word() {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            // Until killed.
            loop {
                logs.clear(daemon).await.unwrap();
            }
        });
    }
    let mut word = String::new();
    std::io::stdin().read_to_string(&mut word).unwrap();
    if word == "finish" {
        runs.iter().for_each(|run| logs.ended(*run));
        for _ in &runs {
            events.blocking_recv().unwrap();
        }
    }
}

/// Reads index and files; says how many lines there are.
fn check(world: &World, letters: &Arc<[u8]>, lengths: &[usize]) -> usize {
    // Where each file begins in the stream, by the number of its only segment.
    let (mut file, mut bases) = (Vec::new(), Vec::new());
    for (number, path) in world.rotated() {
        bases.push((number, file.len()));
        file.extend(fs::read(path).unwrap());
    }
    bases.push((u64::MAX, file.len()));
    file.extend(fs::read(world.file()).unwrap());
    let index = fs::read(world.index()).unwrap();
    let word = |at: usize| u64::from_le_bytes(index[at..at + 8].try_into().unwrap());
    // Whatever was under way has arrived.
    let (count, end) = (word(8) as usize, file.len());
    assert!(end as u64 - word(16) <= word(32));
    let mut spoken: Vec<Vec<u8>> = vec![Vec::new(); INSTANCES as usize];
    let mut before = None;
    for number in 0..count {
        let at = 4096 + number * 48;
        let (position, offset) = (word(at) as usize, word(at + 8) as usize);
        let instance = (word(at + 32) & 0xffff_ffff) as usize;
        let kind = word(at + 40) >> 32;
        let next = if number + 1 < count {
            word(at + 48) as usize
        } else {
            end
        };
        let segment = word(at + 32) >> 32;
        let base = bases.iter().find(|(last, _)| segment <= *last).unwrap().1;
        assert_eq!(
            position,
            base + offset,
            "nobody else wrote: the files are the stream"
        );
        let bytes = &file[position..next];
        if before.is_some_and(|before| before != instance) && !bytes.is_empty() {
            assert_eq!(file[position - 1], b'\n', "mixed at {position}");
        }
        if !bytes.is_empty() {
            before = Some(instance);
        }
        match kind {
            1 => spoken[instance].extend_from_slice(bytes),
            2 => assert!(bytes.is_empty() || bytes == b"\n"),
            8 => assert_eq!((bytes.len(), offset), (0, 0)),
            kind => panic!("kind {kind}"),
        }
    }
    assert_eq!(file.last(), Some(&b'\n'));
    let mut lines = 0;
    for (index, (spoken, length)) in (0..).zip(spoken.iter().zip(lengths)) {
        let mut speech = Speech::new(index, Arc::clone(letters));
        let mut said = Vec::new();
        while said.len() < *length {
            speech.line(&mut said);
            lines += 1;
        }
        said.truncate(*length);
        if *spoken != said {
            let wrong = spoken.iter().zip(&said).position(|(a, b)| a != b);
            let lengths = (spoken.len(), said.len());
            panic!("instance {index} differs at {wrong:?}; lengths {lengths:?}");
        }
    }
    lines
}
