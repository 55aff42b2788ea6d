//! Changing: nothing old is stopped for a spec that can not be started, and nothing is stopped that need not be.

use zhylon_shared::state::InstanceState::{Backoff, Fatal, Running, Starting, Stopped, Stopping};

use super::sim::*;
use crate::effect::Effect;
use crate::input::*;

fn running(n: i64) -> Sim {
    let mut sim = Sim::with(spec(|d| d.processes = Some(n)));
    sim.pass(SEC * 2);
    sim.take_effects();
    sim
}

fn other() -> std::sync::Arc<zhylon_shared::spec::DaemonSpec> {
    spec(|d| d.command = "serve --better".to_owned())
}

#[test]
fn the_old_one_runs_until_the_new_spec_is_checked() {
    let mut sim = running(1);
    let old = sim.run(1, 0);
    sim.update(1, other());
    let check = Effect::Check {
        daemon: id(1),
        revision: 2,
        spec: other(),
    };
    assert_eq!(sim.take_effects(), [check]);
    assert_eq!(sim.states(1), [Running]);
    assert_eq!(
        sim.view(1).message,
        "checking whether the new spec can be started"
    );
    sim.pass(MS * 5);
    assert_eq!(
        sim.take_effects(),
        [Effect::Signal {
            run: old,
            signal: 15
        }]
    );
    sim.settle();
    assert_eq!(sim.states(1), [Running]);
    assert_eq!(*sim.children[&sim.run(1, 0)].spec, *other());
    assert!(sim.view(1).converged);
    assert_eq!(sim.view(1).revision, 2);
}

#[test]
fn a_spec_that_does_not_resolve_changes_nothing_but_the_message() {
    let mut sim = running(2);
    let pids = sim.pids(1);
    sim.habits.get_mut(&id(1)).unwrap().resolves = Err(no_file());
    sim.update(1, other());
    sim.pass(SEC * 300);
    assert_eq!(sim.pids(1), pids);
    let view = sim.view(1);
    assert!(!view.converged);
    let error = no_file().message;
    let expected = format!("the new spec can not be started, the old keeps running: {error}");
    assert_eq!(view.message, expected);
    let checks = sim.take_effects().len();
    assert!((8..=14).contains(&checks), "{checks} checks in 300 s");
    sim.habits.get_mut(&id(1)).unwrap().resolves = Ok(());
    sim.settle();
    assert!(sim.view(1).converged);
    assert!(sim.pids(1).iter().all(|pid| !pids.contains(pid)));
}

#[test]
fn a_failed_check_is_tried_again_at_the_next_desire() {
    let mut sim = running(1);
    sim.habits.get_mut(&id(1)).unwrap().resolves = Err(no_file());
    sim.update(1, other());
    sim.pass(MS * 5);
    sim.take_effects();
    sim.desire();
    assert!(matches!(
        sim.take_effects()[..],
        [Effect::Check { revision: 2, .. }]
    ));
}

#[test]
fn the_old_spec_is_respawned_while_the_new_one_does_not_resolve() {
    let mut sim = running(1);
    sim.habits.get_mut(&id(1)).unwrap().resolves = Err(no_file());
    sim.update(1, other());
    sim.pass(SEC);
    sim.end(1, 0, Exit::Code(1));
    assert_eq!(*sim.children[&sim.run(1, 0)].spec, *spec(|_| {}));
}

#[test]
fn taking_the_change_back_ends_it() {
    let mut sim = running(1);
    let pids = sim.pids(1);
    sim.habits.get_mut(&id(1)).unwrap().resolves = Err(no_file());
    sim.update(1, other());
    sim.pass(SEC);
    sim.update(1, spec(|_| {}));
    assert!(sim.view(1).converged);
    sim.settle();
    assert_eq!(sim.pids(1), pids);
}

#[test]
fn an_answer_to_an_older_check_is_dropped() {
    let mut sim = running(1);
    sim.update(1, other());
    sim.update(1, spec(|d| d.command = "serve --best".to_owned()));
    sim.take_effects();
    sim.feed(Input::Checked {
        daemon: id(1),
        revision: 2,
        result: Ok(()),
    });
    assert_eq!(sim.take_effects(), []);
    sim.feed(Input::Checked {
        daemon: id(1),
        revision: 3,
        result: Ok(()),
    });
    assert!(matches!(sim.take_effects()[..], [Effect::Signal { .. }]));
}

#[test]
fn where_nothing_old_runs_nothing_is_checked() {
    let mut sim = running(1);
    sim.api_stop(1);
    sim.settle();
    sim.take_effects();
    sim.update(1, other());
    assert_eq!(sim.take_effects(), []);
    assert!(sim.view(1).converged);
    sim.api_start(1);
    sim.settle();
    assert_eq!(*sim.children[&sim.run(1, 0)].spec, *other());
}

#[test]
fn a_candidate_is_in_force_once_the_old_one_is_stopped() {
    let mut sim = running(1);
    sim.habits.get_mut(&id(1)).unwrap().resolves = Err(no_file());
    sim.update(1, other());
    sim.pass(SEC);
    sim.api_stop(1);
    sim.settle();
    assert_eq!(sim.states(1), [Stopped]);
    assert!(sim.view(1).converged);
}

#[test]
fn what_gave_up_is_tried_with_the_new_spec_at_once() {
    let habit = Habit {
        spawn_fails: Some(no_file()),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|d| d.max_retries = 1), habit);
    sim.settle();
    assert_eq!(sim.states(1), [Fatal]);
    sim.take_effects();
    sim.habits.get_mut(&id(1)).unwrap().spawn_fails = None;
    sim.update(1, other());
    assert!(matches!(sim.take_effects()[..], [Effect::Spawn { .. }]));
    sim.settle();
    assert_eq!(sim.states(1), [Running]);
}

#[test]
fn what_waits_in_backoff_is_tried_at_once_when_the_new_spec_resolves() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.habits.get_mut(&id(1)).unwrap().ends = Some((MS * 100, Exit::Code(1)));
    sim.pass(SEC * 60);
    assert_eq!(sim.states(1), [Backoff]);
    sim.habits.get_mut(&id(1)).unwrap().ends = None;
    sim.take_effects();
    sim.update(1, other());
    sim.pass(MS * 5);
    assert!(matches!(
        sim.take_effects()[..],
        [Effect::Check { .. }, Effect::Spawn { .. }]
    ));
    assert_eq!(sim.view(1).instances[0].restart_count, 0);
}

#[test]
fn a_changed_label_touches_nothing() {
    let mut sim = running(2);
    let pids = sim.pids(1);
    sim.update(
        1,
        spec(|d| (d.name, d.processes) = ("queue".to_owned(), Some(2))),
    );
    sim.settle();
    assert_eq!(sim.take_effects(), []);
    assert_eq!((sim.pids(1), sim.view(1).revision), (pids, 2));
    assert!(sim.view(1).converged);
}

#[test]
fn raising_processes_starts_the_new_ones_only() {
    let mut sim = running(2);
    let pids = sim.pids(1);
    sim.update(1, spec(|d| d.processes = Some(4)));
    assert_eq!(sim.states(1), [Running, Running, Starting, Starting]);
    sim.settle();
    assert_eq!(sim.states(1), [Running; 4]);
    assert_eq!(sim.pids(1)[..2], pids);
}

#[test]
fn lowering_processes_stops_the_highest_only() {
    let mut sim = running(4);
    let pids = sim.pids(1);
    sim.update(1, spec(|d| d.processes = Some(2)));
    assert_eq!(sim.states(1), [Running, Running, Stopping, Stopping]);
    assert!(!sim.view(1).converged);
    sim.settle();
    assert_eq!(sim.pids(1), pids[..2]);
    assert!(sim.view(1).converged);
}

#[test]
fn a_slot_that_comes_back_while_it_stops_waits_for_its_old_tree() {
    let mut sim = running(2);
    sim.update(1, spec(|d| d.processes = Some(1)));
    sim.update(1, spec(|d| d.processes = Some(2)));
    assert_eq!(sim.states(1), [Running, Stopping]);
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2]);
}

#[test]
fn a_lowered_slot_in_backoff_is_gone_at_once() {
    let mut sim = running(2);
    sim.end(1, 1, Exit::Code(1));
    sim.pass(MS);
    sim.end(1, 1, Exit::Code(1));
    assert_eq!(sim.states(1), [Running, Backoff]);
    sim.update(1, spec(|_| {}));
    assert_eq!(sim.states(1), [Running]);
    assert_eq!(sim.engine.next_deadline(), None);
}

#[test]
fn an_equal_desire_is_nothing_new_and_an_older_one_too() {
    let mut sim = running(2);
    let old = sim.want.clone();
    sim.update(1, spec(|d| d.processes = Some(3)));
    sim.settle();
    let before = sim.view(1);
    sim.take_effects();
    sim.desire();
    assert_eq!(sim.effects.len(), 0);
    sim.feed(Input::Desired(old.into_values().collect()));
    assert_eq!((sim.take_effects(), sim.view(1)), (vec![], before));
}
