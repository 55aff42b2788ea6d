//! Rotation: files are put aside at line ends, readers go through all of them, and what is too old goes.

use std::os::unix::fs::{MetadataExt as _, symlink};

use super::place::settled;
use super::*;

impl World {
    /// A log that is rotated early.
    pub(super) fn rotating(bytes: u64, keep: usize) -> Self {
        let mut world = Self::quiet();
        world.rules.rotation = Rotation {
            bytes,
            keep,
            ..Rotation::default()
        };
        world.start();
        world
    }

    /// The rotated files, oldest first, by number.
    pub(super) fn rotated(&self) -> Vec<(u64, PathBuf)> {
        let name = zhylon_shared::name::log_file(&self.daemon);
        let dir = fs::read_dir(self.file().parent().unwrap()).unwrap();
        let mut found: Vec<(u64, PathBuf)> = dir
            .filter_map(|entry| {
                let path = entry.unwrap().path();
                let number = path.file_name()?.to_str()?.strip_prefix(&name)?;
                Some((number.strip_prefix('.')?.parse().ok()?, path.clone()))
            })
            .collect();
        found.sort();
        found
    }

    /// Says lines `from..to` of a hundred bytes each, and waits after each until it is in the file.
    pub(super) fn count(&self, instance: &mut Instance, reader: &LogReader, from: u64, to: u64) {
        for number in from..to {
            instance.say(line(number));
            eventually(|| match reader.end() {
                end if end == 100 * (number + 1) => Ok(()),
                end => Err(end.to_string()),
            });
        }
    }
}

pub(super) fn line(number: u64) -> String {
    format!("{number:099}\n")
}

/// Everything from `position` on: whole text, and the gaps as `(where, bytes, why)`.
pub(super) fn read_all(reader: &LogReader, position: u64) -> (String, Vec<(u64, u64, Reason)>) {
    let all = read_until(reader, position, u64::MAX);
    assert_eq!(reader.next(reader.end(), 1).unwrap(), None);
    all
}

/// What lies between two positions.
pub(super) fn read_until(
    reader: &LogReader,
    mut position: u64,
    end: u64,
) -> (String, Vec<(u64, u64, Reason)>) {
    let (mut text, mut gaps) = (String::new(), Vec::new());
    while position < end {
        let max = (end - position).min(1 << 20) as usize;
        let Some(item) = reader.next(position, max).unwrap() else {
            break;
        };
        match &item {
            LogItem::Data { data, .. } => text.push_str(std::str::from_utf8(data).unwrap()),
            // A gap is told of whole; only so much of it was asked for.
            LogItem::Missing { bytes, reason, .. } => {
                gaps.push((position, (*bytes).min(end - position), *reason));
            }
        }
        position = next_position(&item).min(end);
    }
    assert_eq!(position, end.min(reader.end()));
    (text, gaps)
}

pub(super) fn lines(from: u64, to: u64) -> String {
    (from..to).map(line).collect()
}

#[test]
fn readers_go_through_all_files_and_miss_only_what_is_too_old() {
    let mut world = World::rotating(1000, 3);
    let mut a = world.spawn(0);
    let slow = world.reader();
    // Ten lines fill a file; the eleventh begins the next.
    world.count(&mut a, &slow, 0, 35);
    let (text, gaps) = read_all(&slow, 0);
    assert_eq!((text, gaps), (lines(0, 35), vec![]));
    assert_eq!(world.text(), lines(30, 35));
    let rotated = world.rotated();
    assert_eq!(rotated.len(), 3);
    let first = fs::metadata(&rotated[0].1).unwrap();
    let now = fs::metadata(world.file()).unwrap();
    for file in [&first, &now] {
        assert_eq!((file.uid(), file.mode() & 0o7777), (world.owner.uid, 0o640));
    }
    assert_eq!(fs::read_to_string(&rotated[1].1).unwrap(), lines(10, 20));

    // Two more files: the two oldest go, and only who had not read them misses them.
    let begun = world.reader();
    let item = begun.next(0, 100).unwrap().unwrap();
    assert_eq!(next_position(&item), 100);
    world.count(&mut a, &slow, 35, 55);
    assert_eq!(world.rotated().len(), 3);
    let expected = (
        lines(20, 55),
        vec![(0, 1000, Reason::Rotated), (1000, 1000, Reason::Rotated)],
    );
    let newcomer = read_all(&world.reader(), 0);
    assert_eq!(newcomer, expected);
    let (text, gaps) = read_all(&begun, 100);
    assert_eq!(
        (text, gaps),
        (
            lines(1, 10) + &lines(20, 55),
            vec![(1000, 1000, Reason::Rotated)]
        )
    );

    // From the end backwards, across files.
    let reader = world.reader();
    assert_eq!(reader.tail_position(27, None).unwrap(), 2800);
    assert_eq!(reader.last_bytes(2700).unwrap(), lines(28, 55).as_bytes());

    // The next agent finds them, too, and goes on removing.
    world.start();
    assert_eq!(read_all(&world.reader(), 0), expected);
    let (reader, mut b) = (world.reader(), world.spawn_generation(0, 2));
    world.count(&mut b, &reader, 55, 65);
    assert_eq!(world.rotated().len(), 3);
    assert_eq!(read_all(&reader, 3000), (lines(30, 65), vec![]));
}

#[test]
fn an_agent_killed_between_the_rename_and_the_new_file_is_no_loss() {
    let mut world = World::rotating(1000, 3);
    let mut a = world.spawn(0);
    let reader = world.reader();
    world.count(&mut a, &reader, 0, 5);
    world.logs = None;
    settled(&world);
    let state = State::decode(&fs::read(world.index()).unwrap()[..STATE_LEN]).unwrap();
    let aside = format!("{}.{:06}", world.file().display(), state.segment);
    fs::rename(world.file(), &aside).unwrap();
    world.start();
    let reader = world.reader();
    assert_eq!(read_all(&reader, 0), (lines(0, 5), vec![]));
    let mut b = world.spawn_generation(0, 2);
    world.count(&mut b, &reader, 5, 7);
    assert_eq!(world.text(), lines(5, 7));
    assert_eq!(read_all(&world.reader(), 0), (lines(0, 7), vec![]));
    // A name like it that is not of our file is none: what it was renamed to is gone to us.
    fs::rename(world.file(), world.file().with_extension("mine")).unwrap();
    world.start();
    let (text, gaps) = read_all(&world.reader(), 0);
    assert_eq!((text, gaps), (lines(0, 5), vec![(500, 200, Reason::User)]));
}

#[test]
fn what_stands_where_a_rotated_file_should_is_left_alone_and_the_log_grows_on() {
    let world = World::rotating(1000, 3);
    let mut a = world.spawn(0);
    let reader = world.reader();
    world.count(&mut a, &reader, 0, 9);
    let secret = world.dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let state = State::decode(&fs::read(world.index()).unwrap()[..STATE_LEN]).unwrap();
    let aside = PathBuf::from(format!("{}.{:06}", world.file().display(), state.segment));
    symlink(&secret, &aside).unwrap();
    world.count(&mut a, &reader, 9, 25);
    assert_eq!(world.text(), lines(0, 25));
    assert_eq!(fs::read_link(&aside).unwrap(), secret);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(read_all(&world.reader(), 0), (lines(0, 25), vec![]));
}

#[test]
fn a_planted_file_in_place_of_a_rotated_one_is_not_read() {
    let world = World::rotating(1000, 3);
    let mut a = world.spawn(0);
    let reader = world.reader();
    world.count(&mut a, &reader, 0, 15);
    let (_, aside) = world.rotated().remove(0);
    fs::rename(&aside, aside.with_extension("mine")).unwrap();
    fs::write(&aside, "x".repeat(2000)).unwrap();
    let expected = (lines(10, 15), vec![(0, 1000, Reason::Rotated)]);
    assert_eq!(read_all(&world.reader(), 0), expected);
    fs::remove_file(&aside).unwrap();
    symlink(aside.with_extension("mine"), &aside).unwrap();
    assert_eq!(read_all(&world.reader(), 0), expected);
}

#[test]
fn a_clear_takes_rotated_files_along() {
    let mut world = World::rotating(1000, 3);
    let mut a = world.spawn(0);
    let reader = world.reader();
    world.count(&mut a, &reader, 0, 25);
    assert_eq!(world.rotated().len(), 2);
    world
        .runtime
        .block_on(world.logs().clear(world.daemon))
        .unwrap();
    assert_eq!((world.rotated(), world.text()), (vec![], String::new()));
    world.count(&mut a, &reader, 25, 27);
    let expected = (lines(25, 27), vec![(0, 2500, Reason::Cleared)]);
    assert_eq!(read_all(&reader, 0), expected);
    world.start();
    assert_eq!(read_all(&world.reader(), 0), expected);
}

#[test]
fn a_line_is_never_cut_by_a_rotation() {
    let world = World::rotating(1000, 3);
    let mut a = world.spawn(0);
    let reader = world.reader();
    for piece in 1..=20 {
        // Each is moved though its line has no end yet: it is old.
        a.say("x".repeat(99));
        eventually(|| match reader.end() {
            end if end == 99 * piece => Ok(()),
            end => Err(end.to_string()),
        });
    }
    assert_eq!(world.rotated(), []);
    a.say("\n");
    eventually(|| match reader.end() {
        1981 => Ok(()),
        end => Err(end.to_string()),
    });
    a.say("next\n");
    eventually(|| match world.text() == "next\n" {
        true => Ok(()),
        false => Err(world.text()),
    });
    let (_, aside) = world.rotated().remove(0);
    assert_eq!(fs::read_to_string(aside).unwrap(), "x".repeat(1980) + "\n");
}
