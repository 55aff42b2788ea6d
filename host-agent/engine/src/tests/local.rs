//! Local operators: holds, and commands on single instances.

use zhylon_shared::state::DesiredState;
use zhylon_shared::state::InstanceState::{Running, Stopped};

use super::sim::*;
use crate::effect::CommandOutcome::{AbnormalTermination, AlreadyStarted, Done};
use crate::effect::Effect;
use crate::input::*;

fn running() -> Sim {
    let mut sim = Sim::with(spec(|d| d.processes = Some(2)));
    sim.pass(SEC * 2);
    sim.take_effects();
    sim
}

#[test]
fn a_stop_holds_whatever_the_api_desires_until_its_next_intent() {
    let mut sim = running();
    let ticket = sim.command(Action::Stop, &[1]);
    assert_eq!(sim.answer(ticket), None);
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done; 2]));
    let view = sim.view(1);
    assert_eq!(view.desired, DesiredState::Running);
    assert_eq!(
        view.hold.map(|hold| hold.state),
        Some(DesiredState::Stopped)
    );
    assert!(view.converged);

    sim.update(
        1,
        spec(|d| (d.command, d.processes) = ("other".to_owned(), Some(2))),
    );
    sim.settle();
    assert_eq!(sim.states(1), [Stopped; 2]);
    sim.take_effects();

    // The desired state stays the same; the intent is newer all the same.
    sim.api_start(1);
    assert_eq!(
        sim.take_effects()[0],
        Effect::HoldEnded {
            daemon: id(1),
            index: None
        }
    );
    sim.settle();
    assert_eq!((sim.states(1), sim.view(1).hold), (vec![Running; 2], None));
    assert!(sim.holds.is_empty());
}

#[test]
fn the_opposite_command_ends_the_hold() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    sim.take_effects();
    let ticket = sim.command(Action::Start, &[1]);
    assert_eq!(
        sim.take_effects()[0],
        Effect::HoldEnded {
            daemon: id(1),
            index: None
        }
    );
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done; 2]));
    assert_eq!((sim.view(1).hold, sim.holds.len()), (None, 0));
}

#[test]
fn a_start_of_what_is_desired_stopped_is_a_hold() {
    let mut sim = running();
    sim.api_stop(1);
    sim.settle();
    for action in [Action::Start, Action::Restart] {
        let ticket = sim.command(action, &[1]);
        sim.settle();
        assert_eq!(sim.answer(ticket), Some(vec![Done; 2]));
        let held = sim.view(1).hold.map(|hold| hold.state);
        assert_eq!(held, Some(DesiredState::Running));
        assert_eq!(sim.desired_state(1), DesiredState::Stopped);
        assert!(sim.view(1).converged);
    }
    sim.api_stop(1);
    sim.settle();
    assert_eq!((sim.states(1), sim.view(1).hold), (vec![Stopped; 2], None));
}

#[test]
fn a_restart_ends_a_stop() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    let ticket = sim.command(Action::Restart, &[1]);
    sim.settle();
    assert_eq!(
        (sim.answer(ticket), sim.view(1).hold),
        (Some(vec![Done; 2]), None)
    );
}

#[test]
fn a_restart_without_a_hold_does_the_same() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    let targets = vec![CommandTarget::Daemon(id(1))];
    let ticket = sim.request(Action::Restart, targets.clone(), None);
    assert!(sim.holds.is_empty());
    sim.settle();
    assert_eq!(
        (sim.answer(ticket), sim.states(1)),
        (Some(vec![Done; 2]), vec![Running; 2])
    );

    sim.api_stop(1);
    sim.settle();
    sim.request(Action::Restart, targets, None);
    sim.settle();
    assert_eq!((sim.states(1), sim.view(1).hold), (vec![Running; 2], None));
}

#[test]
fn a_hold_of_an_outdated_intent_is_taken_out_and_nothing_done() {
    let mut sim = running();
    let hold = Hold {
        state: DesiredState::Stopped,
        by: "root".to_owned(),
        time_ms: 1,
        intent_generation: 1,
    };
    sim.api_start(1);
    sim.take_effects();
    let targets = vec![CommandTarget::Daemon(id(1))];
    let ticket = sim.request(Action::Stop, targets, Some(hold));
    assert_eq!(sim.answer(ticket), Some(vec![AbnormalTermination; 2]));
    assert_eq!(
        sim.take_effects()[0],
        Effect::HoldEnded {
            daemon: id(1),
            index: None
        }
    );
    assert_eq!(sim.states(1), [Running; 2]);
}

#[test]
fn of_several_daemons_each_is_held_by_its_own_count_of_intents() {
    let mut sim = running();
    sim.create(2, spec(|_| {}));
    for _ in 0..5 {
        sim.api_start(2);
    }
    sim.pass(SEC * 2);
    let ticket = sim.command(Action::Stop, &[1, 2]);
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done; 3]));
    let held = |sim: &Sim, n| sim.view(n).hold.map(|hold| hold.intent_generation);
    assert_eq!((held(&sim, 1), held(&sim, 2)), (Some(1), Some(6)));
    sim.api_start(1);
    sim.settle();
    assert_eq!((sim.state(1), sim.state(2)), (Running, Stopped));
}

#[test]
fn debians_two_calls_are_a_restart() {
    let mut sim = running();
    let pids = sim.pids(1);
    let stop = sim.command(Action::Stop, &[1]);
    sim.pass(MS * 100);
    assert_eq!(sim.answer(stop), Some(vec![Done; 2]));
    // A reconcile lands in the gap.
    sim.desire();
    assert_eq!(sim.states(1), [Stopped; 2]);
    let start = sim.command(Action::Start, &[1]);
    sim.settle();
    assert_eq!(sim.answer(start), Some(vec![Done; 2]));
    assert!(sim.pids(1).iter().all(|pid| !pids.contains(pid)));
}

#[test]
fn a_single_instance_is_stopped_until_the_next_command_on_all() {
    let mut sim = running();
    let ticket = sim.command_one(Action::Stop, 1, 1);
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done]));
    assert_eq!(
        (sim.states(1), sim.view(1).hold),
        (vec![Running, Stopped], None)
    );
    assert!(sim.view(1).converged);
    sim.desire();
    sim.update(1, spec(|d| d.processes = Some(3)));
    sim.settle();
    assert_eq!(sim.states(1), [Running, Stopped, Running]);
    let ticket = sim.command(Action::Start, &[1]);
    sim.settle();
    assert_eq!(
        sim.answer(ticket),
        Some(vec![AlreadyStarted, Done, AlreadyStarted])
    );
    assert_eq!(sim.states(1), [Running; 3]);
}

#[test]
fn a_single_instance_is_started_or_restarted_alone() {
    let mut sim = running();
    let pids = sim.pids(1);
    let ticket = sim.command_one(Action::Restart, 1, 0);
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done]));
    assert_eq!(sim.pids(1)[1], pids[1]);
    assert_ne!(sim.pids(1)[0], pids[0]);
    sim.api_stop(1);
    sim.settle();
    sim.command_one(Action::Start, 1, 0);
    sim.settle();
    assert_eq!(sim.states(1), [Running, Stopped]);
    sim.api_stop(1);
    sim.settle();
    assert_eq!(sim.states(1), [Stopped; 2]);
}

#[test]
fn a_held_instance_stays_held_when_the_worker_is_killed() {
    let mut sim = running();
    sim.command_one(Action::Stop, 1, 1);
    sim.settle();
    sim.kill_worker();
    sim.settle();
    assert_eq!(sim.states(1), [Running, Stopped]);
    let held = sim.view(1).instances[1].hold.clone().unwrap();
    assert_eq!(
        (held.state, held.by.as_str()),
        (DesiredState::Stopped, "root")
    );
    assert_eq!(
        (sim.view(1).hold, sim.view(1).instances[0].hold.clone()),
        (None, None)
    );

    // Another daemon's change ends nothing, the intent of this one does; the ledger hears of it.
    sim.create(2, spec(|_| {}));
    sim.settle();
    assert_eq!(sim.states(1), [Running, Stopped]);
    sim.take_effects();
    sim.api_start(1);
    let ended = Effect::HoldEnded {
        daemon: id(1),
        index: Some(1),
    };
    assert_eq!(sim.take_effects()[0], ended);
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2]);
    assert!(sim.holds.is_empty());
}

#[test]
fn what_is_said_of_an_instance_counts_against_its_daemons_hold() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    sim.command_one(Action::Start, 1, 0);
    sim.settle();
    sim.kill_worker();
    sim.settle();
    assert_eq!(sim.states(1), [Running, Stopped]);
    // The opposite command on the instance leaves the daemon's hold alone.
    sim.command_one(Action::Stop, 1, 0);
    sim.settle();
    assert_eq!(sim.states(1), [Stopped; 2]);
    assert_eq!(sim.holds.keys().collect::<Vec<_>>(), [&(id(1), None)]);
}

#[test]
fn the_hold_on_an_instance_goes_with_it() {
    let mut sim = running();
    sim.command_one(Action::Stop, 1, 1);
    sim.settle();
    sim.update(1, spec(|d| d.processes = Some(1)));
    sim.settle();
    assert!(sim.holds.is_empty());
    sim.update(1, spec(|d| d.processes = Some(2)));
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2]);

    // A hold of the ledger on an instance there is not any more is taken out.
    sim.command_one(Action::Stop, 1, 1);
    sim.settle();
    sim.want.get_mut(&id(1)).unwrap().spec = spec(|d| d.processes = Some(1));
    sim.kill_worker();
    sim.settle();
    assert!(sim.holds.is_empty());
    assert_eq!(sim.states(1), [Running]);
}

#[test]
fn a_hold_counts_by_the_intent_its_operator_saw() {
    let hold = |intent_generation| Hold {
        state: DesiredState::Stopped,
        by: "root".to_owned(),
        time_ms: 1,
        intent_generation,
    };
    for target in [
        CommandTarget::Daemon(id(1)),
        CommandTarget::Instance(slot(1, 1)),
    ] {
        let mut sim = running();
        sim.api_start(1);
        sim.settle();
        sim.take_effects();
        // Outdated when it comes: nothing is done.
        sim.request(Action::Stop, vec![target], Some(hold(1)));
        sim.settle();
        assert_eq!(sim.states(1), [Running; 2], "{target:?}");
        // The operator saw an intent that comes here only now: it ends nothing.
        sim.request(Action::Stop, vec![target], Some(hold(3)));
        sim.settle();
        sim.api_start(1);
        sim.settle();
        assert_eq!(sim.states(1)[1], Stopped, "{target:?}");
        sim.api_start(1);
        sim.settle();
        assert_eq!(sim.states(1), [Running; 2], "{target:?}");
    }
}
