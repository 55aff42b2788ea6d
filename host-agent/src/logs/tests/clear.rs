//! Clearing a log: what was in it is a gap to everybody, what comes after is all there, whatever is killed when.

use std::sync::atomic::AtomicBool;

use super::place::settled;
use super::*;

impl World {
    fn clear(&self) -> io::Result<()> {
        self.runtime.block_on(self.logs().clear(self.daemon))
    }
}

#[test]
fn a_cleared_log_is_empty_and_goes_on() {
    let mut world = World::new();
    // Nothing there yet.
    world.clear().unwrap();
    assert!(!world.file().exists());
    let (mut a, mut b) = (world.spawn(0), world.spawn(1));
    a.say("one\ntwo\n");
    world.wait_for("one\ntwo\n");
    let reader = world.reader();
    let before = fs::metadata(world.file()).unwrap();
    // In the middle of the file.
    let first = reader.next(0, 4).unwrap().unwrap();
    assert_eq!(short(&first), "0:one\n");
    world.clear().unwrap();
    assert_eq!(world.text(), "");
    assert_eq!(
        shorts(&world.items(&reader, next_position(&first), 8)),
        ["-4 Cleared"]
    );
    assert_eq!(reader.last_bytes(99).unwrap(), b"");
    // Again: nothing to do, and nothing to remember.
    let entries = world.entries().len();
    world.clear().unwrap();
    assert_eq!(world.entries().len(), entries);
    b.say("three\n");
    world.wait_for("three\n");
    let after = fs::metadata(world.file()).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(
        (after.ino(), after.uid(), after.mode()),
        (before.ino(), before.uid(), before.mode())
    );
    for reader in [reader, world.reader()] {
        assert_eq!(
            shorts(&world.items(&reader, 0, 14)),
            ["-8 Cleared", "1:three\n"]
        );
        assert_eq!(reader.last_bytes(99).unwrap(), b"three\n");
        assert_eq!(reader.tail_position(10, None).unwrap(), 8);
    }
    // The next agent knows it, too.
    world.start();
    let items = world.items(&world.reader(), 0, 14);
    assert_eq!(shorts(&items), ["-8 Cleared", "1:three\n"]);
    world.clear().unwrap();
    let items = world.items(&world.reader(), 0, 14);
    assert_eq!(shorts(&items), ["-8 Cleared", "-6 Cleared"]);
}

#[test]
fn a_begun_line_and_foreign_bytes_go_with_the_rest() {
    let world = World::new();
    let (mut a, mut b) = (world.spawn(0), world.spawn(1));
    a.say("one\nhalf");
    world.wait_for("one\nhalf");
    world.clear().unwrap();
    // Nothing is left of the begun line that would have to be kept together.
    b.say("two\n");
    a.say(" a line\n");
    let items = eventually(|| {
        let items = world.items(&world.reader(), 8, 20);
        match items.len() {
            2 => Ok(items),
            _ => Err(format!("{items:?}")),
        }
    });
    let mut lines = shorts(&items);
    lines.sort();
    assert_eq!(lines, ["0: a line\n", "1:two\n"]);
    open_plain(&world.file()).write_all(b"theirs\n").unwrap();
    world.clear().unwrap();
    assert_eq!(world.text(), "");
    b.say("three\n");
    world.wait_for("three\n");
}

#[test]
fn what_can_not_be_emptied_says_why_and_stays() {
    let world = World::new();
    let mut a = world.spawn(0);
    a.say("one\n");
    world.wait_for("one\n");
    // Somebody else's secret, at the log's path.
    let secret = world.owner.home.join("secret");
    fs::write(&secret, "secret").unwrap();
    chown(&secret, Some(world.owner.uid), None).unwrap();
    let aside = world.file().with_extension("aside");
    fs::rename(world.file(), &aside).unwrap();
    std::os::unix::fs::symlink(&secret, world.file()).unwrap();
    let refused = world.clear().unwrap_err().to_string();
    assert!(refused.contains("symbolic links"), "{refused}");
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert_eq!(fs::read(&aside).unwrap(), b"one\n");
    let nobody = DaemonId::random().unwrap();
    assert!(world.runtime.block_on(world.logs().clear(nobody)).is_err());
}

/// The state as it is stored between the two halves: the next agent finishes it, once.
#[test]
fn a_clear_that_was_cut_off_is_finished() {
    for file_was_emptied in [false, true] {
        let mut world = World::new();
        let mut a = world.spawn(0);
        a.say("one\ntwo\n");
        world.end(a);
        world.clear().unwrap();
        world.logs = None;
        settled(&world);
        // Back to the middle of it.
        let index = File::options()
            .read(true)
            .write(true)
            .open(world.index())
            .unwrap();
        let mut bytes = [0; STATE_LEN];
        use std::os::unix::fs::FileExt as _;
        index.read_exact_at(&mut bytes, 0).unwrap();
        let state = State::decode(&bytes).unwrap();
        assert!(!state.clearing && state.offset == 0);
        let middle = State {
            clearing: true,
            ..state
        };
        index.write_all_at(&middle.encode(), 0).unwrap();
        if !file_was_emptied {
            fs::write(world.file(), "one\ntwo\n").unwrap();
        }
        world.start();
        let items = world.items(&world.reader(), 0, 8);
        assert_eq!(shorts(&items), ["-8 Cleared"]);
        assert_eq!(world.text(), "");
        // What a user puts there later is not taken for what was to be cleared.
        open_plain(&world.file()).write_all(b"theirs\n").unwrap();
        world.start();
        let mut a = world.spawn_generation(0, 2);
        a.say("three\n");
        world.end(a);
        assert_eq!(world.text(), "theirs\nthree\n");
        let items = world.items(&world.reader(), 0, 14);
        assert_eq!(shorts(&items), ["-8 Cleared", "0:three\n"]);
    }
}

#[test]
fn readers_meet_nothing_but_what_was_written_and_gaps() {
    const CLEARS: u32 = 200;
    let world = World::new();
    let mut a = world.spawn(0);
    let enough = Arc::new(AtomicBool::new(false));
    let speaker = {
        let enough = Arc::clone(&enough);
        std::thread::spawn(move || {
            let mut number = 0;
            // As long as there are clears, however slow the machine is: what nobody clears away is no gap.
            while !enough.load(Ordering::Acquire) {
                a.say(format!("line {number}\n"));
                number += 1;
            }
            // Nothing can take the last line away any more.
            a.say(format!("line {number}\n"));
            (a, number)
        })
    };
    let (mut reader, mut position, mut clears) = (world.reader(), 0, 0);
    let (mut expected, mut gaps) = (0, 0);
    let mut read = |position: &mut u64, reader: &LogReader| {
        while let Some(item) = reader.next(*position, 700).unwrap() {
            *position = next_position(&item);
            match item {
                LogItem::Data { data, .. } => {
                    for line in std::str::from_utf8(&data).unwrap().lines() {
                        let number: u32 = line.strip_prefix("line ").unwrap().parse().unwrap();
                        assert!(number >= expected, "{number} after {expected}");
                        expected = number + 1;
                    }
                }
                LogItem::Missing { bytes, reason, .. } => {
                    assert_eq!(reason, Reason::Cleared);
                    assert!(bytes > 0);
                    gaps += 1;
                }
            }
        }
        (expected, gaps)
    };
    let deadline = Instant::now() + 3 * PATIENCE;
    let mut gaps = 0;
    while clears < CLEARS || gaps == 0 {
        assert!(Instant::now() < deadline, "{clears} clears, {gaps} gaps");
        let more = world.runtime.block_on(reader.wait_after(position));
        assert!(more, "the log is forgotten");
        world.clear().unwrap();
        clears += 1;
        (_, gaps) = read(&mut position, &reader);
    }
    enough.store(true, Ordering::Release);
    let (_a, last) = speaker.join().unwrap();
    eventually(|| match read(&mut position, &reader) {
        (next, _) if next == last + 1 => Ok(()),
        (next, _) => Err(format!("at line {next} of {last}")),
    });
}
