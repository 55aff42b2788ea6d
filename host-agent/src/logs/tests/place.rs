//! What users do to their log files, by accident and on purpose.

use std::os::unix::fs::symlink;
use std::process::Command as Program;

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
        // A renamed file is noticed within a second.
        eventually(|| {
            a.say("more\n");
            if world.text().is_empty() {
                Err("nothing at the path".to_owned())
            } else {
                Ok(())
            }
        });
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
    for planted in [
        "symlink",
        "hard link",
        "fifo",
        "directory",
        "dir symlink",
        "foreign dir",
    ] {
        if own_uid() != 0 && planted == "foreign dir" {
            eprintln!("skipped: {planted} needs root");
            continue;
        }
        let mut world = World::quiet();
        let victim = world.dir.path().join("victim");
        fs::write(&victim, "precious\n").unwrap();
        chown(&victim, Some(world.owner.uid), None).unwrap();
        let elsewhere = world.dir.path().join("elsewhere");
        let dir = world.file().parent().unwrap().to_owned();
        if planted != "dir symlink" {
            make_log_dir(&world);
        }
        match planted {
            "symlink" => symlink(&victim, world.file()).unwrap(),
            "hard link" => fs::hard_link(&victim, world.file()).unwrap(),
            "fifo" => mknodat(CWD, world.file(), FileType::Fifo, Mode::RWXU, 0).unwrap(),
            "directory" => fs::create_dir(world.file()).unwrap(),
            "dir symlink" => {
                owner_of(&elsewhere);
                symlink(&elsewhere, &dir).unwrap();
            }
            _ => chown(&dir, Some(0), Some(0)).unwrap(),
        }
        if planted == "fifo" || planted == "directory" {
            chown(world.file(), Some(world.owner.uid), None).unwrap();
        }
        world.start();
        let mut a = world.spawn(0);
        a.say("secret\n");
        // Two attempts, so that the one after the first is seen to be refused as well.
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(
            fs::read_to_string(&victim).unwrap(),
            "precious\n",
            "{planted}"
        );
        assert!(!elsewhere.exists() || fs::read_dir(&elsewhere).unwrap().next().is_none());
        assert_eq!(world.reader().end(), 0, "{planted}");
        // Once it is gone the log is written, and nothing was lost.
        match planted {
            "directory" => fs::remove_dir(world.file()).unwrap(),
            "dir symlink" => fs::remove_file(&dir).unwrap(),
            "foreign dir" => fs::remove_dir(&dir).unwrap(),
            _ => fs::remove_file(world.file()).unwrap(),
        }
        world.end(a);
        assert_eq!(world.text(), "secret\n", "{planted}");
    }
}

#[test]
fn a_foreign_home_is_not_written() {
    let mut world = World::quiet();
    world.owner.uid += 1;
    if own_uid() != 0 {
        eprintln!("skipped: needs root");
        return;
    }
    world.start();
    let mut a = world.spawn(0);
    a.say("secret\n");
    std::thread::sleep(Duration::from_millis(300));
    assert!(fs::read_dir(&world.owner.home).unwrap().next().is_none());
}

#[test]
fn output_for_a_locked_door_is_dropped_and_counted() {
    let mut world = World::quiet();
    make_log_dir(&world);
    fs::create_dir(world.file()).unwrap();
    world.start();
    let mut a = world.spawn(0);
    // Far more than a FIFO holds, in writes that fill its pages badly: the daemon must not stand still.
    let line = format!("{}\n", "x".repeat(2050));
    for _ in 0..3000 {
        a.say(&line);
    }
    let reader = world.reader();
    fs::remove_dir(world.file()).unwrap();
    a.say("open again\n");
    world.end(a);
    let said = 3000 * line.len() as u64 + 11;
    let items = world.items(&reader, 0, said);
    assert_eq!(reader.end(), said);
    let LogItem::Missing {
        bytes,
        reason: Reason::Dropped,
        ..
    } = items[0]
    else {
        panic!("{}", short(&items[0]))
    };
    assert_eq!(bytes % line.len() as u64, 0);
    assert_eq!(world.text().len() as u64, said - bytes);
    assert!(world.text().ends_with("open again\n"));
}

#[test]
fn a_crash_loop_before_a_locked_door_holds_few_fifos() {
    let mut world = World::quiet();
    make_log_dir(&world);
    fs::create_dir(world.file()).unwrap();
    world.start();
    for generation in 1..=80 {
        let mut a = world.spawn_generation(0, generation);
        a.say("crash\n");
        world.logs().ended(a.run);
    }
    // The oldest are let go.
    for generation in 1..=16 {
        world.drained(world.run(0, generation));
    }
    fs::remove_dir(world.file()).unwrap();
    for generation in 17..=80 {
        world.drained(world.run(0, generation));
    }
    let items = world.items(&world.reader(), 0, 80 * 6);
    let missing: u64 = items
        .iter()
        .map(|item| match item {
            LogItem::Missing { bytes, .. } => *bytes,
            LogItem::Data { .. } => 0,
        })
        .sum();
    assert_eq!(missing, 16 * 6);
    assert_eq!(world.text(), "crash\n".repeat(64));
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

#[test]
fn a_full_disk_loses_nothing_that_fits_the_fifo() {
    let name = "logs::tests::place::a_full_disk_inside";
    if own_uid() != 0 {
        eprintln!("skipped: a small file system needs root");
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let mut inside = Program::new("unshare");
    inside
        .arg("--mount")
        .arg(exe)
        .args([name, "--exact", "--nocapture"]);
    let output = inside.env("ZHYLON_TEST_FULL_DISK", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if String::from_utf8_lossy(&output.stderr).contains("unshare failed") {
        eprintln!("skipped: no mount namespace here");
        return;
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{output:?}"
    );
}

/// Runs in a mount namespace of its own, started by the test above.
#[test]
fn a_full_disk_inside() {
    if std::env::var_os("ZHYLON_TEST_FULL_DISK").is_none() {
        return;
    }
    let mut world = World::quiet();
    let home = world.owner.home.clone();
    let mount = Program::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "none"])
        .arg(&home)
        .status();
    assert!(mount.unwrap().success());
    world.owner = owner_of(&home);
    world.start();
    let mut a = world.spawn(0);
    let mut said = Vec::new();
    for n in 0..10_000 {
        let line = format!("line {n:05} {}\n", "x".repeat(n % 97));
        said.extend_from_slice(line.as_bytes());
        a.say(&line);
        if said.len() > 600 * 1024 {
            break;
        }
    }
    let mut b = world.spawn(1);
    b.say("other\n");
    let size = || fs::metadata(world.file()).map_or(0, |meta| meta.len());
    eventually(|| {
        if size() >= 200 * 1024 {
            Ok(())
        } else {
            Err(size().to_string())
        }
    });
    let resized = Program::new("mount")
        .args(["-o", "remount,size=4m"])
        .arg(&home)
        .status();
    assert!(resized.unwrap().success());
    world.end(a);
    world.end(b);
    let text = fs::read(world.file()).unwrap();
    let other = text
        .windows(6)
        .position(|window| window == b"other\n")
        .unwrap();
    assert!(other == 0 || text[other - 1] == b'\n');
    let without: Vec<u8> = [&text[..other], &text[other + 6..]].concat();
    assert!(without == said, "{} of {}", without.len(), said.len());
    assert!(!world.kinds().contains(&Kind::Dropped));
    // Full, and nobody makes room: the daemon runs on, what is lost is counted.
    let mut c = world.spawn_generation(2, 1);
    let line = format!("{}\n", "y".repeat(999));
    let before = world.reader().end();
    for _ in 0..8000 {
        c.say(&line);
    }
    File::create(world.file()).unwrap();
    world.end(c);
    world.items(&world.reader(), before, before + 8_000_000);
    assert_eq!(world.reader().end(), before + 8_000_000);
    assert!(world.kinds().contains(&Kind::Dropped));
    assert!(fs::read(world.file()).unwrap().ends_with(line.as_bytes()));
}

fn make_log_dir(world: &World) {
    let dir = world.file().parent().unwrap().to_owned();
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(world.owner.uid), None).unwrap();
}

/// Waits until the index says that nothing is under way, and its writer is gone.
fn settled(world: &World) {
    eventually(|| {
        let file = File::open(world.index()).unwrap();
        let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&file, lock).map_err(|error| error.to_string())
    });
}
