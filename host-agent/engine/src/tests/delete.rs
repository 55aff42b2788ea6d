//! Deleting: stopped with its grace, then gone altogether.

use zhylon_shared::state::InstanceState::{Backoff, Running, Stopping};

use super::sim::*;
use crate::effect::Effect;
use crate::input::*;

#[test]
fn it_is_stopped_with_its_grace_and_then_gone() {
    let mut sim = Sim::behaving(
        spec(|_| {}),
        Habit {
            obeys: None,
            ..Habit::default()
        },
    );
    sim.pass(SEC * 2);
    let run = sim.run(1, 0);
    sim.take_effects();
    sim.delete(1);
    assert_eq!(sim.states(1), [Stopping]);
    assert_eq!(
        sim.view(1).message,
        "deleted; its instances are being stopped"
    );
    sim.pass(SEC * 10);
    let gone = Effect::Gone { daemon: id(1) };
    let effects = [
        Effect::Signal { run, signal: 15 },
        Effect::KillTree { run },
        gone,
    ];
    assert_eq!(sim.take_effects(), effects);
    assert_eq!(sim.engine.view(&id(1)), None);
    assert_eq!(sim.engine.daemons().count(), 0);
    assert_eq!(sim.engine.next_deadline(), None);
}

#[test]
fn what_does_not_run_is_gone_at_once() {
    let habit = Habit {
        spawn_fails: Some(no_file()),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|_| {}), habit);
    sim.pass(MS);
    assert_eq!(sim.states(1), [Backoff]);
    sim.take_effects();
    sim.delete(1);
    assert_eq!(sim.take_effects(), [Effect::Gone { daemon: id(1) }]);
    assert_eq!(sim.engine.next_deadline(), None);
}

#[test]
fn its_hold_ends_with_it() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.command(Action::Stop, &[1]);
    sim.settle();
    sim.take_effects();
    sim.delete(1);
    let effects = [
        Effect::HoldEnded {
            daemon: id(1),
            index: None,
        },
        Effect::Gone { daemon: id(1) },
    ];
    assert_eq!(sim.take_effects(), effects);
}

#[test]
fn commands_do_not_know_it_any_more() {
    let mut sim = Sim::behaving(
        spec(|_| {}),
        Habit {
            obeys: None,
            ..Habit::default()
        },
    );
    sim.pass(SEC * 2);
    sim.delete(1);
    let ticket = sim.command(Action::Start, &[1]);
    assert_eq!(sim.answer(ticket), Some(vec![]));
}

#[test]
fn a_new_one_under_the_old_id_waits_for_the_old_tree() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.pass(SEC * 2);
    let old = sim.run(1, 0);
    sim.delete(1);
    sim.create(1, spec(|d| d.command = "other".to_owned()));
    assert_eq!((sim.states(1), sim.run(1, 0)), (vec![Stopping], old));
    sim.settle();
    assert_eq!(sim.states(1), [Running]);
    assert_eq!(sim.children[&sim.run(1, 0)].spec.command(), "other");
    assert!(
        sim.take_effects()
            .iter()
            .all(|effect| !matches!(effect, Effect::Gone { .. }))
    );
}

#[test]
fn others_are_not_touched() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.create(2, spec(|_| {}));
    sim.pass(SEC * 2);
    let pids = sim.pids(2);
    sim.delete(1);
    sim.settle();
    assert_eq!((sim.pids(2), sim.states(2)), (pids, vec![Running]));
}
