//! What a killed worker leaves, and what the next one makes of it.

use super::super::file::{EventsFile, News, load};
use super::*;

const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the file says so.
fn until(path: &Path, what: &str, mut wanted: impl FnMut(&str) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !std::fs::read_to_string(path).is_ok_and(|text| wanted(&text)) {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn all(events: &Events) -> Vec<HostEvent> {
    events.after(0, usize::MAX)
}

#[test]
fn the_next_worker_tells_what_this_one_could_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    let first = Events::open(&path, "boot", 1).unwrap();
    let run = Run {
        slot: Slot {
            daemon: id(1),
            index: 2,
        },
        generation: 1,
    };
    let target = [CommandTarget::Daemon(id(1))];
    first.asked(&Action::Stop, &target, "anna (uid 1001)");
    first.killed(run, Some(&view(vec![instance(2, InstanceState::Stopping)])));
    first.asked(
        &Action::Signal(10),
        &[CommandTarget::Instance(run.slot)],
        "root (uid 0)",
    );
    let before = all(&first);
    assert_eq!(before.len(), 3);
    assert_eq!(before[0].by, "anna (uid 1001)");
    assert_eq!(before[1].instance, Some(2));
    assert_eq!(before[2].message, "signal 10");
    until(&path, "three events", |text| {
        text.matches("sequence").count() == 3
    });
    first.acknowledged(before[0].sequence);
    until(&path, "an acknowledgement", |text| {
        text.contains("acknowledged")
    });

    let second = Events::open(&path, "boot", 2).unwrap();
    assert_eq!(all(&second), before[1..]);
    assert_eq!(*second.newest().borrow(), 2_000_000_000);
    second.asked(&Action::Start, &target, "anna (uid 1001)");
    let newest = all(&second).pop().unwrap().sequence;
    assert_eq!(newest, 2_000_000_001);
    until(&path, "its own", |text| text.contains("2000000001"));

    // A line that was cut off, as by a kill: what stands before it is believed.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 9]).unwrap();
    let third = Events::open(&path, "boot", 3).unwrap();
    assert_eq!(all(&third), before[1..]);
    until(&path, "the file without the cut line", |text| {
        !text.contains("2000000001")
    });
    third.asked(&Action::Start, &target, "anna (uid 1001)");
    until(&path, "a whole line", |text| {
        text.contains("3000000001") & text.ends_with('\n')
    });
    assert_eq!(all(&Events::open(&path, "boot", 4).unwrap()), all(&third));

    // Another boot counts anew.
    assert_eq!(all(&Events::open(&path, "another", 5).unwrap()), []);
}

#[test]
fn what_is_no_file_of_ours_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    for text in [
        "",
        "\n",
        "\0\0\0",
        "{\"boot\":7}\n",
        "{\"event\":{}}\n",
        "not ours\n",
    ] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(
            all(&Events::open(&path, "boot", 1).unwrap()),
            [],
            "{text:?}"
        );
    }
}

/// Cut off anywhere, or with any byte another one: what is believed is a beginning of what was written, or stands after
/// nothing that is not understood.
#[test]
fn a_torn_file_gives_a_beginning_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    let events = Events::new(1);
    let mut file = EventsFile::new(&path, "boot");
    for n in 1..=3 {
        events.asked(&Action::Stop, &[CommandTarget::Daemon(id(n))], "anna");
    }
    file.write(&events.shared, &News::default());
    let whole = std::fs::read(&path).unwrap();
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let mut ring = Ring::new(0);
        load(&path, "boot", &mut ring);
        ring.after(0, usize::MAX)
    };
    assert_eq!(read(&whole), all(&events));
    for at in 0..whole.len() {
        let beginning = read(&whole[..at]);
        assert_eq!(beginning, all(&events)[..beginning.len()], "cut at {at}");
        let mut altered = whole.clone();
        altered[at] ^= 0x11;
        assert!(read(&altered).len() <= 3, "altered at {at}");
    }
}

/// The file does not grow with the time that passes: what is acknowledged leaves it.
#[test]
fn the_file_is_written_anew_when_most_of_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    let events = Events::open(&path, "boot", 1).unwrap();
    let target = [CommandTarget::Daemon(id(1))];
    let mut longest = 0;
    for _ in 0..5000 {
        events.asked(&Action::Stop, &target, "anna (uid 1001)");
        let newest = *events.newest().borrow();
        events.acknowledged(newest);
        until(&path, "this one", |text| {
            longest = longest.max(text.lines().count());
            text.contains(&format!("\"acknowledged\":{newest}")) || text.lines().count() == 1
        });
    }
    assert!((500..1100).contains(&longest), "{longest}");
}

/// An event may be acknowledged before it is written: then there is nothing to write of it, and no reason to look again.
#[test]
fn what_was_acknowledged_before_it_was_written_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let events = Events::new(1);
    let mut file = EventsFile::new(&dir.path().join("events"), "boot");
    file.write(&events.shared, &News::default());
    events.asked(&Action::Stop, &[CommandTarget::Daemon(id(1))], "anna");
    let newest = *events.newest().borrow();
    events.acknowledged(newest);
    let news = file.news(&events.shared);
    assert_eq!(news.events, []);
    file.write(&events.shared, &news);
    assert!(file.is_current(&events.shared.lock()));
}

/// A place that can not be written costs the events' survival, and neither the worker nor the processor: it is tried
/// again when something happens.
#[test]
fn without_a_place_events_are_kept_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    let events = Events::new(1);
    let target = [CommandTarget::Daemon(id(1))];
    events.asked(&Action::Stop, &target, "anna");
    let mut file = EventsFile::new(&place.join("events"), "boot");
    file.write(&events.shared, &News::default());
    assert!(file.is_current(&events.shared.lock()));
    assert_eq!(all(&events).len(), 1);
    std::fs::create_dir(&place).unwrap();
    events.asked(&Action::Start, &target, "anna");
    assert!(!file.is_current(&events.shared.lock()));
    file.write(&events.shared, &News::default());
    assert!(file.is_current(&events.shared.lock()));
    let next = Events::open(&place.join("events"), "boot", 2).unwrap();
    assert_eq!(all(&next), all(&events));
}

/// A worker that was killed between telling an end and cleaning up after it: the next one finds the same end again.
#[test]
fn an_end_that_was_told_is_not_told_by_the_next_worker() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    let run = |generation| Run {
        slot: Slot {
            daemon: id(1),
            index: 0,
        },
        generation,
    };
    let of = |generation, mut instance: InstanceView| {
        instance.generation = generation;
        view(vec![instance])
    };
    let running = |generation| of(generation, instance(0, InstanceState::Running));
    let crash = || ended_at(5, Some(Exit::Code(1)), InstanceState::Backoff);
    let first = Events::open(&path, "boot", 1).unwrap();
    first.changed(Some(&running(8)), &[], &of(8, crash()));
    assert_eq!(all(&first)[0].generation, 8);
    until(&path, "the end", |text| text.contains("crashed"));
    let left = std::fs::read_to_string(&path).unwrap();
    let acknowledged = format!("{left}{{\"acknowledged\":{}}}\n", all(&first)[0].sequence);

    for (n, (left, known)) in [(left, 1), (acknowledged, 0)].into_iter().enumerate() {
        for (m, found) in [vec![8], vec![7, 8], vec![8, 7]].into_iter().enumerate() {
            let path = dir.path().join(format!("events {n} {m}"));
            std::fs::write(&path, &left).unwrap();
            let next = Events::open(&path, "boot", 2).unwrap();
            found
                .iter()
                .for_each(|generation| next.found(run(*generation)));
            next.changed(None, &[], &of(8, crash()));
            assert_eq!(all(&next).len(), known, "{found:?}");
            // The end of what this worker started is its own to tell.
            next.changed(
                Some(&running(2_000_000_000)),
                &[],
                &of(2_000_000_000, crash()),
            );
            assert_eq!(all(&next).len(), known + 1, "{found:?}");
        }
        let path = dir.path().join(format!("events {n} newer"));
        std::fs::write(&path, &left).unwrap();
        let next = Events::open(&path, "boot", 2).unwrap();
        next.found(run(8));
        next.found(run(9));
        next.changed(None, &[], &of(9, crash()));
        assert_eq!(all(&next).len(), known + 1, "a newer run ended");
    }
}

/// An end that no former worker told is told by the one that finds it.
#[test]
fn an_end_that_was_not_told_is_told_by_the_next_worker() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    let next = Events::open(&path, "boot", 2).unwrap();
    next.found(Run {
        slot: Slot {
            daemon: id(1),
            index: 0,
        },
        generation: 8,
    });
    let crashed = ended_at(5, Some(Exit::Code(1)), InstanceState::Backoff);
    next.changed(None, &[], &view(vec![crashed]));
    let told = all(&next);
    assert_eq!((told.len(), told[0].generation), (1, 8));
}

#[test]
fn files_of_every_version_so_far_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events");
    std::fs::write(&path, include_str!("../fixtures/v1")).unwrap();
    let events = Events::open(&path, "fd9d65f9-ade3-449f-9732-64a8e8fa2388", 2).unwrap();
    let left = all(&events);
    let sequences: Vec<u64> = left.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, [1_000_000_002, 1_000_000_003]);
    assert_eq!(
        (left[0].by.as_str(), left[0].message.as_str()),
        ("root (uid 0)", "STOPPED")
    );
    assert_eq!(
        (left[1].instance, left[1].message.as_str()),
        (Some(0), "signal 9")
    );
}
