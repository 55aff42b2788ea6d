use super::*;

fn daemon(id: &str, revision: i64) -> DaemonConfig {
    DaemonConfig {
        id: id.to_owned(),
        revision,
        running: true,
        ..DaemonConfig::default()
    }
}

fn set(revision: i64, daemons: &[DaemonConfig]) -> DesiredSet {
    DesiredSet {
        config_epoch: "e".to_owned(),
        revision,
        daemons: daemons.to_vec(),
        revoked: false,
    }
}

fn fresh() -> Feed {
    Feed::new(&Hello::default())
}

fn accept(feed: &mut Feed, revision: i64) -> Answer {
    feed.answer(&ConfigAck {
        config_epoch: "e".to_owned(),
        revision,
        ..ConfigAck::default()
    })
}

fn refuse(feed: &mut Feed, why: &str) -> Answer {
    feed.answer(&ConfigAck {
        config_epoch: "e".to_owned(),
        revision: 0,
        refused: why.to_owned(),
        message: String::new(),
    })
}

#[test]
fn first_a_snapshot_then_deltas_on_what_was_acknowledged() {
    let mut feed = fresh();
    let (a, b) = (daemon("a", 1), daemon("b", 2));
    let update = feed.offer(set(2, &[a.clone(), b.clone()])).unwrap();
    assert!(update.snapshot);
    assert_eq!(update.daemons.len(), 2);
    assert_eq!(update.hash, set_hash(&update.daemons));
    assert_eq!(accept(&mut feed, 2), Answer::Durable(2));

    let (a, c) = (daemon("a", 3), daemon("c", 4));
    let whole = [a.clone(), c.clone()];
    let update = feed.offer(set(4, &whole)).unwrap();
    assert!(!update.snapshot);
    assert_eq!((update.base_revision, update.target_revision), (2, 4));
    assert_eq!(update.daemons, whole);
    assert_eq!(update.removed, ["b"]);
    assert_eq!(update.hash, set_hash(&whole));
    assert_eq!(accept(&mut feed, 4), Answer::Durable(4));

    let update = feed.offer(set(5, &[a, daemon("c", 5)])).unwrap();
    assert_eq!(update.daemons, [daemon("c", 5)]);
    assert!(update.removed.is_empty());
}

#[test]
fn who_has_it_hears_nothing() {
    let all = [daemon("a", 1)];
    let hello = Hello {
        config_epoch: "e".to_owned(),
        applied_revision: 1,
        applied_hash: set_hash(&all),
        ..Hello::default()
    };
    let mut feed = Feed::new(&hello);
    assert!(feed.offer(set(1, &all)).is_none());
    assert!(feed.offer(set(1, &all)).is_none());
    assert!(!feed.offer(set(2, &[])).unwrap().snapshot);

    let other_bytes = Hello {
        applied_hash: set_hash(&[daemon("b", 1)]),
        ..hello.clone()
    };
    assert!(
        Feed::new(&other_bytes)
            .offer(set(1, &all))
            .unwrap()
            .snapshot
    );
    let other_epoch = Hello {
        config_epoch: "f".to_owned(),
        ..hello
    };
    assert!(
        Feed::new(&other_epoch)
            .offer(set(1, &all))
            .unwrap()
            .snapshot
    );
}

#[test]
fn one_update_at_a_time_and_no_answer_but_its_own() {
    let mut feed = fresh();
    assert!(feed.offer(set(1, &[])).is_some());
    assert!(feed.is_waiting());
    assert!(feed.offer(set(2, &[daemon("a", 2)])).is_none());
    assert_eq!(accept(&mut feed, 7), Answer::Stray);
    assert!(feed.is_waiting());
    assert_eq!(accept(&mut feed, 1), Answer::Durable(1));
    assert_eq!(accept(&mut feed, 1), Answer::Stray);
    let update = feed.offer(set(2, &[daemon("a", 2)])).unwrap();
    assert!(!update.snapshot);
}

#[test]
fn a_refused_delta_is_followed_by_a_snapshot_and_a_refused_snapshot_by_silence() {
    let mut feed = fresh();
    feed.offer(set(1, &[])).unwrap();
    accept(&mut feed, 1);
    assert!(!feed.offer(set(2, &[])).unwrap().snapshot);
    assert_eq!(refuse(&mut feed, "REVISION_GAP"), Answer::OfferAgain);
    assert!(feed.offer(set(2, &[])).unwrap().snapshot);
    assert_eq!(refuse(&mut feed, "INVALID"), Answer::Refused);
    assert!(feed.offer(set(2, &[])).is_none());
    assert!(feed.offer(set(3, &[])).unwrap().snapshot);
    assert_eq!(accept(&mut feed, 3), Answer::Durable(3));
    assert!(!feed.offer(set(4, &[])).unwrap().snapshot);
}

#[test]
fn a_new_epoch_is_a_snapshot() {
    let mut feed = fresh();
    feed.offer(set(5, &[])).unwrap();
    accept(&mut feed, 5);
    let mut restored = set(3, &[]);
    restored.config_epoch = "f".to_owned();
    let update = feed.offer(restored).unwrap();
    assert!(update.snapshot);
    assert_eq!((update.base_revision, update.target_revision), (0, 3));
}
