//! What users do to their log files, by accident and on purpose.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_truncated_log_goes_on_without_a_hole() {
    let world = World::new();
    let mut a = world.spawn(0);
    a.say("first\nsecond\n");
    world.wait_for("first\nsecond\n");
    let reader = world.reader();
    File::create(world.file()).unwrap();
    a.say("third\n");
    world.wait_for("third\n");
    assert_eq!(
        shorts(&world.items(&reader, 0, 19)),
        ["-13 User", "0:third\n"]
    );
    assert!(world.kinds().contains(&Kind::CutByUser));
    // In part.
    File::options()
        .write(true)
        .open(world.file())
        .unwrap()
        .set_len(2)
        .unwrap();
    a.say("fourth\n");
    // Its own line: what is left of the cut one is ended.
    world.wait_for("th\nfourth\n");
    let expected = ["-13 User", "0~th", "-4 User", "0:fourth\n"];
    assert_eq!(shorts(&world.items(&reader, 0, 26)), expected);
}

#[test]
fn a_cut_is_remembered_over_a_restart() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("one\ntwo\n");
    world.wait_for("one\ntwo\n");
    File::options()
        .write(true)
        .open(world.file())
        .unwrap()
        .set_len(4)
        .unwrap();
    a.say("three\n");
    world.wait_for("one\nthree\n");
    world.start();
    let items = world.items(&world.reader(), 0, 14);
    assert_eq!(shorts(&items), ["0:one\n", "-4 User", "0:three\n"]);
}

#[test]
fn a_log_cut_while_no_agent_ran_is_a_gap() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("one\ntwo\n");
    world.end(a);
    world.logs = None;
    settled(&world);
    File::options()
        .write(true)
        .open(world.file())
        .unwrap()
        .set_len(0)
        .unwrap();
    world.start();
    let mut a = world.spawn_generation(0, 2);
    a.say("three\n");
    world.end(a);
    assert_eq!(world.text(), "three\n");
    let items = world.items(&world.reader(), 0, 14);
    assert_eq!(shorts(&items), ["-8 User", "0:three\n"]);
}

#[test]
fn a_removed_log_begins_anew_and_its_readers_keep_it() {
    for away in ["removed", "renamed"] {
        let mut world = World::new();
        let mut a = world.spawn(0);
        a.say("first\n");
        world.wait_for("first\n");
        let reader = world.reader();
        if away == "removed" {
            fs::remove_file(world.file()).unwrap();
        } else {
            fs::rename(world.file(), world.file().with_extension("old")).unwrap();
        }
        if away == "removed" {
            a.say("more\n");
            world.wait_for("more\n");
        } else {
            // Noticed within a second.
            eventually(|| {
                a.say("more\n");
                if world.text().is_empty() {
                    Err("nothing at the path".to_owned())
                } else {
                    Ok(())
                }
            });
        }
        world.end(a);
        let items = world.items(&reader, 0, 0);
        assert_eq!(short(&items[0])[..8], *"0:first\n", "{away}");
        assert!(
            items
                .iter()
                .all(|item| matches!(item, LogItem::Data { .. })),
            "{away}"
        );
        let late = world.items(&world.reader(), 0, 0);
        assert!(
            matches!(
                late[0],
                LogItem::Missing {
                    reason: Reason::User,
                    ..
                }
            ),
            "{away}"
        );
        world.start();
        assert_eq!(world.items(&world.reader(), 0, 0), late, "{away}");
    }
}

#[test]
fn what_others_append_is_neither_streamed_nor_written_over() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("ours\n");
    world.wait_for("ours\n");
    open_plain(&world.file()).write_all(b"theirs\n").unwrap();
    a.say("ours again\n");
    world.wait_for("ours\ntheirs\nours again\n");
    open_plain(&world.file()).write_all(b"theirs").unwrap();
    a.say("ours at last\n");
    world.wait_for("ours\ntheirs\nours again\ntheirs\nours at last\n");
    world.end(a);
    // While no agent runs, too.
    world.logs = None;
    settled(&world);
    open_plain(&world.file()).write_all(b"theirs\n").unwrap();
    world.start();
    let mut a = world.spawn_generation(0, 2);
    a.say("ours anew\n");
    world.end(a);
    let said: String = world
        .items(&world.reader(), 0, 0)
        .iter()
        .map(short)
        .collect();
    assert_eq!(
        said.replace("0:", ""),
        "ours\nours again\nours at last\nours anew\n"
    );
}

#[test]
fn a_file_that_was_there_before_us_is_left_as_it_is() {
    let mut world = World::quiet();
    make_log_dir(&world);
    fs::write(world.file(), "old, and without an end").unwrap();
    chown(world.file(), Some(world.owner.uid), None).unwrap();
    world.start();
    let mut a = world.spawn(0);
    a.say("new\n");
    world.end(a);
    assert_eq!(world.text(), "old, and without an end\nnew\n");
    assert_eq!(shorts(&world.items(&world.reader(), 0, 4)), ["0:new\n"]);
}

#[test]
fn planted_things_lead_nowhere() {
    let all = [
        "symlink",
        "hard link",
        "fifo",
        "directory",
        "dir symlink",
        "foreign dir",
    ];
    std::thread::scope(|scope| {
        for planted in all {
            if own_uid() != 0 && planted == "foreign dir" {
                let _ = std::io::Write::write_all(
                    &mut std::io::stdout(),
                    format!("\nSKIPPED planted_things_lead_nowhere ({planted}): needs root\n")
                        .as_bytes(),
                );
            } else {
                scope.spawn(move || leads_nowhere(planted));
            }
        }
    });
}

fn leads_nowhere(planted: &str) {
    let mut world = World::quiet();
    let victim = world.dir.path().join("victim");
    fs::write(&victim, "precious\n").unwrap();
    chown(&victim, Some(world.owner.uid), None).unwrap();
    let elsewhere = world.dir.path().join("elsewhere");
    owner_of(&elsewhere);
    let dir = world.file().parent().unwrap().to_owned();
    if planted == "dir symlink" {
        symlink(&elsewhere, &dir).unwrap();
    } else {
        make_log_dir(&world);
    }
    match planted {
        "symlink" => symlink(&victim, world.file()).unwrap(),
        "hard link" => fs::hard_link(&victim, world.file()).unwrap(),
        "fifo" => mknodat(CWD, world.file(), FileType::Fifo, Mode::RWXU, 0).unwrap(),
        "directory" => fs::create_dir(world.file()).unwrap(),
        "dir symlink" => {}
        _ => chown(&dir, Some(0), Some(0)).unwrap(),
    }
    if planted == "fifo" || planted == "directory" {
        chown(world.file(), Some(world.owner.uid), None).unwrap();
    }
    world.start();
    let mut a = world.spawn(0);
    a.say("secret\n");
    // A reader comes after the first attempt; the next one is a second later.
    assert_eq!(world.reader().end(), 0, "{planted}");
    let harmless = || {
        assert_eq!(
            fs::read_to_string(&victim).unwrap(),
            "precious\n",
            "{planted}"
        );
        assert!(
            fs::read_dir(&elsewhere).unwrap().next().is_none(),
            "{planted}"
        );
    };
    harmless();
    // Once it is gone the log is written, and nothing was lost.
    match planted {
        "directory" => fs::remove_dir(world.file()).unwrap(),
        "dir symlink" => fs::remove_file(&dir).unwrap(),
        "foreign dir" => fs::remove_dir(&dir).unwrap(),
        _ => fs::remove_file(world.file()).unwrap(),
    }
    world.end(a);
    assert_eq!(world.text(), "secret\n", "{planted}");
    harmless();
}

#[test]
fn a_foreign_home_is_not_written() {
    let mut world = World::quiet();
    world.owner.uid += 1;
    if own_uid() != 0 {
        let _ = std::io::Write::write_all(
            &mut std::io::stdout(),
            b"\nSKIPPED a_foreign_home_is_not_written: needs root\n",
        );
        return;
    }
    world.start();
    let mut a = world.spawn(0);
    a.say("secret\n");
    assert_eq!(world.reader().end(), 0);
    assert!(fs::read_dir(&world.owner.home).unwrap().next().is_none());
}

#[test]
fn another_owner_gets_a_file_of_its_own() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("old\nbeg");
    world.wait_for("old\nbeg");
    let before = world.file();
    world.owner = owner_of(&world.dir.path().join("home2"));
    if own_uid() == 0 {
        world.owner.uid -= 1;
        chown(&world.owner.home, Some(world.owner.uid), None).unwrap();
    }
    let reader = world.reader();
    world.logs().register(world.daemon, world.owner.clone());
    a.say("un\n");
    let mut b = world.spawn(1);
    b.say("new\n");
    eventually(|| {
        if reader.end() >= 15 {
            Ok(())
        } else {
            Err(reader.end().to_string())
        }
    });
    world.end(a);
    world.end(b);
    assert_eq!(fs::read_to_string(before).unwrap(), "old\nbeg\n");
    let mut lines: Vec<String> = world.text().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["new", "un"]);
    // One stream.
    let said: String = world.items(&reader, 0, 15).iter().map(short).collect();
    assert!(said.starts_with("0:old\n0~beg0:\n"), "{said}");
}

pub(super) fn make_log_dir(world: &World) {
    let dir = world.file().parent().unwrap().to_owned();
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(world.owner.uid), None).unwrap();
}

/// Waits until the index says that nothing is under way, and its writer is gone.
pub(super) fn settled(world: &World) {
    eventually(|| {
        let file = File::open(world.index()).unwrap();
        let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, lock).map_err(|error| error.to_string())
    });
}
