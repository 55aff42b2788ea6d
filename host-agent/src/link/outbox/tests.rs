use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::link::tests::fakes::{entry, id};

fn wall(time: Time) -> SystemTime {
    SystemTime::UNIX_EPOCH + time.since_origin()
}

#[test]
fn a_state_is_told_with_all_its_parts() {
    let mut shown = entry(id(1), 5, false, 1);
    shown.view.hold = Some(Hold {
        state: zhylon_shared::state::DesiredState::Stopped,
        by: "root (uid 0)".to_owned(),
        time_ms: 1500,
        intent_generation: 3,
    });
    shown.view.restart_outcome = Some(zhylon_shared::state::RestartOutcome::Failed);
    shown.view.settled_restart_generation = 2;
    let instance = &mut shown.view.instances[0];
    instance.last_exit = Some(LastExit {
        exit: Some(Exit::Signal(9)),
        killed_after_grace: true,
        time: Time::new(Duration::from_secs(9)),
        message: "signal 9".to_owned(),
    });
    instance.next_start = Some(Time::new(Duration::from_secs(10)));
    let report = report(&shown, &wall);
    assert_eq!(
        (report.id.as_str(), report.observed_revision),
        (id(1).to_string().as_str(), 5)
    );
    assert_eq!(report.restart_outcome(), api::RestartOutcome::Failed);
    assert_eq!(report.settled_restart_generation, 2);
    let hold = report.local_hold.unwrap();
    assert_eq!(
        (hold.state(), hold.intent_generation),
        (api::DesiredState::Stopped, 3)
    );
    let time = hold.time.unwrap();
    assert_eq!((time.seconds, time.nanos), (1, 500_000_000));
    let instance = &report.instances[0];
    assert_eq!((instance.pid, instance.generation), (42, 7));
    assert_eq!(instance.state(), api::InstanceState::Running);
    assert_eq!(instance.next_start_time.as_ref().unwrap().seconds, 10);
    let exit = instance.last_exit.as_ref().unwrap();
    assert_eq!(
        (exit.code, exit.signal, exit.killed_after_grace),
        (0, 9, true)
    );
    assert_eq!(exit.time.as_ref().unwrap().seconds, 9);
}

#[test]
fn gone_is_known_only_by_the_acknowledgement_of_the_status_that_said_it() {
    let mut board = Board::from([(id(1), Arc::new(entry(id(1), 1, false, 1)))]);
    let mut outbox = Outbox::default();
    outbox.full(&board, wall);
    board.insert(id(1), Arc::new(entry(id(1), 1, true, 2)));
    assert_eq!(outbox.acknowledged(1), []);
    let status = outbox.changes(&board, wall).unwrap();
    assert_eq!((status.sequence, status.daemons[0].gone), (2, true));
    assert_eq!(outbox.acknowledged(1), []);
    assert_eq!(outbox.acknowledged(2), [id(1)]);
    assert_eq!(outbox.acknowledged(2), []);
}

#[derive(Debug, Clone)]
enum Step {
    Change(u8),
    Gone(u8),
    Send,
}

proptest! {
    /// However changes and statuses fall together, whoever has every status has the newest state of every daemon, and
    /// no status repeats what the one before said.
    #[test]
    fn who_has_every_status_knows_the_board(
        steps in prop::collection::vec(
            prop_oneof![
                3 => (0..5_u8).prop_map(Step::Change),
                1 => (0..5_u8).prop_map(Step::Gone),
                2 => Just(Step::Send),
            ],
            0..80,
        ),
    ) {
        let mut board = Board::new();
        let mut outbox = Outbox::default();
        let mut known = BTreeMap::new();
        let mut learn = |status: Status, sequence: u64| {
            assert_eq!(status.sequence, sequence);
            for report in status.daemons {
                let told = known.insert(report.id.clone(), report.clone());
                assert_ne!(told, Some(report), "said twice");
            }
            known.clone()
        };
        let mut sequence = 1;
        learn(outbox.full(&board, wall), sequence);
        let mut version = 0;
        for step in steps.into_iter().chain([Step::Send]) {
            let (n, gone) = match step {
                Step::Change(n) => (n, false),
                Step::Gone(n) => (n, true),
                Step::Send => {
                    let Some(status) = outbox.changes(&board, wall) else { continue };
                    sequence += 1;
                    let known = learn(status, sequence);
                    for (id, entry) in &board {
                        prop_assert_eq!(&known[&id.to_string()], &report(entry, &wall));
                    }
                    continue;
                }
            };
            version += 1;
            let revision = i64::try_from(version).unwrap();
            board.insert(id(n), Arc::new(entry(id(n), revision, gone, version)));
        }
        prop_assert!(outbox.changes(&board, wall).is_none());
    }
}
