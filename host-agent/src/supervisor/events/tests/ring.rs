//! What is kept, what makes room, what of a repetition is told.

use super::*;

/// A clock that the test moves.
struct Clock(When);

impl Clock {
    fn new() -> Self {
        Self(When {
            ms: 1_000_000,
            at: Instant::now(),
        })
    }

    fn pass(&mut self, time: Duration) -> When {
        self.0.ms += u64::try_from(time.as_millis()).unwrap();
        self.0.at += time;
        self.0
    }
}

#[test]
fn what_is_acknowledged_goes_and_nothing_else() {
    let mut clock = Clock::new();
    let mut ring = Ring::new(first_sequence(3));
    for code in 1..=5 {
        ring.push(crash(id(1), code), clock.pass(Duration::from_secs(1)));
    }
    let all = ring.after(0, usize::MAX);
    let sequences: Vec<_> = all.iter().map(|event| event.sequence).collect();
    assert_eq!(
        sequences,
        (1..=5).map(|n| 3_000_000_000 + n).collect::<Vec<_>>()
    );
    assert_eq!(ring.after(sequences[1], 2), all[2..4]);
    ring.acknowledged(sequences[2]);
    assert_eq!(ring.after(0, usize::MAX), all[3..]);
    // An older acknowledgement, and one of what never was.
    ring.acknowledged(sequences[0]);
    assert_eq!(ring.after(0, usize::MAX), all[3..]);
    ring.acknowledged(u64::MAX);
    assert_eq!(ring.after(0, usize::MAX), []);
    assert_eq!(ring.after(u64::MAX, 1), []);
    ring.push(stop(id(1)), clock.pass(Duration::ZERO));
    assert_eq!(ring.after(0, 9)[0].sequence, 3_000_000_006);
}

#[test]
fn a_full_ring_counts_what_it_loses_and_keeps_the_newest() {
    let mut clock = Clock::new();
    let mut ring = Ring::new(0);
    ring.push(stop(id(2)), clock.pass(Duration::from_secs(1)));
    let count = 5 * EVENTS_PER_DAEMON as u64;
    // Some of them stand for several.
    for code in (0..count / 4).map(|n| i32::try_from(n).unwrap()) {
        for _ in 0..3 {
            ring.push(crash(id(1), code), clock.pass(Duration::from_secs(1)));
        }
        ring.push(stop(id(1)), clock.pass(Duration::from_secs(1)));
    }
    let all = ring.after(0, usize::MAX);
    let (one, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|e| e.daemon == id(1));
    assert_eq!(rest.len(), 1, "another daemon's events are untouched");
    assert_eq!(one.len(), EVENTS_PER_DAEMON);
    let lost = &one[0];
    assert_eq!(lost.kind, EventKind::Dropped);
    let kept: u64 = one[1..].iter().map(|event| event.count).sum();
    assert_eq!(lost.count + kept, count);
    assert_eq!(lost.first_ms, 1_002_000);
    assert_eq!(lost.sequence + 1, one[1].sequence);
    assert_eq!(one.last().unwrap().sequence, ring.newest());
    // An acknowledgement of what was sent before it grew leaves it.
    ring.acknowledged(lost.sequence - 1);
    assert_eq!(told(&ring)[0], (EventKind::Dropped, lost.count));
}

#[test]
fn many_daemons_together_have_a_bound_too() {
    let mut clock = Clock::new();
    let mut ring = Ring::new(0);
    let daemons = 200;
    for _ in 0..EVENTS_PER_DAEMON {
        for n in 0..daemons {
            ring.push(stop(id(n)), clock.pass(Duration::from_millis(1)));
        }
    }
    let all = ring.after(0, usize::MAX);
    assert_eq!(all.len(), EVENTS_MAX);
    let happened: u64 = all.iter().map(|event| event.count).sum();
    assert_eq!(happened, u64::from(daemons) * EVENTS_PER_DAEMON as u64);
    for n in 0..daemons {
        assert!(all.iter().any(|event| event.daemon == id(n)), "{n}");
    }
}

#[test]
fn a_crash_loop_is_told_at_growing_distances() {
    let mut clock = Clock::new();
    let mut ring = Ring::new(0);
    let (crashes, apart) = (7 * 24 * 60, Duration::from_secs(60));
    for _ in 0..crashes {
        let when = clock.pass(apart);
        ring.tell_due(when.at);
        ring.push(crash(id(1), 1), when);
    }
    // Something else: what waits is told before it.
    ring.push(stop(id(1)), clock.pass(apart));
    let told = told(&ring);
    let counted: u64 = told.iter().map(|(_, count)| count).sum();
    assert_eq!(counted, crashes + 1);
    assert!(told.len() < 200, "{}", told.len());
    assert_eq!(told[0], (EventKind::Crashed, 1));
    assert_eq!(told.last(), Some(&(EventKind::StopRequested, 1)));
    assert!(told.iter().all(|(kind, _)| *kind != EventKind::Dropped));
    let events = ring.after(0, usize::MAX);
    let late = &events[events.len() - 3];
    assert_eq!(late.last_ms - late.first_ms, (late.count - 1) * 60_000);
    assert!(late.count <= REPEAT_LAST.as_secs() / 60 + 1);
}

#[test]
fn a_repetition_is_told_soon_though_nothing_follows() {
    let mut clock = Clock::new();
    let mut ring = Ring::new(0);
    for _ in 0..3 {
        ring.push(crash(id(1), 1), clock.pass(Duration::from_millis(100)));
    }
    assert_eq!(told(&ring), [(EventKind::Crashed, 1)]);
    let due = ring.next_due().unwrap();
    let when = clock.pass(REPEAT_FIRST);
    assert!(due <= when.at);
    ring.tell_due(when.at);
    let expected = [(EventKind::Crashed, 1), (EventKind::Crashed, 2)];
    assert_eq!(told(&ring), expected);
    assert_eq!(ring.next_due(), None);
    // Another end, another instance, and the same after a long silence are news.
    ring.push(crash(id(1), 2), clock.pass(Duration::ZERO));
    let other = Draft {
        instance: Some(1),
        ..crash(id(1), 2)
    };
    ring.push(other, clock.pass(Duration::ZERO));
    ring.push(crash(id(1), 2), clock.pass(REPEAT_FORGOTTEN));
    assert_eq!(told(&ring).len(), 5);
    // What is over waits for nothing.
    ring.push(crash(id(1), 2), clock.pass(Duration::ZERO));
    assert_eq!(told(&ring).len(), 5);
    ring.over_for(id(1));
    assert_eq!(told(&ring).len(), 6);
    assert_eq!(ring.next_due(), None);
}
