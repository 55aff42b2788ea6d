//! The next worker: what runs is adopted, what is wanted is in the ledger.

use zhylon_shared::state::InstanceState::{Running, Starting, Stopped, Stopping};
use zhylon_shared::state::RestartOutcome::{Failed, Succeeded};

use super::sim::*;
use crate::effect::Effect;
use crate::input::*;

fn running() -> Sim {
    let mut sim = Sim::with(spec(|d| d.processes = Some(2)));
    sim.pass(SEC * 2);
    sim.take_effects();
    sim
}

#[test]
fn what_runs_is_not_touched() {
    let mut sim = running();
    let (pids, since) = (sim.pids(1), sim.view(1).instances[0].since);
    sim.pass(SEC * 100);
    sim.kill_worker();
    assert_eq!(sim.take_effects(), []);
    assert_eq!((sim.states(1), sim.pids(1)), (vec![Running; 2], pids));
    assert_eq!(sim.view(1).instances[0].since, since);
    assert!(sim.view(1).converged);
    sim.settle();
    assert_eq!(sim.take_effects(), []);
}

#[test]
fn what_was_starting_is_starting_for_the_rest_of_its_time() {
    let mut sim = Sim::with(spec(|d| d.start_seconds = Some(10)));
    sim.pass(SEC * 4);
    sim.kill_worker();
    sim.pass(SEC * 6 - MS);
    assert_eq!(sim.states(1), [Starting]);
    sim.pass(MS);
    assert_eq!(sim.states(1), [Running]);
}

#[test]
fn what_does_not_run_is_started_with_generations_never_used() {
    let mut sim = running();
    let old = sim.run(1, 1);
    sim.children.remove(&old);
    sim.kill_worker();
    let spawned = sim.run(1, 1);
    assert!(spawned.generation >= old.generation + 1000);
    let effects = sim.take_effects();
    assert!(matches!(&effects[..], [Effect::Spawn { run, .. }] if *run == spawned));
}

#[test]
fn generations_are_above_those_adopted_whatever_the_ledger_says() {
    let mut sim = running();
    let old = sim.run(1, 0).generation;
    sim.engine = crate::Engine::new(0);
    let run = Run {
        slot: slot(1, 0),
        generation: old,
    };
    let spec = spec(|d| d.processes = Some(2));
    let adopted = Adopted {
        run,
        spec_hash: spec.instance_hash(),
        restart_generation: 0,
        stop_signal: spec.stop_signal(),
        stop_seconds: 10,
        ran_for: SEC * 5,
        pid: 7,
    };
    sim.engine.handle(
        sim.now,
        Input::Restore {
            desired: sim.want.values().cloned().collect(),
            holds: vec![],
            settled: vec![],
            stopped: vec![],
            adopted: vec![adopted],
            past: vec![],
            first_generation: 1,
        },
    );
    assert!(sim.run(1, 1).generation > old);
}

#[test]
fn holds_are_in_force_again() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    sim.kill_worker();
    assert_eq!(sim.states(1), [Stopped; 2]);
    assert_eq!(sim.view(1).hold.unwrap().by, "root");
}

#[test]
fn a_hold_that_a_newer_intent_ended_meanwhile_is_taken_out() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    sim.want.get_mut(&id(1)).unwrap().intent_generation += 1;
    sim.take_effects();
    sim.kill_worker();
    assert_eq!(
        sim.take_effects()[0],
        Effect::HoldEnded {
            daemon: id(1),
            index: None
        }
    );
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2]);
}

#[test]
fn a_settled_restart_is_not_redone() {
    let mut sim = running();
    sim.api_restart(1);
    sim.settle();
    sim.settled.insert(id(1), (1, Failed));
    for child in sim.children.values_mut() {
        child.restart_generation = 0;
    }
    sim.take_effects();
    sim.kill_worker();
    assert_eq!(sim.take_effects(), []);
    assert_eq!(sim.outcome(1), Some((1, Failed)));
    assert!(sim.view(1).converged);
}

#[test]
fn a_restart_under_way_goes_on_and_what_was_restarted_counts() {
    let mut sim = running();
    sim.habits.get_mut(&id(1)).unwrap().obeys = None;
    sim.api_restart(1);
    // The first has been replaced when the worker dies, the second has not.
    sim.habits.get_mut(&id(1)).unwrap().obeys = Some(MS * 100);
    let run = sim.run(1, 0);
    sim.children.remove(&run);
    sim.feed(Input::Exited {
        run,
        exit: Exit::Signal(15),
        tree_gone: true,
    });
    sim.pass(MS);
    let (first, second) = (sim.run(1, 0), sim.run(1, 1));
    sim.take_effects();
    sim.kill_worker();
    assert_eq!(
        sim.take_effects(),
        [Effect::Signal {
            run: second,
            signal: 15
        }]
    );
    sim.settle();
    assert_eq!(sim.run(1, 0), first);
    assert_ne!(sim.run(1, 1), second);
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
}

#[test]
fn what_was_started_from_another_spec_is_replaced_after_the_check() {
    let mut sim = running();
    let pids = sim.pids(1);
    let other = spec(|d| (d.command, d.processes) = ("other".to_owned(), Some(2)));
    sim.want.get_mut(&id(1)).unwrap().spec = other;
    sim.habits.get_mut(&id(1)).unwrap().resolves = Err(no_file());
    sim.kill_worker();
    assert!(matches!(sim.take_effects()[..], [Effect::Check { .. }]));
    sim.pass(SEC * 30);
    assert_eq!((sim.pids(1), sim.view(1).converged), (pids.clone(), false));
    sim.habits.get_mut(&id(1)).unwrap().resolves = Ok(());
    sim.settle();
    assert!(sim.view(1).converged);
    assert!(sim.pids(1).iter().all(|pid| !pids.contains(pid)));
    assert!(
        sim.children
            .values()
            .all(|child| child.spec.command() == "other")
    );
}

#[test]
fn a_run_of_an_unknown_daemon_is_stopped_by_its_own_promises_and_gone() {
    let quit = spec(|d| {
        d.stop_signal = Some(zhylon_shared::signal::StopSignal::Quit);
        d.stop_seconds = Some(3);
    });
    let mut sim = Sim::behaving(
        quit,
        Habit {
            obeys: None,
            ..Habit::default()
        },
    );
    sim.pass(SEC * 2);
    let run = sim.run(1, 0);
    sim.want.clear();
    sim.take_effects();
    sim.kill_worker();
    assert_eq!(sim.states(1), [Stopping]);
    assert_eq!(sim.take_effects(), [Effect::Signal { run, signal: 3 }]);
    sim.pass(SEC * 3);
    let effects = [Effect::KillTree { run }, Effect::Gone { daemon: id(1) }];
    assert_eq!(sim.take_effects(), effects);
}

#[test]
fn a_surplus_run_is_stopped() {
    let mut sim = running();
    sim.want.get_mut(&id(1)).unwrap().spec = spec(|_| {});
    sim.kill_worker();
    assert_eq!(sim.states(1), [Running, Stopping]);
}

#[test]
fn of_two_runs_in_one_slot_the_older_goes_at_once() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.pass(SEC * 2);
    let newer = sim.run(1, 0);
    let older = Run {
        generation: 0,
        ..newer
    };
    sim.children.insert(older, sim.children[&newer].clone());
    sim.take_effects();
    sim.kill_worker();
    assert_eq!(sim.take_effects(), [Effect::KillTree { run: older }]);
    assert_eq!(sim.run(1, 0), newer);
    sim.settle();
    assert_eq!(sim.take_effects(), []);
}

#[test]
fn what_is_told_twice_changes_nothing() {
    let mut sim = running();
    let before = sim.view(1);
    sim.feed(Input::Restore {
        desired: sim.want.values().cloned().collect(),
        holds: vec![],
        settled: vec![(id(1), 9, Failed)],
        stopped: vec![],
        past: vec![],
        adopted: vec![],
        first_generation: 1,
    });
    assert_eq!((sim.view(1), sim.take_effects()), (before, vec![]));
}
