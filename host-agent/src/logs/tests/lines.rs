//! Whole lines, one instance at a time.

use super::*;

#[test]
fn lines_reach_file_and_reader() {
    let mut world = World::new();
    let (mut a, mut b) = (world.spawn(0), world.spawn(1));
    a.say("one\ntwo\n");
    world.wait_for("one\ntwo\n");
    b.say("three\n");
    world.wait_for("one\ntwo\nthree\n");
    let items = world.items(&world.reader(), 0, 14);
    assert_eq!(shorts(&items), ["0:one\ntwo\n", "1:three\n"]);
    let LogItem::Data { time, .. } = items[0] else {
        panic!()
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!((time - now.as_secs() as i64).abs() < 60);

    let meta = fs::metadata(world.file()).unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
    let dir = fs::metadata(world.file().parent().unwrap()).unwrap();
    assert_eq!(dir.permissions().mode() & 0o7777, 0o700);
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((meta.uid(), dir.uid()), (world.owner.uid, world.owner.uid));
    let index = fs::metadata(world.index()).unwrap();
    assert_eq!(index.permissions().mode() & 0o7777, 0o600);
    assert_eq!(index.uid(), own_uid());
    world.end(a);
    world.end(b);
}

#[test]
fn a_prompt_is_shown_and_keeps_the_files_end() {
    let world = World::new();
    let (mut a, mut b) = (world.spawn(0), world.spawn(1));
    let asked = Instant::now();
    a.say("name? ");
    world.wait_for("name? ");
    assert!(
        asked.elapsed() >= Duration::from_millis(200),
        "{:?}",
        asked.elapsed()
    );
    b.say("other\n");
    a.say("Ada\n");
    world.wait_for("name? Ada\nother\n");
    let items = world.items(&world.reader(), 0, 16);
    let said: String = items.iter().map(short).collect();
    assert!(
        said.starts_with("0~name? 0:Ada\n1:other\n") || said == "0:name? Ada\n1:other\n",
        "{said}"
    );
}

#[test]
fn a_begun_line_gets_an_end_when_others_waited_long_enough() {
    let world = World::new();
    let (mut a, mut b) = (world.spawn(0), world.spawn(1));
    a.say("begun");
    world.wait_for("begun");
    b.say("other\n");
    let waited = Instant::now();
    world.wait_for("begun\nother\n");
    assert!(
        waited.elapsed() >= Duration::from_millis(500),
        "{:?}",
        waited.elapsed()
    );
    assert_eq!(world.kinds(), [Kind::Data, Kind::Newline, Kind::Data]);
    let items = world.items(&world.reader(), 0, 12);
    assert_eq!(shorts(&items), ["0~begun", "0:\n", "1:other\n"]);
    // What follows of the line is a line of its own.
    a.say(" late\n");
    world.wait_for("begun\nother\n late\n");
}

#[test]
fn a_line_without_end_is_cut_at_a_mebibyte() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    let piece = vec![b'x'; 10_000];
    for _ in 0..500 {
        a.say(&piece);
    }
    a.say("\nshort\n");
    world.end(a);
    let text = world.text();
    let lengths: Vec<usize> = text.split_terminator('\n').map(str::len).collect();
    assert_eq!(lengths.iter().sum::<usize>(), 5_000_005);
    // But where its end is in sight it is left whole.
    let (last, cut) = lengths[..lengths.len() - 1].split_last().unwrap();
    assert!(cut.len() >= 3 && cut.iter().all(|length| *length == 1 << 20));
    assert!(*last < 2 << 20);
    let flagged = world.entries();
    let flagged = flagged.iter().filter(|entry| entry.kind == Kind::Newline);
    assert_eq!(flagged.count(), cut.len());
}

#[test]
fn long_lines_of_several_instances_do_not_mix() {
    let mut world = World::new();
    let mut instances: Vec<_> = (0..4).map(|index| world.spawn(index)).collect();
    std::thread::scope(|scope| {
        for (index, instance) in instances.iter_mut().enumerate() {
            scope.spawn(move || {
                let mut line = vec![b'a' + index as u8; 512 * 1024 - 1];
                line.push(b'\n');
                for _ in 0..6 {
                    // In pieces that fill the FIFO's pages badly.
                    line.chunks(2049).for_each(|piece| instance.say(piece));
                }
            });
        }
    });
    for instance in instances {
        world.end(instance);
    }
    let text = fs::read(world.file()).unwrap();
    let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 24);
    for line in lines {
        assert_eq!(line.len(), 512 * 1024);
        assert!(line[..line.len() - 1].iter().all(|byte| *byte == line[0]));
    }
}

#[test]
fn a_missing_last_line_end_is_added_and_flagged() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("whole\nlast words");
    world.end(a);
    assert_eq!(world.text(), "whole\nlast words\n");
    assert_eq!(world.kinds().last(), Some(&Kind::Newline));
    let mut b = world.spawn_generation(0, 2);
    b.say("again\n");
    world.end(b);
    assert_eq!(world.text(), "whole\nlast words\nagain\n");
}

#[test]
fn who_keeps_the_fifo_after_the_end_keeps_nobody_waiting() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("mine");
    world.wait_for("mine");
    world.logs().ended(a.run);
    world.drained(a.run);
    world.wait_for("mine\n");
    // Nobody reads this any more.
    a.say("not mine\n");
    let mut b = world.spawn_generation(0, 2);
    b.say("next\n");
    world.end(b);
    assert_eq!(world.text(), "mine\nnext\n");
}

#[test]
fn a_closed_stdout_costs_nothing_and_can_be_opened_again() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("before\n");
    world.wait_for("before\n");
    let run = a.run;
    drop(a);
    let woken = times_woken(&world);
    std::thread::sleep(Duration::from_millis(400));
    // To note that nothing is under way, perhaps. A busy loop wakes hundreds of times even with its rests.
    assert!(times_woken(&world) - woken <= 10);
    let (_, mut again) = world.fifo(run);
    again.write_all(b"after\n").unwrap();
    world.wait_for("before\nafter\n");
    drop(again);
    world.logs().ended(run);
    world.drained(run);
}

/// How often the world's file thread went to sleep so far.
fn times_woken(world: &World) -> u64 {
    let name = format!("Name:\tlog-{}\n", world.owner.name);
    let mut tasks = fs::read_dir("/proc/self/task").unwrap();
    let status = tasks.find_map(|task| {
        let status = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        status.starts_with(&name).then_some(status)
    });
    let status = status.expect("the thread");
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn the_next_generation_waits_for_the_one_before() {
    let mut world = World::new();
    let (old, new) = (world.run(0, 1), world.run(0, 2));
    let ((old_read, mut old_write), (new_read, mut new_write)) = (world.fifo(old), world.fifo(new));
    let last: String = (0..20_000).map(|n| format!("old {n}\n")).collect();
    old_write.write_all(last.as_bytes()).unwrap();
    new_write.write_all(b"new\n").unwrap();
    drop(old_write);
    world.logs().attach(old, old_read);
    world.logs().attach(new, new_read);
    world.logs().ended(old);
    world.drained(old);
    world.wait_for(&format!("{last}new\n"));
}

#[test]
fn the_next_generation_waits_no_longer_than_it_must() {
    let world = World::new();
    let _old = world.spawn_generation(0, 1);
    let mut new = world.spawn_generation(0, 2);
    let since = Instant::now();
    new.say("new\n");
    world.wait_for("new\n");
    assert!(
        since.elapsed() >= Duration::from_millis(150),
        "{:?}",
        since.elapsed()
    );
}

#[test]
fn an_end_without_a_beginning_is_drained_at_once() {
    let mut world = World::new();
    let run = world.run(3, 7);
    world.logs().ended(run);
    world.drained(run);
}

#[test]
fn what_a_hanging_thread_cannot_take_is_given_up_run_by_run() {
    let world = World::quiet();
    let (sender, mut events) = mpsc::channel(4);
    let inbox = Inbox::new(sender).unwrap();
    let living = world.run(0, 1);
    inbox.push(Command::Attach(living, world.fifo(living).0));
    for _ in 0..inbox::COMMANDS_MAX {
        inbox.push(Command::Forget(world.daemon));
    }
    let doomed = world.run(0, 2);
    let (read, mut write) = world.fifo(doomed);
    write.write_all(b"twelve bytes").unwrap();
    inbox.push(Command::Attach(doomed, read));
    inbox.push(Command::Ended(doomed));
    let told = events.try_recv().unwrap();
    assert!(matches!(told, LogEvent::Drained(run) if run == doomed));
    let letters = inbox.take();
    assert_eq!(letters.given_up[&world.daemon], 12);
    assert_eq!(letters.commands.len(), 1 + inbox::COMMANDS_MAX);
    assert!(matches!(letters.commands[0], Command::Attach(run, _) if run == living));
}

#[test]
fn a_begun_line_whose_run_is_gone_gets_an_end() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("begun");
    world.wait_for("begun");
    // The agent comes back; that run does not.
    drop(a);
    world.start();
    let mut b = world.spawn(1);
    b.say("other\n");
    world.wait_for("begun\nother\n");
    let items = world.items(&world.reader(), 0, 12);
    assert_eq!(shorts(&items), ["0~begun", "0:\n", "1:other\n"]);
}

#[test]
fn a_begun_line_goes_on_after_a_restart() {
    let mut world = World::new();
    let mut a = world.spawn(0);
    a.say("be");
    world.wait_for("be");
    world.start();
    let mut b = world.spawn(1);
    b.say("other\n");
    let (read, _) = world.fifo(a.run);
    world.logs().attach(a.run, read);
    a.say("gun\n");
    world.wait_for("begun\nother\n");
}
