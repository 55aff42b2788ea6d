use std::os::unix::fs::PermissionsExt as _;

use zhylon_shared::spec::SpecDraft;

use super::*;

fn id(n: u8) -> DaemonId {
    DaemonId::from_bare(&format!("{n:018}")).unwrap()
}

fn ledger(revision: i64) -> DesiredLedger {
    let draft = SpecDraft {
        command: "sleep 1".to_owned(),
        ..SpecDraft::default()
    };
    DesiredLedger {
        config_epoch: "e".to_owned(),
        revision,
        hash: vec![1, 2],
        daemons: vec![LedgerDaemon {
            id: id(1),
            spec: DaemonSpec::check(draft).unwrap(),
            state: DesiredState::Running,
            intent_generation: 1,
            restart_generation: 0,
            restart_strategy: RestartStrategy::AllAtOnce,
            revision,
            adopted: false,
            runs_on: None,
        }],
        unclaimed: Vec::new(),
    }
}

fn hold(by: &str) -> LedgerHold {
    LedgerHold {
        state: DesiredState::Stopped,
        by: by.to_owned(),
        time_ms: 5,
        intent_generation: 1,
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.desired, Ok(DesiredLedger::default()));
    assert_eq!(recovered.local.worker_starts, 1);
    journal.store_desired(ledger(7)).await.unwrap();
    assert_eq!(journal.desired(), ledger(7));
    journal.settled(id(1), 3, RestartOutcome::Failed);
    journal
        .store_holds(vec![(id(1), None, hold("anna"))])
        .await
        .unwrap();
    journal
        .store_holds(vec![(id(2), None, hold("bert"))])
        .await
        .unwrap();
    journal.hold_ended(id(1), None);
    // Notes go with the next write.
    journal
        .store_holds(vec![(id(2), None, hold("root"))])
        .await
        .unwrap();
    drop(journal);

    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.desired, Ok(ledger(7)));
    assert_eq!(journal.desired(), ledger(7));
    assert_eq!(recovered.local.holds, [(id(2), hold("root"))]);
    let settled = [(id(1), 3, RestartOutcome::Failed)];
    assert_eq!(recovered.local.settled, settled);
    assert_eq!(recovered.local.worker_starts, 2);
    for name in [DESIRED, LOCAL] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_hold_on_a_daemon_stands_for_those_on_its_instances() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let on = |n, index, by| (id(n), index, hold(by));
    journal
        .store_holds(vec![
            on(1, Some(0), "anna"),
            on(1, Some(1), "anna"),
            on(2, None, "anna"),
            on(2, Some(0), "anna"),
            on(3, Some(0), "anna"),
            on(3, Some(1), "anna"),
        ])
        .await
        .unwrap();
    journal.hold_ended(id(3), Some(0));
    journal
        .store_holds(vec![on(1, Some(1), "bert"), on(2, None, "bert")])
        .await
        .unwrap();
    drop(journal);
    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    let local = recovered.local;
    assert_eq!(local.holds, [(id(2), hold("bert"))]);
    let mut of_instances = local.instance_holds;
    of_instances.sort_by_key(|(id, index, _)| (*id, *index));
    assert_eq!(
        of_instances,
        [
            (id(1), 0, hold("anna")),
            (id(1), 1, hold("bert")),
            (id(3), 1, hold("anna"))
        ]
    );
    journal.forget(id(1));
    journal.hold_ended(id(3), None);
    journal.store_holds(Vec::new()).await.unwrap();
    drop(journal);
    let (_, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.local.instance_holds, []);
}

#[test]
fn a_ledger_from_before_instances_could_be_held_is_read() {
    let old = r#"{"holds":[],"settled":[],"worker_starts":4}"#;
    let ledger: LocalLedger = serde_json::from_str(old).unwrap();
    assert_eq!((ledger.worker_starts, ledger.instance_holds.len()), (4, 0));
}

#[tokio::test]
async fn a_ledger_that_can_not_be_written_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    journal.store_desired(ledger(1)).await.unwrap();
    // A directory in the place of the temporary file: works for root too.
    for name in [DESIRED, LOCAL] {
        std::fs::create_dir(dir.path().join(format!("{name}.tmp"))).unwrap();
    }
    assert!(journal.store_desired(ledger(2)).await.is_err());
    assert!(
        journal
            .store_holds(vec![(id(1), None, hold("anna"))])
            .await
            .is_err()
    );
    assert_eq!(journal.desired(), ledger(1));
    for name in [DESIRED, LOCAL] {
        std::fs::remove_dir(dir.path().join(format!("{name}.tmp"))).unwrap();
    }
    journal
        .store_holds(vec![(id(2), None, hold("anna"))])
        .await
        .unwrap();
    drop(journal);
    let (_, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.desired, Ok(ledger(1)));
    assert_eq!(recovered.local.holds, [(id(2), hold("anna"))]);
}

#[tokio::test]
async fn every_torn_or_foreign_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    journal.store_desired(ledger(1)).await.unwrap();
    drop(journal);
    let path = dir.path().join(DESIRED);
    let whole = std::fs::read(&path).unwrap();
    assert!(file::load::<DesiredLedger>(&path).is_ok());
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        file::load::<DesiredLedger>(&path).unwrap_err()
    };
    for cut in 0..whole.len() {
        refused(&whole[..cut]);
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        refused(&flipped);
    }
    let mut longer = whole.clone();
    longer.push(b' ');
    refused(&longer);
    let newer = String::from_utf8(whole).unwrap().replacen(" 1 ", " 2 ", 1);
    assert!(refused(newer.as_bytes()).contains("format version 2"));
}

#[test]
fn generations_rise_even_over_a_torn_local_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let start = || Journal::open(dir.path()).unwrap().1.local.worker_starts;
    let before = (start(), start());
    assert_eq!(before, (1, 2));
    std::fs::write(dir.path().join(LOCAL), "{").unwrap();
    let torn = start();
    assert!(torn > 2);
    assert_eq!(start(), torn + 1);
}

#[test]
fn a_configuration_from_before_strategies_and_epochs_is_read() {
    let new = serde_json::to_value(ledger(3)).unwrap();
    let mut old = new.clone();
    old.as_object_mut().unwrap().remove("unclaimed");
    let daemon = old["daemons"][0].as_object_mut().unwrap();
    for field in ["restart_strategy", "adopted", "runs_on"] {
        assert!(daemon.remove(field).is_some(), "{field}");
    }
    let read: DesiredLedger = serde_json::from_value(old).unwrap();
    assert_eq!(read, ledger(3));
    let local = r#"{"holds":[],"instance_holds":[],"settled":[],"worker_starts":4}"#;
    let local: LocalLedger = serde_json::from_str(local).unwrap();
    assert_eq!(local.stopped, []);
}

#[tokio::test]
async fn what_a_rollout_and_an_epoch_leave_is_there_after_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let holds = vec![
        (id(1), None, hold("anna")),
        (id(1), Some(2), hold("anna")),
        (id(2), None, hold("bert")),
    ];
    journal.store_holds(holds).await.unwrap();
    journal.rollout_stopped(id(1), 7, "rollout stopped at instance 1: no".to_owned());
    journal.holds_rebased(id(1), 90);
    journal.store_holds(Vec::new()).await.unwrap();
    drop(journal);
    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    let local = recovered.local;
    let why = "rollout stopped at instance 1: no".to_owned();
    assert_eq!(local.stopped, [(id(1), 7, why)]);
    let intents = |id: DaemonId| {
        let mut holds = local.holds.iter().filter(move |(of, _)| *of == id);
        holds.next().unwrap().1.intent_generation
    };
    assert_eq!((intents(id(1)), intents(id(2))), (90, 1));
    assert_eq!(local.instance_holds[0].2.intent_generation, 90);
    journal.forget(id(1));
    journal.store_holds(Vec::new()).await.unwrap();
    drop(journal);
    let (_, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.local.stopped, []);
}

#[tokio::test]
async fn what_is_unclaimed_is_forgotten_once_a_person_stopped_it() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    let unclaimed = |n| LedgerDaemon {
        id: id(n),
        ..ledger(1).daemons.remove(0)
    };
    let ledger = DesiredLedger {
        unclaimed: vec![unclaimed(5), unclaimed(6), unclaimed(7)],
        ..ledger(1)
    };
    journal.store_desired(ledger).await.unwrap();
    let running = LedgerHold {
        state: DesiredState::Running,
        ..hold("anna")
    };
    // The set's own daemon is held, one is stopped, one started, one of another's instances stopped.
    let holds = vec![
        (id(1), None, hold("anna")),
        (id(5), None, hold("anna")),
        (id(6), None, running),
        (id(7), Some(0), hold("anna")),
    ];
    journal.store_holds(holds).await.unwrap();
    drop(journal);
    for _ in 0..2 {
        let (journal, recovered) = Journal::open(dir.path()).unwrap();
        let desired = recovered.desired.unwrap();
        assert_eq!(journal.desired(), desired);
        let left: Vec<_> = desired.unclaimed.iter().map(|daemon| daemon.id).collect();
        assert_eq!((desired.daemons.len(), left), (1, vec![id(6), id(7)]));
    }
}
