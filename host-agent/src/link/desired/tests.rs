use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::link::tests::fakes::{config, delta, id, snapshot};

fn code(result: &Result<Option<DesiredLedger>, Refusal>) -> &'static str {
    match result {
        Ok(Some(_)) => "accepted",
        Ok(None) => "already",
        Err(refusal) => refusal.code,
    }
}

/// A ledger with daemons 1 and 2 at revision 2.
fn two() -> DesiredLedger {
    let set = [config(1, "sleep 1", 1), config(2, "sleep 2", 2)];
    merge(&DesiredLedger::default(), &snapshot(2, &set))
        .unwrap()
        .unwrap()
}

#[test]
fn a_snapshot_then_deltas_that_build_on_it() {
    let ledger = two();
    assert_eq!((ledger.revision, ledger.daemons.len()), (2, 2));
    let (one, three) = (config(1, "sleep 11", 3), config(3, "sleep 3", 3));
    let update = delta(2, 3, &[one.clone(), three.clone()], &[2], &[one, three]);
    let ledger = merge(&ledger, &update).unwrap().unwrap();
    let ids: Vec<_> = ledger.daemons.iter().map(|daemon| daemon.id).collect();
    assert_eq!((ledger.revision, ids), (3, vec![id(1), id(3)]));
    assert_eq!(ledger.daemons[0].spec.command(), "sleep 11");
    assert_eq!(ledger.hash, update.hash);
    assert_eq!(code(&merge(&ledger, &update)), "already");
}

#[test]
fn what_does_not_build_on_the_ledger_is_refused_by_its_reason() {
    let ledger = two();
    let (one, other) = (config(1, "sleep 1", 1), config(2, "sleep 99", 2));
    let (three, two) = (config(3, "true", 4), config(2, "sleep 2", 2));
    let all = [one.clone(), two.clone(), three.clone()];
    let regression = snapshot(1, std::slice::from_ref(&one));
    let conflict = snapshot(2, &[one.clone(), other]);
    let gap = delta(3, 4, std::slice::from_ref(&three), &[], &all);
    let mut other_epoch = delta(2, 4, std::slice::from_ref(&three), &[], &all);
    other_epoch.config_epoch = "another".to_owned();
    let mut other_bytes = delta(2, 4, std::slice::from_ref(&three), &[], &all);
    other_bytes.hash[0] ^= 1;
    let mut broken_snapshot = snapshot(4, &all);
    broken_snapshot.hash[0] ^= 1;
    let same = snapshot(2, &[two, one]);
    for (expected, update) in [
        ("REVISION_REGRESSION", &regression),
        ("REVISION_CONFLICT", &conflict),
        ("REVISION_GAP", &gap),
        ("REVISION_GAP", &other_epoch),
        ("REVISION_GAP", &other_bytes),
        ("INVALID", &broken_snapshot),
        ("already", &same),
        ("accepted", &delta(2, 4, &[three], &[], &all)),
    ] {
        assert_eq!(code(&merge(&ledger, update)), expected, "{update:?}");
    }
}

#[test]
fn a_snapshot_of_a_new_epoch_replaces_whatever_its_number() {
    let set = [config(9, "true", 1)];
    let update = ConfigUpdate {
        config_epoch: "restored".to_owned(),
        ..snapshot(1, &set)
    };
    let ledger = merge(&two(), &update).unwrap().unwrap();
    assert_eq!(
        (ledger.config_epoch.as_str(), ledger.revision),
        ("restored", 1)
    );
    assert_eq!(ledger.daemons.len(), 1);
    assert_eq!(ledger.for_engine()[0].id, id(9));
}

#[test]
fn what_breaks_a_rule_is_refused_whole_and_named() {
    let good = config(3, "true", 3);
    let with = |change: &dyn Fn(&mut ConfigUpdate)| {
        let mut update = delta(2, 3, std::slice::from_ref(&good), &[], &[]);
        change(&mut update);
        merge(&two(), &update).unwrap_err()
    };
    type Change<'a> = &'a dyn Fn(&mut ConfigUpdate);
    let cases: [(Change<'_>, &str); 8] = [
        (&|u| u.config_epoch.clear(), "config_epoch"),
        (&|u| u.daemons[0].id = "h:../etc".to_owned(), "h:../etc"),
        (&|u| u.daemons[0].spec = None, "spec: is missing"),
        (
            &|u| u.daemons[0].spec.as_mut().unwrap().command.clear(),
            "command",
        ),
        (
            &|u| u.daemons[0].spec.as_mut().unwrap().stop_signal = 19,
            "stop_signal",
        ),
        (&|u| u.daemons.push(good.clone()), "named twice"),
        (
            &|u| u.removed.push(good.id.clone()),
            "both changed and removed",
        ),
        (
            &|u| {
                u.snapshot = true;
                u.removed.push(id(1).to_string());
            },
            "removed",
        ),
    ];
    for (change, named) in cases {
        let refusal = with(change);
        assert_eq!(refusal.code, "INVALID", "{refusal:?}");
        assert!(refusal.message.contains(named), "{refusal:?} names {named}");
    }
}

/// What the api-server does, and what becomes of the frame.
#[derive(Debug, Clone)]
enum Step {
    Write(u8, u8),
    Delete(u8),
    Offer { snapshot: bool, lost: bool },
    Repeat,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8, any::<u8>()).prop_map(|(n, content)| Step::Write(n, content)),
        1 => (0..4_u8).prop_map(Step::Delete),
        4 => (any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(snapshot, lost)| Step::Offer { snapshot, lost }),
        1 => Just(Step::Repeat),
    ]
}

proptest! {
    /// Whatever is written, lost and repeated: the ledger only ever holds a set the api-server once had, under that
    /// set's revision, and a snapshot always brings the newest.
    #[test]
    fn the_ledger_never_holds_what_was_never_meant(steps in prop::collection::vec(step(), 0..60)) {
        let mut set: BTreeMap<u8, DaemonConfig> = BTreeMap::new();
        let mut history: BTreeMap<i64, Vec<DaemonConfig>> = BTreeMap::from([(0, Vec::new())]);
        // Where the api-server believes the host to be.
        let (mut revision, mut believed) = (0, 0);
        let mut ledger = DesiredLedger::default();
        let mut last = None;
        for step in steps {
            let update = match step {
                Step::Write(n, content) => {
                    revision += 1;
                    set.insert(n, config(n, &format!("sleep {content}"), revision));
                    history.insert(revision, set.values().cloned().collect());
                    continue;
                }
                Step::Delete(n) => {
                    revision += 1;
                    set.remove(&n);
                    history.insert(revision, set.values().cloned().collect());
                    continue;
                }
                Step::Repeat => match last.clone() {
                    Some(update) => update,
                    None => continue,
                },
                Step::Offer { snapshot: whole, lost } => {
                    let target = &history[&revision];
                    let update = if whole {
                        snapshot(revision, target)
                    } else {
                        let base = &history[&believed];
                        let changed: Vec<_> =
                            target.iter().filter(|d| !base.contains(d)).cloned().collect();
                        let removed: Vec<u8> = (0..4)
                            .filter(|n| base.iter().any(|d| d.id == id(*n).to_string()))
                            .filter(|n| !set.contains_key(n))
                            .collect();
                        delta(believed, revision, &changed, &removed, target)
                    };
                    believed = revision;
                    if lost {
                        continue;
                    }
                    last = Some(update.clone());
                    update
                }
            };
            let before = ledger.clone();
            match merge(&ledger, &update) {
                Ok(Some(newer)) => ledger = newer,
                Ok(None) => prop_assert_eq!(&before.hash, &update.hash),
                Err(refusal) => {
                    prop_assert!(!update.snapshot || refusal.code == "REVISION_REGRESSION");
                    believed = ledger.revision;
                }
            }
            prop_assert!(ledger.revision >= before.revision);
            let meant = wire::set_hash(&history[&ledger.revision]);
            prop_assert_eq!(hash(&ledger.daemons), meant);
            if update.snapshot && update.target_revision == revision {
                prop_assert_eq!(ledger.revision, revision);
            }
        }
    }
}
