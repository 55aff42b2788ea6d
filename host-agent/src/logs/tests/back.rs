//! Pages from the end backwards, and from a time on.

use std::os::unix::fs::FileExt as _;

use super::place::settled;
use super::rotation::{lines, read_all, read_until};
use super::*;

/// Everything before `position`, as [`read_all`] has it, read page by page backwards.
fn read_back(
    reader: &LogReader,
    mut position: u64,
    max_bytes: u64,
) -> (String, Vec<(u64, u64, Reason)>) {
    let (mut texts, mut gaps) = (Vec::new(), Vec::new());
    while position > 0 {
        let begin = reader.before(position, (max_bytes, 0), None).unwrap();
        let (text, missing) = read_until(reader, begin, position);
        assert!(begin < position);
        assert!(text.len() as u64 <= max_bytes);
        texts.push(text);
        gaps.extend(missing.into_iter().rev());
        position = begin;
    }
    texts.reverse();
    gaps.reverse();
    (texts.concat(), gaps)
}

/// Gaps that touch and have one reason, as one.
fn joined(gaps: &[(u64, u64, Reason)]) -> Vec<(u64, u64, Reason)> {
    let mut joined: Vec<(u64, u64, Reason)> = Vec::new();
    for &(from, bytes, reason) in gaps {
        match joined.last_mut() {
            Some(last) if last.0 + last.1 == from && last.2 == reason => last.1 += bytes,
            _ => joined.push((from, bytes, reason)),
        }
    }
    joined
}

#[test]
fn backwards_is_what_forwards_is() {
    let world = World::rotating(1000, 3);
    let mut a = world.spawn(0);
    let reader = world.reader();
    world.count(&mut a, &reader, 0, 55);
    // A cut, a prompt, and lines of others.
    fs::write(world.file(), lines(0, 2)).unwrap();
    let mut b = world.spawn(1);
    b.say("another\n");
    a.say("prompt");
    eventually(|| match reader.end() {
        5514 => Ok(()),
        end => Err(end.to_string()),
    });
    let reader = world.reader();
    let (text, gaps) = read_all(&reader, 0);
    assert!(gaps.len() > 1, "{gaps:?}");
    for max_bytes in [1, 7, 99, 100, 101, 333, 1 << 20] {
        let back = read_back(&reader, reader.end(), max_bytes);
        assert_eq!(
            (&back.0, joined(&back.1)),
            (&text, joined(&gaps)),
            "{max_bytes}"
        );
    }
    // In pages, lines stay whole where they fit.
    let begin = reader.before(5000, (250, 0), None).unwrap();
    assert_eq!(begin, 4800);
    assert_eq!(reader.before(0, (100, 0), None).unwrap(), 0);
}

#[test]
fn pages_backwards_stay_as_they_are_while_the_log_is_written() {
    let world = World::rotating(16 * 1024, 10_000);
    let mut a = world.spawn(0);
    let reader = world.reader();
    world.count(&mut a, &reader, 0, 1);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            for number in 1..20_000 {
                a.say(super::rotation::line(number));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            a
        })
    };
    for round in 1..=20 {
        eventually(|| match reader.end() >= round * 20_000 {
            true => Ok(()),
            false => Err(reader.end().to_string()),
        });
        let end = round * 200;
        let back = read_back(&reader, end * 100, 4096);
        assert_eq!(back.1, []);
        assert!(back.0 == lines(0, end), "round {round}");
    }
    stop.store(true, Ordering::Relaxed);
    drop(writer.join().unwrap());
}

#[test]
fn since_is_where_a_time_begins() {
    let mut world = World::new();
    for index in 0..6 {
        let mut a = world.spawn(index);
        a.say(format!("line {index}\n"));
        world.end(a);
    }
    world.logs = None;
    settled(&world);
    // Entry by entry; after 300 the clock was set back.
    let seconds = [100, 200, 300, 150, 160, 250];
    let index = File::options().write(true).open(world.index()).unwrap();
    for (number, (entry, second)) in world.entries().iter().zip(seconds).enumerate() {
        let entry = Entry { second, ..*entry };
        index
            .write_all_at(&entry.encode(), Entry::place(number as u64))
            .unwrap();
    }
    world.start();
    let reader = world.reader();
    for (second, position) in [
        (0, 0),
        (100, 0),
        (101, 7),
        (155, 28),
        (160, 28),
        (161, 35),
        (250, 35),
        (251, 42),
    ] {
        assert_eq!(reader.since(second).unwrap(), position, "{second}");
    }
    // What comes now is later than all of them.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let mut a = world.spawn_generation(0, 2);
    a.say("now\n");
    world.end(a);
    assert_eq!(reader.since(now.as_secs() as i64).unwrap(), 42);
}

#[test]
fn entries_of_files_that_are_gone_are_forgotten() {
    let mut world = World::rotating(1000, 2);
    let mut a = world.spawn(0);
    let reader = world.reader();
    world.count(&mut a, &reader, 0, 205);
    let bytes = fs::read(world.index()).unwrap();
    let at = FIRST_ENTRY as usize;
    assert_eq!(bytes[at..at + entry::ENTRY_LEN], [0; entry::ENTRY_LEN]);
    for round in 0..2 {
        let reader = world.reader();
        let (text, gaps) = read_all(&reader, 0);
        assert_eq!(text, lines(180, 205), "{round}");
        assert_eq!(joined(&gaps), [(0, 18_000, Reason::Rotated)]);
        let back = read_back(&reader, reader.end(), 777);
        assert_eq!((back.0, joined(&back.1)), (text, joined(&gaps)));
        assert_eq!(reader.tail_position(1000, None).unwrap(), 18_000);
        assert_eq!(
            reader.since(0).unwrap(),
            reader
                .next(0, 1)
                .unwrap()
                .map(|item| next_position(&item))
                .unwrap()
        );
        world.start();
    }
    // With the state torn it is salvaged from what is left, and the stream goes on.
    world.logs = None;
    settled(&world);
    let index = File::options().write(true).open(world.index()).unwrap();
    index.write_all_at(&[0xff; 8], 16).unwrap();
    world.start();
    let end = world.reader().end();
    assert!(end >= 18_000, "{end}");
    let mut a = world.spawn_generation(0, 2);
    a.say("on it goes\n");
    world.end(a);
    assert!(world.text().ends_with("on it goes\n"));
    world
        .runtime
        .block_on(world.logs().clear(world.daemon))
        .unwrap();
    let (text, gaps) = read_all(&world.reader(), 0);
    assert_eq!(
        (text.as_str(), joined(&gaps)),
        ("", vec![(0, end + 11, Reason::Cleared)])
    );
}

#[test]
fn an_index_of_short_lines_is_no_larger_than_its_rotations() {
    let mut world = World::quiet();
    world.rules.rotation.entries = 50;
    world.rules.rotation.keep = 2;
    world.start();
    let (mut a, mut b) = (world.spawn(0), world.spawn(1));
    let reader = world.reader();
    for number in 0..400 {
        match number % 2 {
            0 => a.say("\n"),
            _ => b.say("\n"),
        }
        eventually(|| match reader.end() == number + 1 {
            true => Ok(()),
            false => Err(number.to_string()),
        });
    }
    assert_eq!(world.rotated().len(), 2);
    let bytes = fs::read(world.index()).unwrap();
    let live = bytes[FIRST_ENTRY as usize..].chunks(entry::ENTRY_LEN);
    let live = live.filter(|entry| Entry::decode(entry).is_some()).count();
    assert!((100..=400).contains(&live), "{live} of more than 400");
    assert!(world.reader().next(0, 1).unwrap().is_some());
}
