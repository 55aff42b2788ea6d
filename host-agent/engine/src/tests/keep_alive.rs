//! Keeping alive: what follows an end nobody asked for.

use std::time::Duration;

use zhylon_shared::state::InstanceState::{Backoff, Running, Starting};

use super::sim::*;
use crate::effect::Effect;
use crate::input::*;

const CRASH: Exit = Exit::Code(1);
const CLEAN: Exit = Exit::Code(0);

#[test]
fn it_is_running_after_start_seconds() {
    let mut sim = Sim::with(spec(|d| d.start_seconds = Some(3)));
    sim.pass(SEC * 3 - MS);
    assert_eq!(sim.states(1), [Starting]);
    assert_eq!(sim.view(1).message, "instance 0 is STARTING");
    sim.pass(MS);
    assert_eq!(sim.states(1), [Running]);
    assert!(sim.view(1).converged);
}

#[test]
fn start_seconds_count_from_the_spawn_that_is_done() {
    let habit = Habit {
        spawn_takes: SEC * 2,
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|_| {}), habit);
    sim.pass(SEC * 3 - MS);
    assert_eq!(sim.states(1), [Starting]);
    sim.pass(MS);
    assert_eq!(sim.states(1), [Running]);
}

#[test]
fn without_start_seconds_it_is_running_at_once() {
    let mut sim = Sim::with(spec(|d| d.start_seconds = Some(0)));
    assert_eq!((sim.states(1), sim.pids(1)), (vec![Starting], vec![0]));
    sim.pass(Duration::ZERO);
    assert_eq!(sim.states(1), [Running]);
    assert_ne!(sim.pids(1), [0]);
}

#[test]
fn it_is_respawned_at_once_if_it_had_been_running() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.pass(SEC * 2);
    let old = sim.run(1, 0);
    sim.end(1, 0, Exit::Signal(9));
    let new = sim.run(1, 0);
    assert!(new.generation > old.generation);
    assert_eq!(sim.view(1).instances[0].restart_count, 1);
    assert_eq!(
        sim.view(1).instances[0].last_exit.clone().unwrap().message,
        "signal 9"
    );
    sim.settle();
    assert_eq!(sim.states(1), [Running]);
}

#[test]
fn an_end_after_start_seconds_is_one_of_a_running_instance_even_if_no_deadline_was_handed_in() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.pass(Duration::ZERO);
    sim.now = sim.now + SEC;
    sim.end(1, 0, CRASH);
    assert_eq!(sim.states(1), [Starting]);
    assert_eq!(sim.view(1).instances[0].next_start, None);
}

#[test]
fn failed_starts_are_delayed_from_one_second_doubling_to_sixty() {
    let mut sim = Sim::behaving(spec(|_| {}), Habit::ending(MS * 100, CRASH));
    sim.pass(SEC * 400);
    let expected = [1, 2, 4, 8, 16, 32, 60, 60, 60];
    let pauses = sim.pauses();
    assert!(pauses.len() >= expected.len(), "{pauses:?}");
    for (pause, expected) in pauses.iter().zip(expected) {
        let pause = *pause - MS * 100;
        let expected = SEC * expected;
        assert!(
            pause >= expected * 4 / 5 && pause <= expected * 6 / 5,
            "{pauses:?}"
        );
    }
    assert!(
        pauses.windows(2).any(|pair| pair[0] * 2 != pair[1]),
        "no jitter: {pauses:?}"
    );
}

#[test]
fn backoff_says_why_and_when() {
    let habit = Habit {
        spawn_fails: Some(no_file()),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|_| {}), habit);
    sim.pass(MS);
    assert_eq!(sim.states(1), [Backoff]);
    let view = sim.view(1);
    let error = no_file().message;
    assert_eq!(
        view.message,
        format!("instance 0 failed and is tried again: {error}")
    );
    let last = view.instances[0].last_exit.clone().unwrap();
    assert_eq!((last.exit, last.message), (None, error));
    assert_eq!(view.instances[0].next_start, sim.engine.next_deadline());
    assert!(!view.converged);
}

#[test]
fn the_delays_begin_anew_after_sixty_seconds_of_running() {
    let mut sim = Sim::behaving(spec(|_| {}), Habit::ending(MS * 100, CRASH));
    sim.pass(SEC * 50);
    assert_eq!(sim.states(1), [Backoff]);
    // Four or more delays so far; now it recovers for a while.
    sim.habits.insert(id(1), Habit::ending(SEC * 61, CRASH));
    while sim.states(1) != [Running] {
        sim.pass(MS * 100);
    }
    sim.habits.insert(id(1), Habit::ending(MS * 100, CRASH));
    sim.effects.clear();
    sim.pass(SEC * 64);
    let pauses = sim.pauses();
    assert!(
        pauses[0] >= MS * 900 && pauses[0] <= MS * 1300,
        "{pauses:?}"
    );
}

#[test]
fn less_than_sixty_seconds_of_running_do_not_reset_the_delays() {
    let mut sim = Sim::behaving(spec(|_| {}), Habit::ending(MS * 100, CRASH));
    sim.pass(SEC * 12);
    sim.habits.insert(id(1), Habit::ending(SEC * 50, CRASH));
    while sim.states(1) != [Running] {
        sim.pass(MS * 100);
    }
    sim.habits.insert(id(1), Habit::ending(MS * 100, CRASH));
    sim.effects.clear();
    sim.pass(SEC * 100);
    assert!(sim.pauses()[0] > SEC * 3, "{:?}", sim.pauses());
}

#[test]
fn more_than_ten_failed_ends_in_a_minute_are_a_crash_loop() {
    let looping = spec(|d| d.start_seconds = Some(0));
    let mut sim = Sim::behaving(looping, Habit::ending(MS * 10, CRASH));
    sim.pass(SEC * 300);
    let pauses = sim.pauses();
    assert!(
        pauses[..10].iter().all(|pause| *pause == MS * 10),
        "{pauses:?}"
    );
    let delayed: Vec<u64> = pauses[10..].iter().map(|pause| pause.as_secs()).collect();
    for (pause, expected) in delayed.iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        assert!(
            (expected * 4 / 5..=expected * 6 / 5).contains(pause),
            "{pauses:?}"
        );
    }
    assert_eq!(sim.states(1), [Backoff]);
}

#[test]
fn ten_failed_ends_a_minute_are_none() {
    let mut sim = Sim::behaving(spec(|_| {}), Habit::ending(SEC * 6, CRASH));
    sim.pass(SEC * 600);
    assert!(
        sim.pauses().iter().all(|pause| *pause == SEC * 6),
        "{:?}",
        sim.pauses()
    );
}

#[test]
fn what_is_left_of_a_tree_has_five_seconds_before_the_respawn() {
    let habit = Habit {
        orphans: Orphans::Ignore,
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|_| {}), habit);
    sim.pass(SEC * 2);
    let run = sim.run(1, 0);
    sim.take_effects();
    sim.end(1, 0, CRASH);
    assert_eq!(sim.take_effects(), [Effect::SignalTree { run, signal: 15 }]);
    assert_eq!((sim.states(1), sim.pids(1)), (vec![Starting], vec![0]));
    sim.pass(SEC * 5 - MS);
    assert_eq!(sim.take_effects(), []);
    sim.pass(MS);
    let effects = sim.take_effects();
    assert_eq!(effects[0], Effect::KillTree { run });
    assert!(matches!(effects[1], Effect::Spawn { .. }));
    assert_eq!(effects.len(), 2);
}

#[test]
fn a_shorter_grace_than_five_seconds_is_kept() {
    let habit = Habit {
        orphans: Orphans::Ignore,
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|d| d.stop_seconds = Some(2)), habit);
    sim.pass(SEC * 2);
    sim.end(1, 0, CRASH);
    sim.take_effects();
    sim.pass(SEC * 2);
    assert_eq!(sim.take_effects().len(), 2);
}

#[test]
fn the_delay_of_a_failure_counts_while_its_tree_goes() {
    let orphans = Orphans::Obey(MS * 500);
    let habit = Habit {
        orphans,
        ends: Some((MS * 10, CRASH)),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|_| {}), habit);
    sim.pass(MS * 20);
    let next_start = sim.view(1).instances[0].next_start.unwrap();
    assert_eq!(sim.states(1), [Backoff]);
    sim.pass(MS * 600);
    assert_eq!(sim.view(1).instances[0].next_start, Some(next_start));
    assert!(sim.children.is_empty());
}

#[test]
fn instances_are_kept_alive_each_by_itself() {
    let mut sim = Sim::with(spec(|d| d.processes = Some(3)));
    sim.pass(SEC * 2);
    let pids = sim.pids(1);
    sim.end(1, 1, CRASH);
    sim.settle();
    assert_eq!(sim.states(1), [Running; 3]);
    let now = sim.pids(1);
    assert_eq!((now[0], now[2]), (pids[0], pids[2]));
    assert_ne!(now[1], pids[1]);
}

#[test]
fn what_is_told_of_an_older_run_is_dropped() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.pass(SEC * 2);
    let old = sim.run(1, 0);
    sim.end(1, 0, CRASH);
    sim.pass(SEC * 2);
    let before = sim.view(1);
    sim.take_effects();
    let error = no_file();
    sim.feed(Input::Exited {
        run: old,
        exit: CLEAN,
        tree_gone: true,
    });
    sim.feed(Input::TreeGone { run: old });
    sim.feed(Input::Spawned { run: old, pid: 5 });
    sim.feed(Input::SpawnFailed { run: old, error });
    assert_eq!(sim.view(1), before);
    assert_eq!(sim.take_effects(), []);
}
