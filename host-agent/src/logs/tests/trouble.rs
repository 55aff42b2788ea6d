//! Logs that cannot be written: nothing that fits the FIFO is lost, the rest is counted, and no daemon stands still.

use std::process::Command as Program;

use super::desk::Desk;
use super::log::{Estate, Log};
use super::place::make_log_dir;
use super::registry::THREADS_MAX;
use super::*;

#[test]
fn a_log_whose_index_is_on_its_way_is_in_no_trouble() {
    let world = World::quiet();
    let flags = rustix::event::EventfdFlags::CLOEXEC;
    let rules = tokio::sync::watch::Sender::new(world.rules).subscribe();
    let mut desk = Desk::new(&rustix::event::eventfd(0, flags).unwrap(), rules).unwrap();
    let mut log = Log::new(world.daemon, world.owner.clone());
    assert_eq!((log.turn(&mut desk), log.due(desk.now)), (0, None));
    // This one will never come.
    log.inherit(Estate::default(), &mut desk);
    log.turn(&mut desk);
    assert!(log.due(desk.now).is_some(), "it tries again");
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
    // Said once, when it began.
    let [(daemon, why)] = world.gaps.as_slice() else {
        panic!("{:?}", world.gaps);
    };
    assert_eq!(*daemon, world.daemon);
    assert!(why.contains(".log"), "{why}");
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
fn a_full_disk_loses_nothing_that_fits_the_fifo() {
    let name = "logs::tests::trouble::a_full_disk_inside";
    if own_uid() != 0 {
        let _ = std::io::Write::write_all(&mut std::io::stdout(), b"\nSKIPPED a_full_disk_loses_nothing_that_fits_the_fifo: a small file system needs root\n");
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
        let _ = std::io::Write::write_all(
            &mut std::io::stdout(),
            b"\nSKIPPED a_full_disk_loses_nothing_that_fits_the_fifo: no mount namespace here\n",
        );
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

#[test]
fn users_beyond_the_bound_are_dropped_and_counted() {
    let mut world = World::quiet();
    let last = world.owner.clone();
    world.owner.uid = 100_000;
    world.start();
    for uid in 100_001..100_000 + THREADS_MAX as u32 {
        let owner = Owner {
            uid,
            ..last.clone()
        };
        let daemon = DaemonId::random().unwrap();
        world.logs().register(daemon, owner);
    }
    let alive = world.logs().room.threads_alive.load(Ordering::Relaxed);
    assert_eq!(alive, THREADS_MAX);
    // One thread without identity for all of those beyond, even if the home were theirs.
    world.daemon = DaemonId::random().unwrap();
    world.owner = last;
    world.logs().register(world.daemon, world.owner.clone());
    let mut a = world.spawn(0);
    for _ in 0..3000 {
        a.say("0123456789".repeat(100) + "\n");
    }
    let reader = world.reader();
    let run = a.run;
    drop(a);
    world.logs().ended(run);
    world.logs().forget(world.daemon);
    world.drained(run);
    let items = world.items(&reader, 0, 3000 * 1001);
    assert_eq!(shorts(&items), ["-3003000 Dropped"]);
    assert!(!world.file().exists());
}
