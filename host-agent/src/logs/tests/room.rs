//! No room: disks that fill and are freed, again and again, with both policies; space that is left to others; rules that change.

use std::process::Command as Program;
use std::sync::atomic::AtomicU64;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::rotation::{lines, read_all};
use super::rules::WhenFull;
use super::*;

/// Set in the process that may mount.
const INSIDE: &str = "ZHYLON_TEST_ROOM";
/// Each fills the disk, and a FIFO more than twice, and frees the disk again.
const CYCLES: u64 = 20;
const MORE: &str = "ZHYLON_TEST_FILL_CYCLES";
const LINE: u64 = 1000;
const LINES_A_CYCLE: u64 = 2500;

/// Runs the test `name` of this file again, in a mount namespace of its own.
fn in_a_namespace(name: &str) {
    if own_uid() != 0 {
        let text = format!("\nSKIPPED {name}: a small file system needs root\n");
        let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
        return;
    }
    let name = format!("logs::tests::room::{name}_inside");
    let mut program = Program::new("unshare");
    program.arg("--mount").arg(std::env::current_exe().unwrap());
    program.args([&name, "--exact", "--nocapture"]);
    let output = program.env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        let text = format!("\nSKIPPED {name}: no mount namespace here\n");
        let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
        return;
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// A host whose user has a small disk of its own.
fn world_with_disk(size: &str) -> World {
    let mut world = World::quiet();
    let home = world.owner.home.clone();
    let mut mount = Program::new("mount");
    mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]);
    assert!(mount.arg(&home).status().unwrap().success());
    world.owner = owner_of(&home);
    world
}

impl World {
    fn free(&self) -> u64 {
        let disk = statvfs(&self.owner.home).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Somebody else takes all of the disk but `left` bytes.
    fn fill(&self, left: u64) -> PathBuf {
        let path = self.owner.home.join("ballast");
        let ballast = File::create(&path).unwrap();
        let mut size = 0;
        for step in [1 << 20, 4096] {
            while self.free() >= left + step
                && fallocate(&ballast, FallocateFlags::empty(), size, step).is_ok()
            {
                size += step;
            }
        }
        path
    }
}

fn numbered(number: u64) -> String {
    format!("{number:0999}\n")
}

#[test]
fn a_disk_that_fills_and_empties_costs_only_what_is_counted() {
    in_a_namespace("a_disk_that_fills_and_empties_costs_only_what_is_counted");
}

#[test]
fn a_disk_that_fills_and_empties_costs_only_what_is_counted_inside() {
    if is_inside() {
        fill_and_free(WhenFull::Drop);
    }
}

#[test]
fn a_daemon_that_rather_waits_loses_nothing_to_a_full_disk() {
    in_a_namespace("a_daemon_that_rather_waits_loses_nothing_to_a_full_disk");
}

#[test]
fn a_daemon_that_rather_waits_loses_nothing_to_a_full_disk_inside() {
    if is_inside() {
        fill_and_free(WhenFull::Block);
    }
}

/// What a reader was shown, against what was said.
#[derive(Debug, Default)]
struct Found {
    position: u64,
    /// How much of what was said is told of.
    said: u64,
    dropped: u64,
    /// Line ends of the agent's own, where the rest of a line was dropped.
    ended: u64,
    after_a_gap: bool,
}

impl Found {
    /// Reads all there is: each byte that was said once and in order, or in a gap.
    fn read(&mut self, reader: &LogReader) {
        while let Some(item) = reader.next(self.position, 1 << 20).unwrap() {
            self.position = next_position(&item);
            match item {
                LogItem::Data { mut data, .. } => {
                    // A line that was begun before the gap.
                    if self.after_a_gap && data[0] == b'\n' && self.said % LINE != LINE - 1 {
                        self.ended += 1;
                        data = data.slice(1..);
                    }
                    self.after_a_gap &= data.is_empty();
                    while !data.is_empty() {
                        let line = numbered(self.said / LINE);
                        let rest = &line.as_bytes()[(self.said % LINE) as usize..];
                        let piece = data.split_to(rest.len().min(data.len()));
                        assert!(piece == rest[..piece.len()], "at {}", self.said);
                        self.said += piece.len() as u64;
                    }
                }
                LogItem::Missing { bytes, reason, .. } => {
                    assert_eq!(reason, Reason::Dropped);
                    self.said += bytes;
                    self.dropped += bytes;
                    self.after_a_gap = true;
                }
            }
        }
    }
}

fn fill_and_free(when_full: WhenFull) {
    let cycles = std::env::var(MORE)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(CYCLES);
    let mut world = world_with_disk("96m");
    world.rules.when_full = when_full;
    // What has been read goes, so that there can be as many cycles as one likes.
    world.rules.rotation = Rotation {
        bytes: 8 << 20,
        keep: 3,
        ..Rotation::default()
    };
    world.start();
    let reader = world.reader();
    let mut a = world.spawn(0);
    let mut found = Found::default();
    for cycle in 1..=cycles {
        let ballast = world.fill(0);
        let said = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&said);
        let speaker = std::thread::spawn(move || {
            for number in (cycle - 1) * LINES_A_CYCLE..cycle * LINES_A_CYCLE {
                a.say(numbered(number));
                counted.fetch_add(1, Ordering::Relaxed);
            }
            a
        });
        // With `drop` it gets rid of all of it though nothing is freed; with `block` it comes to stand still.
        eventually(|| match when_full {
            WhenFull::Drop if speaker.is_finished() => Ok(()),
            WhenFull::Block if said.load(Ordering::Relaxed) * LINE > 900 << 10 => Ok(()),
            _ => Err(format!("{said:?} in cycle {cycle}")),
        });
        if when_full == WhenFull::Block {
            assert!(!speaker.is_finished(), "a FIFO is smaller than that");
        }
        fs::remove_file(ballast).unwrap();
        a = speaker.join().unwrap();
        let end = cycle * LINES_A_CYCLE * LINE;
        let before = found.dropped;
        eventually(|| {
            found.read(&reader);
            match found.said == end {
                true => Ok(()),
                false => Err(format!("{found:?}, {end} said in cycle {cycle}")),
            }
        });
        assert_eq!(
            found.dropped > before,
            when_full == WhenFull::Drop,
            "cycle {cycle}"
        );
    }
    let Found {
        said,
        dropped,
        ended,
        ..
    } = found;
    assert_eq!(reader.end(), cycles * LINES_A_CYCLE * LINE + ended);
    world.end(a);
    assert_eq!(
        world.gaps.is_empty(),
        when_full == WhenFull::Block,
        "{:?}",
        world.gaps
    );
    let text = format!("{cycles} cycles, {said} bytes said, {dropped} dropped and counted\n");
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}

#[test]
fn what_is_to_stay_free_stays_free() {
    in_a_namespace("what_is_to_stay_free_stays_free");
}

#[test]
fn what_is_to_stay_free_stays_free_inside() {
    if !is_inside() {
        return;
    }
    const KEEP: u64 = 32 << 20;
    let mut world = world_with_disk("96m");
    world.rules.keep_free = KeepFree {
        bytes: KEEP,
        percent: 99,
    };
    world.start();
    let mut a = world.spawn(0);
    for number in 0..100_000 {
        a.say(numbered(number));
    }
    let file = fs::metadata(world.file()).unwrap().len();
    // It stops in time, with a step of 4 MiB and what one turn moves, and not before.
    let free = world.free();
    assert!(
        (KEEP - (6 << 20)..=KEEP).contains(&free),
        "{free} free, {file} written"
    );
    world.drained_gap("keep_free");
    // Less than that is free, by others: nothing is written at all.
    world.fill(KEEP - (12 << 20));
    let (reader, size) = (world.reader(), fs::metadata(world.file()).unwrap().len());
    let end = reader.end();
    for number in 100_000..103_000 {
        a.say(numbered(number));
    }
    eventually(|| match reader.end() > end {
        true => Ok(()),
        false => Err("nothing is counted yet".to_owned()),
    });
    assert_eq!(fs::metadata(world.file()).unwrap().len(), size);
    // Less is asked for: it goes on, with what waited.
    let rules = Rules {
        keep_free: KeepFree::NOTHING,
        ..world.rules
    };
    world.logs().set_rules(rules);
    world.end(a);
    assert_eq!(world.reader().end(), 103_000 * LINE);
    assert!(world.text().ends_with(&numbered(102_999)));
}

impl World {
    /// Waits until it is said that output is lost; `word` is in the reason.
    fn drained_gap(&mut self, word: &str) {
        let received = async { timeout(PATIENCE, self.events.recv()).await };
        let event = self.runtime.block_on(received);
        match event.expect("in time") {
            Some(LogEvent::Gap(_, why)) => assert!(why.contains(word), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn other_rules_hold_from_the_next_rotation_on() {
    let world = World::rotating(1000, 5);
    let mut a = world.spawn(0);
    let reader = world.reader();
    world.count(&mut a, &reader, 0, 65);
    assert_eq!(world.rotated().len(), 5);
    let rotation = Rotation {
        bytes: 2000,
        keep: 1,
        ..Rotation::default()
    };
    let rules = Rules {
        rotation,
        ..world.rules
    };
    world.logs().set_rules(rules);
    assert_eq!(world.logs().rotation(), rotation);
    world.count(&mut a, &reader, 65, 85);
    assert_eq!(world.rotated().len(), 1);
    assert_eq!(world.text(), lines(80, 85));
    let (_, gaps) = read_all(&world.reader(), 0);
    assert_eq!(gaps.last(), Some(&(5000, 1000, Reason::Rotated)));
}

#[test]
fn all_logs_of_a_user_together_have_a_bound() {
    let mut world = World::quiet();
    world.rules.total_bytes = Some(5000);
    world.rules.rotation = Rotation {
        bytes: 1000,
        keep: 10,
        ..Rotation::default()
    };
    world.start();
    let mut a = world.spawn(0);
    let first = world.reader();
    world.count(&mut a, &first, 0, 35);
    assert_eq!(world.rotated().len(), 3);
    // The same user's other daemon: the oldest go first, whoever's they are.
    let daemon = std::mem::replace(&mut world.daemon, DaemonId::random().unwrap());
    world.logs().register(world.daemon, world.owner.clone());
    let mut b = world.spawn(1);
    let second = world.reader();
    world.count(&mut b, &second, 0, 25);
    assert_eq!(world.rotated().len(), 2);
    world.daemon = daemon;
    assert_eq!(world.rotated().len(), 2);
    let dir = fs::read_dir(world.file().parent().unwrap()).unwrap();
    let total: u64 = dir
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(total <= 5000 + 500, "{total}");
    let (text, gaps) = read_all(&world.reader(), 0);
    assert_eq!(
        (text, gaps),
        (lines(10, 35), vec![(0, 1000, Reason::Rotated)])
    );
    assert_eq!(read_all(&second, 0), (lines(0, 25), vec![]));
}

#[test]
fn a_used_up_quota_is_no_room_and_a_locked_door_is_another_thing() {
    use super::home::Unwritable;
    use rustix::io::Errno;
    for (error, no_room) in [
        (Errno::NOSPC, true),
        (Errno::DQUOT, true),
        (Errno::ACCESS, false),
        (Errno::FBIG, false),
    ] {
        assert_eq!(
            Unwritable::by("write it", error).no_room,
            no_room,
            "{error}"
        );
    }
    // What waits for a locked door is dropped even where a full disk is waited for.
    let mut world = World::quiet();
    super::place::make_log_dir(&world);
    fs::create_dir(world.file()).unwrap();
    world.rules.when_full = WhenFull::Block;
    world.start();
    let mut a = world.spawn(0);
    for number in 0..LINES_A_CYCLE {
        a.say(numbered(number));
    }
    fs::remove_dir(world.file()).unwrap();
    world.end(a);
    assert!(world.kinds().contains(&Kind::Dropped));
}
