//! The drainer is killed right after every single step of a move, a rotation and a clear, several times each, while instances
//! speak. Every line says whose it is and which one; the check reads files and index by itself.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command as Program, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::*;

/// Where a kill may come, and in which manner of drainer.
const STEPS: [(&str, Manner); 18] = [
    ("move-entry", Manner::Rotates),
    ("move-intended", Manner::Rotates),
    ("move-moved", Manner::Rotates),
    ("rotate-settled", Manner::Rotates),
    ("rotate-renamed", Manner::Rotates),
    ("file-made", Manner::Rotates),
    ("rotate-entry", Manner::Rotates),
    ("rotate-recorded", Manner::Rotates),
    ("aside-removed", Manner::Rotates),
    ("aside-forgotten", Manner::Rotates),
    ("clear-begun", Manner::Clears),
    ("clear-entry", Manner::Clears),
    ("clear-recorded", Manner::Clears),
    ("clear-shown", Manner::Clears),
    ("clear-emptied", Manner::Clears),
    ("aside-removed", Manner::Clears),
    ("clear-removed", Manner::Clears),
    ("clear-ended", Manner::Clears),
];
/// Kills at each of them.
const KILLS: usize = 4;
const INSTANCES: u32 = 3;
const LINE: u64 = 100;
/// Lines of one burst: several bursts fill a file, whatever is merged into one move.
const BURST: u64 = 40;
const KEEP: usize = 2;
const DIR: &str = "ZHYLON_TEST_STEPS_DIR";
const DAEMON: &str = "ZHYLON_TEST_STEPS_DAEMON";
const MANNER: &str = "ZHYLON_TEST_STEPS_MANNER";

/// What a drainer does besides draining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Nothing.
    Still,
    Rotates,
    /// Rotates, and clears again and again.
    Clears,
}

fn say(instance: u32, number: u64) -> String {
    let head = format!("{instance} {number:012} ");
    format!("{head:x<99}\n")
}

fn heard(line: &str) -> Option<(u32, u64)> {
    let mut words = line.split(' ');
    let (instance, number) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (say(instance, number) == line).then_some((instance, number))
}

#[test]
fn a_kill_after_any_step_loses_doubles_or_misattributes_no_line() {
    let mut world = World::quiet();
    let armed = world.dir.path().join("fail");
    fs::create_dir(&armed).unwrap();
    // The drainer takes what is armed away as the log's user.
    fs::set_permissions(&armed, fs::Permissions::from_mode(0o777)).unwrap();
    let fifos: Vec<_> = (0..INSTANCES)
        .map(|index| world.fifo(world.run(index, 1)))
        .collect();
    let (held, writers): (Vec<OwnedFd>, Vec<File>) = fifos.into_iter().unzip();
    let stop = Arc::new(AtomicBool::new(false));
    // Lines that may be said: who kills allows more, so that nothing is only because somebody was quick.
    let allowed = Arc::new(AtomicU64::new(0));
    let speakers: Vec<_> = (0..)
        .zip(writers)
        .map(|(index, stdout)| {
            let (stop, allowed) = (Arc::clone(&stop), Arc::clone(&allowed));
            std::thread::spawn(move || speak(index, stdout, &stop, &allowed))
        })
        .collect();
    let mut kills = 0;
    for round in 0..KILLS {
        for (step, manner) in STEPS {
            fs::write(armed.join(step), "0").unwrap();
            let (mut drainer, _said) = drainer_of(&world, manner);
            let status = eventually(|| {
                allowed.fetch_add(BURST, Ordering::Relaxed);
                let ended = drainer.try_wait().unwrap();
                ended.ok_or_else(|| format!("nothing came to {step}"))
            });
            assert_eq!(status.signal(), Some(9), "{step}: {status:?}");
            assert!(!armed.join(step).exists(), "{step}: killed by another");
            kills += 1;
            // Every other time the next one is killed, too, and not only this one's doing has to be put right.
            if round % 2 == 1 {
                // Without a rotation that would take away what is wrong.
                finish(&world, Manner::Still);
                check(&world, None);
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let said: Vec<u64> = speakers.into_iter().map(|s| s.join().unwrap()).collect();
    finish(&world, Manner::Rotates);
    drop(held);
    let lines = check(&world, Some(&said));
    read(&mut world, &said);
    eprintln!("{kills} kills, {lines} lines checked of {said:?} said");
    assert_eq!(kills, KILLS * STEPS.len());
}

/// Says how many lines it said.
fn speak(index: u32, mut stdout: File, stop: &AtomicBool, allowed: &AtomicU64) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        if number < allowed.load(Ordering::Relaxed) {
            stdout.write_all(say(index, number).as_bytes()).unwrap();
            number += 1;
        } else {
            std::thread::yield_now();
        }
    }
    // A few more at the end, so that one more rotation puts right what the last kill left.
    for _ in 0..10 * BURST {
        stdout.write_all(say(index, number).as_bytes()).unwrap();
        number += 1;
    }
    number
}

/// The program that is killed: this one, running only `drainer`. Its output is kept open for its last words.
fn drainer_of(world: &World, manner: Manner) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Program::new(std::env::current_exe().unwrap())
        .env(DIR, world.dir.path())
        .env(DAEMON, world.daemon.bare())
        .env(MANNER, format!("{manner:?}"))
        .args(["logs::tests::steps::drainer", "--exact", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It may be killed before it says so.
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let _ = said.any(|line| line.is_ok_and(|line| line.ends_with("ready")));
    (child, said)
}

/// A drainer that nobody kills, and that ends when everything is in the file.
fn finish(world: &World, manner: Manner) {
    let (mut drainer, _said) = drainer_of(world, manner);
    drop(drainer.stdin.take());
    assert!(drainer.wait().unwrap().success());
}

fn rules() -> Rules {
    Rules {
        rotation: Rotation {
            bytes: 2 * BURST * LINE,
            keep: KEEP,
            ..Rotation::default()
        },
        keep_free: KeepFree::NOTHING,
        ..Rules::default()
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
    let manner = std::env::var(MANNER).unwrap();
    let is = |one: Manner| manner == format!("{one:?}");
    let mut rules = rules();
    if is(Manner::Still) {
        rules.rotation = Rotation::default();
    }
    let logs = Logs::start(dir.join("index"), rules, sender).unwrap();
    logs.register(daemon, owner_of(&dir.join("home")));
    let runs: Vec<Run> = (0..INSTANCES)
        .map(|index| Run {
            slot: Slot { daemon, index },
            generation: 1,
        })
        .collect();
    for run in &runs {
        let path = dir.join(format!("{}.{}", run.slot.index, run.generation));
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        logs.attach(*run, rustix::fs::open(path, flags, Mode::empty()).unwrap());
    }
    println!("ready");
    if is(Manner::Clears) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            // Until killed. Between two of them there are rotated files to be taken along.
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                logs.clear(daemon).await.unwrap();
            }
        });
    }
    let _ = std::io::read_to_string(std::io::stdin());
    runs.iter().for_each(|run| logs.ended(*run));
    for _ in &runs {
        events.blocking_recv().unwrap();
    }
}

/// Reads index and files; says how many lines are there. What was `said` is known once nobody speaks any more.
fn check(world: &World, said: Option<&[u64]>) -> u64 {
    let bytes = fs::read(world.index()).unwrap();
    let state = State::decode(&bytes[..STATE_LEN]).unwrap();
    assert!(!state.clearing, "a clear was never finished");
    let entries: Vec<Entry> = bytes[FIRST_ENTRY as usize..]
        .chunks(entry::ENTRY_LEN)
        .take(state.entries as usize)
        .map(|bytes| Entry::decode_or_forgotten(bytes).unwrap())
        .skip_while(|entry| entry.kind == Kind::Forgotten)
        .collect();
    let kinds = |kind: Kind| entries.iter().filter(move |entry| entry.kind == kind);
    let cleared = kinds(Kind::Cleared)
        .next_back()
        .map_or(0, |entry| entry.segment);
    // What must still be there: of what came after the last clear, the newest rotated files and the one that is written.
    let mut must: Vec<u32> = kinds(Kind::Rotated)
        .map(|entry| entry.segment - 1)
        .filter(|number| *number >= cleared)
        .collect();
    let gone = must.len().saturating_sub(KEEP);
    must.drain(..gone);
    let mut files: BTreeMap<u32, Vec<u8>> = world
        .rotated()
        .into_iter()
        .map(|(number, path)| (number as u32, fs::read(path).unwrap()))
        .collect();
    let there: Vec<u32> = files.keys().copied().collect();
    assert!(
        there.iter().all(|number| *number >= cleared),
        "{there:?} of before a clear"
    );
    // What should have gone goes with the next rotation.
    let newest = there.len().saturating_sub(must.len());
    assert_eq!(there[newest..], must, "rotated files");
    assert!(said.is_none() || newest == 0, "{there:?}, not {must:?}");
    let written = fs::read(world.file()).unwrap();
    // Whatever was under way has arrived.
    let arrived = written.len() as u64 - state.offset;
    assert!(arrived <= state.moving, "{arrived} bytes behind {state:?}");
    let stream_end = state.position + arrived;
    files.insert(state.segment, written);

    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    let (mut lines, mut in_files) = (0, 0);
    for (at, entry) in entries.iter().enumerate() {
        let end = entries.get(at + 1).map_or(stream_end, |next| next.position);
        let len = end - entry.position;
        match entry.kind {
            Kind::Data => assert_eq!(len % LINE, 0, "a torn line at {}", entry.position),
            Kind::Rotated | Kind::Cleared => assert_eq!(len, 0),
            kind => panic!("{kind:?}"),
        }
        let instance = entry.source.instance;
        let file = files.get(&entry.segment).filter(|_| len > 0);
        if let Some(file) = file {
            let text = &file[entry.offset as usize..][..len as usize];
            for line in std::str::from_utf8(text).unwrap().split_inclusive('\n') {
                let (by, number) = heard(line).unwrap();
                assert_eq!(by, instance, "misattributed at {}", entry.position);
                let expected = *next.entry(instance).or_insert(number);
                assert_eq!(
                    number, expected,
                    "instance {by}, in segment {}",
                    entry.segment
                );
                next.insert(instance, number + 1);
                lines += 1;
            }
            in_files += len;
        } else if let Some(next) = next.get_mut(&instance) {
            *next += len / LINE;
        }
    }
    let sizes: u64 = files.values().map(|file| file.len() as u64).sum();
    assert_eq!(in_files, sizes, "bytes that no entry knows");
    if let Some(said) = said {
        let all: Vec<u64> = next.into_values().collect();
        assert_eq!(
            all, said,
            "a place for every line of every instance, to the last"
        );
        assert_eq!(stream_end, said.iter().sum::<u64>() * LINE, "no line more");
    }
    lines
}

/// What a reader is shown of all that: from the beginning to the end, in lines, and gaps as large as what is gone.
fn read(world: &mut World, said: &[u64]) {
    world.rules = rules();
    world.start();
    let reader = world.reader();
    let (text, gaps) = super::rotation::read_all(&reader, 0);
    let missing: u64 = gaps.iter().map(|(_, bytes, _)| bytes).sum();
    let all = said.iter().sum::<u64>() * LINE;
    assert_eq!(text.len() as u64 + missing, all, "{gaps:?}");
    assert!(
        gaps.iter()
            .all(|(_, _, why)| matches!(why, Reason::Rotated | Reason::Cleared)),
        "{gaps:?}"
    );
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    for line in text.split_inclusive('\n') {
        let (instance, number) = heard(line).unwrap();
        assert!(
            last.insert(instance, number)
                .is_none_or(|before| before < number)
        );
    }
    assert!(
        last.values()
            .zip(said)
            .all(|(last, said)| last + 1 == *said)
    );
}
