//! Readers: by position, from the end, live; and what a damaged index leaves them.

use std::os::unix::fs::FileExt as _;

use super::*;

fn said(world: &World, reader: &LogReader, from: u64) -> String {
    let items = world.items(reader, from, 0);
    items.iter().map(short).collect()
}

#[test]
fn tails_are_whole_lines() {
    let mut world = World::new();
    let (mut a, mut b) = (world.spawn(0), world.spawn(1));
    let reader = world.reader();
    assert_eq!(reader.tail_position(10, None).unwrap(), 0);
    let mut expected = String::new();
    for n in 0..5 {
        a.say(format!("a{n}\n"));
        expected += &format!("a{n}\n");
        world.wait_for(&expected);
        b.say(format!("b{n}\n"));
        expected += &format!("b{n}\n");
        world.wait_for(&expected);
    }
    let at = |lines, instance| reader.tail_position(lines, instance).unwrap();
    eventually(|| {
        if reader.end() == 30 {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    assert_eq!(at(0, None), 30);
    assert_eq!(at(1, None), 27);
    assert_eq!(at(4, None), 18);
    assert_eq!(at(10, None), 0);
    assert_eq!(at(100, None), 0);
    assert_eq!(at(1, Some(0)), 24);
    assert_eq!(at(2, Some(1)), 21);
    assert_eq!(at(1, Some(7)), 30);
    assert_eq!(said(&world, &reader, at(2, None)), "0:a4\n1:b4\n");
    // A begun line comes on top.
    a.say("prompt");
    world.wait_for(&(expected + "prompt"));
    eventually(|| {
        if reader.end() == 36 {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    assert_eq!(at(1, None), 27);
    assert_eq!(reader.last_bytes(9).unwrap(), b"b4\nprompt");
    assert_eq!(reader.last_bytes(1000).unwrap().len(), 36);
    assert_eq!(reader.last_bytes(0).unwrap(), b"");
    world.end(a);
    world.end(b);
}

#[test]
fn tails_find_lines_longer_than_a_block() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    for (length, fill) in [(10, "p"), (200_000, "q"), (65_535, "r"), (131_071, "s")] {
        a.say(format!("{}\n", fill.repeat(length)));
    }
    world.end(a);
    let reader = world.reader();
    let from_end = |lines| reader.end() - reader.tail_position(lines, None).unwrap();
    assert_eq!(from_end(1), 131_072);
    assert_eq!(from_end(2), 131_072 + 65_536);
    assert_eq!(from_end(3), 131_072 + 65_536 + 200_001);
    assert_eq!(from_end(4), reader.end());
}

#[test]
fn items_are_as_small_as_asked_for() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("one\ntwo\nthree\n");
    world.end(a);
    let reader = world.reader();
    let next = |position, max| short(&reader.next(position, max).unwrap().unwrap());
    assert_eq!(next(0, 1000), "0:one\ntwo\nthree\n");
    assert_eq!(next(0, 9), "0:one\ntwo\n");
    assert_eq!(next(4, 4), "0:two\n");
    assert_eq!(next(4, 3), "0~two");
    assert_eq!(next(7, 3), "0:\n");
    assert_eq!(next(0, 0), "0~o");
    assert_eq!(reader.next(14, 100).unwrap(), None);
    assert_eq!(reader.next(u64::MAX, 100).unwrap(), None);
}

#[test]
fn followers_get_every_line_and_a_slow_one_slows_nobody() {
    let mut world = World::new();
    let mut reader = world.reader();
    let slow = world.reader();
    let mut a = world.spawn(0);
    let run = a.run;
    let lines = 20_000;
    let writer = std::thread::spawn(move || {
        for n in 0..lines {
            a.say(format!("{n}\n"));
        }
        a
    });
    let mut text = String::new();
    let mut position = 0;
    world.runtime.block_on(async {
        while text.lines().count() < lines {
            let there = timeout(PATIENCE, reader.wait_after(position)).await;
            assert!(there.expect("in time"));
            while let Some(item) = reader.next(position, 4096).unwrap() {
                position = next_position(&item);
                let LogItem::Data { data, .. } = item else {
                    panic!()
                };
                text += std::str::from_utf8(&data).unwrap();
            }
        }
    });
    let expected: String = (0..lines).map(|n| format!("{n}\n")).collect();
    assert!(text == expected);
    drop(writer.join().unwrap());
    world.logs().ended(run);
    world.drained(run);
    assert_eq!(said(&world, &slow, 0).replace("0:", ""), expected);
    // Forgotten: followers are told.
    world.logs().forget(world.daemon);
    let more = world
        .runtime
        .block_on(async { timeout(PATIENCE, reader.wait_after(position)).await });
    assert!(!more.expect("in time"));
    assert!(world.try_reader().unwrap().is_none());
    assert!(world.file().exists());
}

#[test]
fn forgetting_drains_what_is_left() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("last words");
    let run = a.run;
    world.logs().forget(world.daemon);
    world.drained(run);
    assert_eq!(world.text(), "last words\n");
}

#[test]
fn the_threads_end_with_their_users() {
    let mut world = World::new();
    let alive = Arc::clone(&world.logs().room.threads_alive);
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    world.logs().forget(world.daemon);
    eventually(|| {
        if alive.load(Ordering::Relaxed) == 0 {
            Ok(())
        } else {
            Err("alive".to_owned())
        }
    });
    world.start();
    let alive = Arc::clone(&world.logs().room.threads_alive);
    world.logs = None;
    eventually(|| {
        if alive.load(Ordering::Relaxed) == 0 {
            Ok(())
        } else {
            Err("alive".to_owned())
        }
    });
}

#[test]
fn a_torn_index_is_read_as_far_as_it_is_whole() {
    let mut world = World::new();
    for (index, text) in ["one\n", "two\n", "three\n"].into_iter().enumerate() {
        let mut instance = world.spawn(index as u32);
        instance.say(text);
        world.end(instance);
    }
    let entries = world.entries();
    assert_eq!(entries.len(), 3);
    let last = Entry::place(2);

    // Garbage behind the end is no entry.
    world.logs = None;
    writer(&world)
        .write_all_at(&[0xff; 100], Entry::place(3))
        .unwrap();
    world.start();
    assert_eq!(said(&world, &world.reader(), 0), "0:one\n1:two\n2:three\n");

    // A torn last entry: nothing from the last whole one on can be vouched for.
    world.logs = None;
    writer(&world).write_all_at(&[0xff; 20], last + 7).unwrap();
    world.start();
    let mut a = world.spawn_generation(0, 2);
    a.say("four\n");
    world.end(a);
    assert_eq!(
        said(&world, &world.reader(), 0),
        "0:one\n-10 PowerLoss0:four\n"
    );

    // A torn state: the stream goes on from the last entry, in a new segment.
    world.logs = None;
    writer(&world).write_all_at(&[0xff; 8], 16).unwrap();
    world.start();
    let mut a = world.spawn_generation(0, 3);
    a.say("five\n");
    world.end(a);
    assert!(said(&world, &world.reader(), 0).ends_with("0:five\n"));
    assert!(world.text().ends_with("four\nfive\n"));
}

#[test]
fn after_a_power_cut_what_the_file_lost_is_a_gap() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("kept\nlost\n");
    world.end(a);
    world.logs = None;
    let file = writer(&world);
    let mut bytes = [0; STATE_LEN];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let state = State::decode(&bytes).unwrap();
    let earlier = State {
        boot: state.boot ^ 1,
        ..state
    };
    file.write_all_at(&earlier.encode(), 0).unwrap();
    drop(file);
    File::options()
        .write(true)
        .open(world.file())
        .unwrap()
        .set_len(5)
        .unwrap();
    world.start();
    let mut a = world.spawn_generation(0, 2);
    a.say("next\n");
    world.end(a);
    assert_eq!(
        said(&world, &world.reader(), 0),
        "0:kept\n-5 PowerLoss0:next\n"
    );
}

/// The index file, once its writer is gone.
fn writer(world: &World) -> File {
    let file = File::options()
        .read(true)
        .write(true)
        .open(world.index())
        .unwrap();
    eventually(|| {
        let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, lock).map_err(|error| error.to_string())
    });
    file
}
