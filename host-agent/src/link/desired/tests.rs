use std::collections::BTreeMap;

use host_agent_engine::input::{Claim, DesiredDaemon};
use proptest::prelude::*;
use zhylon_shared::state::RestartStrategy;

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

/// A ledger with daemons 1 to 3 at revision 9 of an epoch, as the first snapshot of another one finds it.
fn three() -> DesiredLedger {
    let set = [
        config(1, "sleep 1", 1),
        config(2, "sleep 2", 2),
        config(3, "sleep 3", 9),
    ];
    merge(&DesiredLedger::default(), &snapshot(9, &set))
        .unwrap()
        .unwrap()
}

fn restored(revision: i64, set: &[DaemonConfig]) -> ConfigUpdate {
    ConfigUpdate {
        config_epoch: "restored".to_owned(),
        ..snapshot(revision, set)
    }
}

fn claims(ledger: &DesiredLedger) -> Vec<(DaemonId, String, Claim)> {
    let all = ledger.for_engine().into_iter();
    all.map(|daemon| (daemon.id, daemon.spec.command().to_owned(), daemon.claim))
        .collect()
}

#[test]
fn a_new_epoch_adopts_what_runs_keeps_what_differs_and_drops_nothing() {
    let differs = |differs| Claim::Adopted { differs };
    // 1 is as it was, 2 was changed since, 3 was created since, 4 was deleted since.
    let mut stopped = config(2, "sleep 2", 1);
    stopped.running = false;
    for two in [config(2, "sleep 22", 1), stopped] {
        let set = [
            config(1, "sleep 1", 1),
            two.clone(),
            config(4, "sleep 4", 2),
        ];
        let update = restored(2, &set);
        let ledger = merge(&three(), &update).unwrap().unwrap();
        let expected = [
            (id(1), "sleep 1".to_owned(), differs(false)),
            (id(2), "sleep 2".to_owned(), differs(true)),
            (id(4), "sleep 4".to_owned(), Claim::Written),
            (id(3), "sleep 3".to_owned(), Claim::Unclaimed),
        ];
        assert_eq!(claims(&ledger), expected);
        let running = |daemon: DesiredDaemon| daemon.state == DesiredState::Running;
        assert!(ledger.for_engine().into_iter().all(running));
        // What is acknowledged is the api-server's set, not what stands in for it.
        assert_eq!(ledger.hash, update.hash);
        assert_eq!(hash(&ledger.daemons), update.hash);
        // A write is carried out; the others stay what they are, also in a snapshot of the same epoch.
        let written = config(2, "sleep 222", 3);
        let set = [set[0].clone(), written.clone(), set[2].clone()];
        let mut change = delta(2, 3, std::slice::from_ref(&written), &[], &set);
        change.config_epoch = "restored".to_owned();
        for update in [change, restored(3, &set)] {
            let ledger = merge(&ledger, &update).unwrap().unwrap();
            let expected = [
                (id(1), "sleep 1".to_owned(), differs(false)),
                (id(2), "sleep 222".to_owned(), Claim::Written),
                (id(4), "sleep 4".to_owned(), Claim::Written),
                (id(3), "sleep 3".to_owned(), Claim::Unclaimed),
            ];
            assert_eq!(claims(&ledger), expected);
        }
    }
}

#[test]
fn what_is_unclaimed_stays_so_over_epochs_until_it_is_named() {
    let first = [config(1, "sleep 1", 1)];
    let ledger = merge(&three(), &restored(1, &first)).unwrap().unwrap();
    assert_eq!(ledger.unclaimed.len(), 2);
    let mut again = restored(1, &[config(1, "sleep 1", 1), config(2, "sleep 22", 1)]);
    again.config_epoch = "restored again".to_owned();
    let ledger = merge(&ledger, &again).unwrap().unwrap();
    let expected = [
        (
            id(1),
            "sleep 1".to_owned(),
            Claim::Adopted { differs: false },
        ),
        (
            id(2),
            "sleep 2".to_owned(),
            Claim::Adopted { differs: true },
        ),
        (id(3), "sleep 3".to_owned(), Claim::Unclaimed),
    ];
    assert_eq!(claims(&ledger), expected);
    // What ran on as it was does so in a third epoch, too, that says something else again.
    let mut third = restored(1, &[config(2, "sleep 23", 1)]);
    third.config_epoch = "third".to_owned();
    let ledger = merge(&ledger, &third).unwrap().unwrap();
    assert!(claims(&ledger).contains(&(
        id(2),
        "sleep 2".to_owned(),
        Claim::Adopted { differs: true }
    )));
}

#[test]
fn a_host_without_a_configuration_adopts_nothing() {
    let ledger = merge(
        &DesiredLedger::default(),
        &restored(1, &[config(1, "true", 1)]),
    );
    assert_eq!(claims(&ledger.unwrap().unwrap())[0].2, Claim::Written);
}

#[test]
fn a_strategy_is_kept_and_one_of_the_future_refused() {
    let mut rolling = config(1, "sleep 1", 1);
    rolling.restart_strategy = 2;
    let ledger = merge(
        &DesiredLedger::default(),
        &snapshot(1, std::slice::from_ref(&rolling)),
    );
    let ledger = ledger.unwrap().unwrap();
    assert_eq!(
        ledger.for_engine()[0].restart_strategy,
        RestartStrategy::Rolling
    );
    rolling.restart_strategy = 3;
    let refusal = merge(&two(), &snapshot(9, &[rolling])).unwrap_err();
    assert!(refusal.message.contains("restart_strategy"), "{refusal:?}");
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
