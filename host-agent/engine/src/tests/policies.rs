//! What restart policies make of an end.

use zhylon_shared::spec::{RestartPolicy, SpecDraft};
use zhylon_shared::state::InstanceState::{Backoff, Exited, Fatal, Running, Starting};

use super::sim::*;
use crate::input::*;

const CRASH: Exit = Exit::Code(1);
const CLEAN: Exit = Exit::Code(0);

fn policy(policy: RestartPolicy) -> impl Fn(&mut SpecDraft) {
    move |draft| draft.restart_policy = Some(policy)
}

#[test]
fn max_retries_lead_to_fatal() {
    let mut sim = Sim::behaving(spec(|d| d.max_retries = 3), Habit::ending(MS * 10, CRASH));
    sim.settle();
    assert_eq!(sim.states(1), [Fatal]);
    // The first start and three retries.
    assert_eq!(sim.spawn_times().len(), 4);
    assert_eq!(
        sim.view(1).message,
        "instance 0 failed too often: exit code 1"
    );
    assert!(!sim.view(1).converged);
}

#[test]
fn fatal_is_tried_again_at_a_newer_intent_and_its_past_is_forgiven() {
    let mut sim = Sim::behaving(spec(|d| d.max_retries = 2), Habit::ending(MS * 10, CRASH));
    sim.settle();
    sim.effects.clear();
    sim.desire();
    sim.settle();
    assert_eq!(sim.spawn_times().len(), 0);
    sim.api_start(1);
    sim.settle();
    assert_eq!(sim.spawn_times().len(), 3);
    assert_eq!(sim.view(1).instances[0].restart_count, 2);
}

#[test]
fn on_failure_a_clean_end_is_final() {
    for after in [MS * 10, SEC * 5] {
        let on_failure = spec(policy(RestartPolicy::OnFailure));
        let mut sim = Sim::behaving(on_failure, Habit::ending(after, CLEAN));
        sim.settle();
        assert_eq!(sim.states(1), [Exited]);
        assert!(sim.view(1).converged);
        assert_eq!(sim.spawn_times().len(), 1);
    }
}

#[test]
fn on_failure_a_failure_is_respawned() {
    for exit in [CRASH, Exit::Signal(15), Exit::Unknown] {
        let mut sim = Sim::with(spec(policy(RestartPolicy::OnFailure)));
        sim.pass(SEC * 2);
        sim.end(1, 0, exit);
        assert_eq!(sim.states(1), [Starting]);
        sim.pass(MS);
        sim.end(1, 0, exit);
        assert_eq!(sim.states(1), [Backoff], "{exit:?}");
    }
}

#[test]
fn never_means_never() {
    for exit in [CRASH, CLEAN, Exit::Signal(11), Exit::Unknown] {
        let mut sim = Sim::behaving(
            spec(policy(RestartPolicy::Never)),
            Habit::ending(SEC * 5, exit),
        );
        sim.settle();
        assert_eq!(sim.states(1), [Exited]);
        assert_eq!(sim.spawn_times().len(), 1);
    }
}

#[test]
fn what_never_ran_is_tried_again_under_every_policy() {
    for restart in [
        RestartPolicy::Always,
        RestartPolicy::OnFailure,
        RestartPolicy::Never,
    ] {
        let habit = Habit {
            spawn_fails: Some(no_file()),
            ..Habit::default()
        };
        let mut sim = Sim::behaving(spec(policy(restart)), habit);
        sim.pass(MS);
        assert_eq!(sim.states(1), [Backoff]);
    }
}

#[test]
fn an_end_nobody_saw_is_a_recycle() {
    let mut sim = Sim::with(spec(|d| d.start_seconds = Some(0)));
    sim.pass(MS);
    for _ in 0..20 {
        sim.end(1, 0, Exit::Unknown);
        assert_eq!(sim.states(1), [Starting]);
        sim.pass(MS * 250);
        assert_eq!(sim.states(1), [Running]);
    }
    let last = sim.view(1).instances[0].last_exit.clone().unwrap();
    assert_eq!(last.message, "unknown (adopted)");
}

#[test]
fn a_clean_end_after_running_is_a_recycle_and_never_escalates() {
    let recycling = spec(|d| d.start_seconds = Some(0));
    let mut sim = Sim::behaving(recycling, Habit::ending(MS * 10, CLEAN));
    sim.pass(SEC * 100);
    let pauses = sim.pauses();
    assert!(pauses.len() >= 399, "{}", pauses.len());
    assert!(pauses.iter().all(|pause| *pause == MS * 250), "{pauses:?}");
}

#[test]
fn a_recycle_that_ran_long_enough_restarts_at_once() {
    let mut sim = Sim::behaving(spec(|_| {}), Habit::ending(SEC * 2, CLEAN));
    sim.pass(SEC * 100);
    assert!(
        sim.pauses().iter().all(|pause| *pause == SEC * 2),
        "{:?}",
        sim.pauses()
    );
}

#[test]
fn the_pause_of_a_recycle_is_shown_as_starting() {
    let recycling = spec(|d| d.start_seconds = Some(0));
    let mut sim = Sim::behaving(recycling, Habit::ending(MS * 10, CLEAN));
    sim.pass(MS * 100);
    assert_eq!((sim.states(1), sim.pids(1)), (vec![Starting], vec![0]));
}

#[test]
fn a_clean_end_before_running_is_a_failed_start() {
    let mut sim = Sim::behaving(spec(|_| {}), Habit::ending(MS * 10, CLEAN));
    sim.pass(MS * 100);
    assert_eq!(sim.states(1), [Backoff]);
}
