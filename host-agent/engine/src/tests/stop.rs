//! Stopping: the main process is asked, then the rest of its tree, then all are killed; "stopped" means nothing left.

use zhylon_shared::signal::StopSignal;
use zhylon_shared::state::InstanceState::{Running, Stopped, Stopping};

use super::sim::*;
use crate::effect::Effect;
use crate::input::*;

fn running(habit: Habit) -> Sim {
    let mut sim = Sim::behaving(spec(|_| {}), habit);
    sim.pass(SEC * 2);
    assert_eq!(sim.states(1), [Running]);
    sim.take_effects();
    sim
}

#[test]
fn the_main_process_is_asked_and_ends() {
    let mut sim = running(Habit::default());
    let run = sim.run(1, 0);
    sim.api_stop(1);
    assert_eq!(sim.take_effects(), [Effect::Signal { run, signal: 15 }]);
    assert_eq!(sim.states(1), [Stopping]);
    assert_eq!(sim.view(1).message, "instance 0 is STOPPING");
    sim.pass(MS * 100);
    assert_eq!(sim.states(1), [Stopped]);
    let last = sim.view(1).instances[0].last_exit.clone().unwrap();
    assert_eq!(
        (last.message.as_str(), last.killed_after_grace),
        ("signal 15", false)
    );
    assert!(sim.view(1).converged);
    assert_eq!(sim.pids(1), [0]);
    assert_eq!(sim.take_effects(), []);
}

#[test]
fn who_outlives_the_grace_is_killed_with_its_tree() {
    let mut sim = running(Habit {
        obeys: None,
        ..Habit::default()
    });
    let run = sim.run(1, 0);
    sim.api_stop(1);
    sim.pass(SEC * 10 - MS);
    assert_eq!(sim.states(1), [Stopping]);
    sim.pass(MS);
    let effects = [Effect::Signal { run, signal: 15 }, Effect::KillTree { run }];
    assert_eq!(sim.take_effects(), effects);
    assert_eq!(sim.states(1), [Stopped]);
    let last = sim.view(1).instances[0].last_exit.clone().unwrap();
    assert_eq!(last.message, "signal 9 (killed after its grace)");
    assert!(last.killed_after_grace);
}

#[test]
fn what_is_left_of_the_tree_gets_the_signal_and_the_rest_of_the_grace() {
    let mut sim = running(Habit {
        obeys: Some(SEC * 4),
        orphans: Orphans::Ignore,
        ..Habit::default()
    });
    let run = sim.run(1, 0);
    sim.api_stop(1);
    sim.pass(SEC * 4);
    let signals = [
        Effect::Signal { run, signal: 15 },
        Effect::SignalTree { run, signal: 15 },
    ];
    assert_eq!(sim.take_effects(), signals);
    sim.pass(SEC * 6 - MS);
    assert_eq!((sim.states(1), sim.pids(1)), (vec![Stopping], vec![0]));
    sim.pass(MS);
    assert_eq!(sim.take_effects(), [Effect::KillTree { run }]);
    assert_eq!(sim.states(1), [Stopped]);
    let last = sim.view(1).instances[0].last_exit.clone().unwrap();
    assert!(last.killed_after_grace);
    assert_eq!(
        last.message,
        "signal 15 (the rest of its tree was killed after its grace)"
    );
}

#[test]
fn stopped_is_said_only_when_the_tree_is_gone() {
    let orphans = Orphans::Obey(SEC * 3);
    let mut sim = running(Habit {
        orphans,
        ..Habit::default()
    });
    sim.api_stop(1);
    sim.pass(SEC * 3);
    assert_eq!(sim.states(1), [Stopping]);
    sim.pass(MS * 100);
    assert_eq!(sim.states(1), [Stopped]);
}

#[test]
fn with_kill_as_its_signal_nothing_was_killed_after_its_grace() {
    let kill = spec(|d| d.stop_signal = Some(StopSignal::Kill));
    let habit = Habit {
        orphans: Orphans::Ignore,
        ..Habit::default()
    };
    let mut sim = Sim::behaving(kill, habit);
    sim.pass(SEC * 2);
    sim.api_stop(1);
    sim.pass(MS);
    assert_eq!(sim.states(1), [Stopped]);
    let last = sim.view(1).instances[0].last_exit.clone().unwrap();
    assert_eq!(
        (last.message.as_str(), last.killed_after_grace),
        ("signal 9", false)
    );
}

#[test]
fn even_a_process_that_kill_does_not_end_at_once_was_not_killed_after_its_grace() {
    let kill = spec(|d| d.stop_signal = Some(StopSignal::Kill));
    let mut sim = Sim::with(kill);
    sim.pass(SEC * 2);
    let run = sim.run(1, 0);
    // Stuck in the kernel: the signal is sent, the end comes only after the grace.
    sim.engine
        .handle(sim.now, Input::Shutdown { stop_daemons: true });
    sim.engine
        .handle(sim.now + SEC * 11, Input::DeadlineReached);
    let exit = Exit::Signal(9);
    sim.engine.handle(
        sim.now + SEC * 12,
        Input::Exited {
            run,
            exit,
            tree_gone: true,
        },
    );
    assert!(
        !sim.view(1).instances[0]
            .last_exit
            .clone()
            .unwrap()
            .killed_after_grace
    );
}

#[test]
fn without_grace_it_is_asked_and_killed_in_one_breath() {
    let habit = Habit {
        obeys: None,
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|d| d.stop_seconds = Some(0)), habit);
    sim.pass(SEC * 2);
    let run = sim.run(1, 0);
    sim.take_effects();
    sim.api_stop(1);
    let effects = [Effect::Signal { run, signal: 15 }, Effect::KillTree { run }];
    assert_eq!(sim.take_effects(), effects);
}

#[test]
fn a_spawn_in_flight_is_stopped_once_it_is_there() {
    let habit = Habit {
        spawn_takes: SEC * 3,
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|_| {}), habit);
    let run = sim.run(1, 0);
    sim.take_effects();
    sim.api_stop(1);
    assert_eq!(
        (sim.states(1), sim.take_effects()),
        (vec![Stopping], vec![])
    );
    sim.pass(SEC * 3);
    assert_eq!(sim.take_effects(), [Effect::Signal { run, signal: 15 }]);
    sim.settle();
    assert_eq!(sim.states(1), [Stopped]);
    assert_eq!(sim.take_effects(), []);
}

#[test]
fn a_spawn_in_flight_that_fails_is_stopped_and_no_failure() {
    let habit = Habit {
        spawn_takes: SEC,
        spawn_fails: Some(no_file()),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|_| {}), habit);
    sim.api_stop(1);
    sim.settle();
    assert_eq!(sim.states(1), [Stopped]);
    assert_eq!(sim.spawn_times().len(), 1);
}

#[test]
fn a_start_during_a_stop_waits_for_the_old_tree() {
    let orphans = Orphans::Obey(SEC * 2);
    let mut sim = running(Habit {
        orphans,
        ..Habit::default()
    });
    let old = sim.run(1, 0);
    sim.api_stop(1);
    sim.api_start(1);
    sim.pass(SEC);
    assert_eq!((sim.states(1), sim.run(1, 0)), (vec![Stopping], old));
    sim.settle();
    assert_eq!(sim.states(1), [Running]);
    assert!(sim.run(1, 0).generation > old.generation);
}

#[test]
fn the_promises_of_the_run_hold_whatever_became_of_its_spec() {
    let mut sim = running(Habit {
        obeys: None,
        ..Habit::default()
    });
    let run = sim.run(1, 0);
    sim.api_stop(1);
    sim.take_effects();
    sim.update(1, spec(|d| d.stop_seconds = Some(1)));
    sim.pass(SEC * 9);
    assert_eq!(sim.take_effects(), []);
    sim.pass(SEC);
    assert_eq!(sim.take_effects(), [Effect::KillTree { run }]);
}

#[test]
fn an_end_that_was_asked_for_is_no_failure() {
    let mut sim = running(Habit::default());
    for _ in 0..30 {
        sim.api_stop(1);
        sim.pass(SEC);
        sim.api_start(1);
        sim.pass(SEC);
    }
    assert_eq!(sim.states(1), [Running]);
    assert_eq!(sim.view(1).instances[0].restart_count, 0);
}

#[test]
fn a_tree_that_is_told_gone_before_its_main_process_is_believed() {
    let mut sim = running(Habit {
        obeys: None,
        ..Habit::default()
    });
    let run = sim.run(1, 0);
    sim.api_stop(1);
    sim.feed(Input::TreeGone { run });
    assert_eq!(sim.states(1), [Stopping]);
    let exit = Exit::Signal(15);
    sim.children.clear();
    sim.feed(Input::Exited {
        run,
        exit,
        tree_gone: false,
    });
    assert_eq!(sim.states(1), [Stopped]);
}

#[test]
fn what_a_start_that_was_given_up_left_behind_has_all_the_grace() {
    let mut sim = Sim::behaving(
        spec(|_| {}),
        Habit {
            spawn_takes: SEC * 3600,
            orphans: Orphans::Ignore,
            ..Habit::default()
        },
    );
    sim.api_stop(1);
    let run = sim.run(1, 0);
    sim.deliver(Input::Exited {
        run,
        exit: Exit::Code(0),
        tree_gone: false,
    });
    let signals = |effects: Vec<Effect>| {
        let signal = |effect| match effect {
            Effect::SignalTree { signal, .. } => Some(signal),
            Effect::KillTree { .. } => Some(9),
            _ => None,
        };
        effects.into_iter().filter_map(signal).collect::<Vec<_>>()
    };
    assert_eq!(signals(sim.take_effects()), [15]);
    sim.pass(SEC * 10 - MS);
    assert_eq!(signals(sim.take_effects()), [0; 0]);
    sim.pass(MS);
    assert_eq!(signals(sim.take_effects()), [9]);
    assert_eq!(sim.states(1), [Stopped]);
}
