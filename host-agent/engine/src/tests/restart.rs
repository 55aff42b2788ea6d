//! Restarts of the api-server: each generation is reached once and settled once.

use zhylon_shared::spec::RestartPolicy;
use zhylon_shared::state::InstanceState::{Running, Stopping};
use zhylon_shared::state::RestartOutcome::{Failed, Succeeded, Superseded};
use zhylon_shared::state::{DesiredState, RestartStrategy};

use super::sim::*;
use crate::effect::Effect;
use crate::input::*;

fn running(habit: Habit) -> Sim {
    let mut sim = Sim::behaving(spec(|d| d.processes = Some(2)), habit);
    sim.pass(SEC * 2);
    assert_eq!(sim.states(1), [Running; 2]);
    sim.take_effects();
    sim
}

#[test]
fn all_instances_are_replaced_and_it_succeeds_when_all_run() {
    let mut sim = running(Habit::default());
    let pids = sim.pids(1);
    sim.api_restart(1);
    assert_eq!(sim.states(1), [Stopping; 2]);
    sim.pass(SEC);
    assert_eq!(sim.outcome(1), None);
    assert_eq!(sim.view(1).message, "instance 0 is STARTING");
    sim.pass(MS * 100);
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
    assert!(sim.view(1).converged);
    assert!(sim.pids(1).iter().all(|pid| !pids.contains(pid)));
    assert!(
        sim.children
            .values()
            .all(|child| child.restart_generation == 1)
    );
    sim.take_effects();
    sim.settle();
    assert_eq!(sim.take_effects(), []);
}

#[test]
fn it_fails_at_the_first_backoff_and_is_not_resumed() {
    let mut sim = running(Habit::default());
    sim.habits.get_mut(&id(1)).unwrap().ends = Some((MS * 100, Exit::Code(1)));
    sim.api_restart(1);
    sim.pass(MS * 300);
    assert_eq!(sim.outcome(1), Some((1, Failed)));
    sim.habits.get_mut(&id(1)).unwrap().ends = None;
    sim.settle();
    assert_eq!(
        (sim.states(1), sim.outcome(1)),
        (vec![Running; 2], Some((1, Failed)))
    );
    assert!(sim.view(1).converged);
}

#[test]
fn it_fails_where_an_instance_exits_for_good() {
    let never = spec(|d| d.restart_policy = Some(RestartPolicy::Never));
    let mut sim = Sim::with(never);
    sim.pass(SEC * 2);
    sim.habits.get_mut(&id(1)).unwrap().ends = Some((MS * 100, Exit::Code(0)));
    sim.api_restart(1);
    sim.settle();
    assert_eq!(sim.outcome(1), Some((1, Failed)));
}

#[test]
fn it_fails_when_it_takes_too_long() {
    let mut sim = running(Habit {
        obeys: None,
        ..Habit::default()
    });
    sim.habits.get_mut(&id(1)).unwrap().spawn_takes = SEC * 3600;
    sim.api_restart(1);
    // 10 s to stop, 1 s to start, and the margin.
    sim.pass(SEC * 41 - MS);
    assert_eq!(sim.outcome(1), None);
    sim.pass(MS);
    assert_eq!(sim.outcome(1), Some((1, Failed)));
}

#[test]
fn a_stop_supersedes_it() {
    let mut sim = running(Habit::default());
    sim.api_restart(1);
    sim.api_stop(1);
    assert_eq!(sim.outcome(1), Some((1, Superseded)));
    sim.settle();
    sim.api_start(1);
    sim.settle();
    assert_eq!(sim.outcome(1), Some((1, Superseded)));
}

#[test]
fn a_local_stop_supersedes_it_too() {
    let mut sim = running(Habit::default());
    sim.api_restart(1);
    sim.command(Action::Stop, &[1]);
    assert_eq!(sim.outcome(1), Some((1, Superseded)));

    let mut sim = running(Habit::default());
    sim.api_restart(1);
    sim.command_one(Action::Stop, 1, 0);
    assert_eq!(sim.outcome(1), Some((1, Superseded)));
}

/// Only a rolling restart that went wrong leaves a rollout that has stopped.
fn stopped_rollouts(sim: &Sim) -> usize {
    let stopped = |(_, effect): &&(_, Effect)| matches!(effect, Effect::RolloutStopped { .. });
    sim.effects.iter().filter(stopped).count()
}

#[test]
fn what_is_superseded_or_fails_at_once_stops_no_rollout() {
    // Superseded while the other instance is still the old one.
    let mut sim = running(Habit::default());
    sim.api_restart(1);
    sim.command_one(Action::Stop, 1, 0);
    assert_eq!(sim.outcome(1), Some((1, Superseded)));
    assert_eq!(stopped_rollouts(&sim), 0);
    // Failed, since one ran and ended for good, while the other, that does not end yet, is still the old one.
    let never = spec(|d| (d.processes, d.restart_policy) = (Some(2), Some(RestartPolicy::Never)));
    let stubborn = Habit {
        obeys: None,
        ..Habit::default()
    };
    let mut sim = Sim::behaving(never, stubborn);
    sim.pass(SEC * 2);
    sim.api_restart(1);
    sim.end(1, 0, Exit::Signal(15));
    sim.pass(SEC * 2);
    assert_eq!(sim.states(1), [Running, Stopping]);
    assert_eq!(sim.outcome(1), None);
    sim.end(1, 0, Exit::Code(0));
    assert_eq!(sim.outcome(1), Some((1, Failed)));
    assert_eq!(stopped_rollouts(&sim), 0);
}

#[test]
fn a_newer_one_supersedes_it() {
    let mut sim = running(Habit::default());
    sim.api_restart(1);
    sim.pass(MS * 500);
    sim.take_effects();
    sim.api_restart(1);
    let settled = Effect::Settled {
        daemon: id(1),
        restart_generation: 1,
        outcome: Superseded,
    };
    assert_eq!(sim.take_effects()[0], settled);
    sim.settle();
    assert_eq!(sim.outcome(1), Some((2, Succeeded)));
    assert!(
        sim.children
            .values()
            .all(|child| child.restart_generation == 2)
    );
}

#[test]
fn a_delete_supersedes_it() {
    let mut sim = running(Habit::default());
    sim.api_restart(1);
    sim.take_effects();
    sim.delete(1);
    let settled = Effect::Settled {
        daemon: id(1),
        restart_generation: 1,
        outcome: Superseded,
    };
    assert_eq!(sim.take_effects(), [settled]);
}

#[test]
fn it_starts_what_was_stopped_and_what_gave_up() {
    let habit = Habit {
        spawn_fails: Some(no_file()),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|d| d.max_retries = 1), habit);
    sim.settle();
    sim.habits.get_mut(&id(1)).unwrap().spawn_fails = None;
    sim.api_restart(1);
    sim.settle();
    assert_eq!(
        (sim.states(1), sim.outcome(1)),
        (vec![Running], Some((1, Succeeded)))
    );
    sim.api_stop(1);
    sim.settle();
    sim.api_restart(1);
    sim.settle();
    assert_eq!(
        (sim.states(1), sim.outcome(1)),
        (vec![Running], Some((2, Succeeded)))
    );
}

#[test]
fn a_new_daemon_has_its_restart_behind_it_once_it_runs() {
    let mut sim = Sim::new();
    sim.want.insert(
        id(1),
        DesiredDaemon {
            id: id(1),
            spec: spec(|_| {}),
            state: DesiredState::Running,
            intent_generation: 5,
            restart_generation: 3,
            restart_strategy: RestartStrategy::AllAtOnce,
            revision: 9,
            claim: Claim::Written,
        },
    );
    sim.desire();
    assert_eq!(sim.outcome(1), None);
    sim.settle();
    assert_eq!(
        (sim.outcome(1), sim.spawn_times().len()),
        (Some((3, Succeeded)), 1)
    );
}

#[test]
fn together_with_a_new_spec_it_waits_for_the_check_and_replaces_once() {
    let mut sim = running(Habit::default());
    sim.write(1, |daemon| {
        daemon.spec = spec(|d| (d.command, d.processes) = ("better".to_owned(), Some(2)));
        daemon.intent_generation += 1;
        daemon.restart_generation += 1;
    });
    assert!(matches!(sim.take_effects()[..], [Effect::Check { .. }]));
    sim.settle();
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
    let spawns = sim
        .take_effects()
        .into_iter()
        .filter(|e| matches!(e, Effect::Spawn { .. }));
    assert_eq!(spawns.count(), 2);
}

#[test]
fn it_fails_with_a_new_spec_that_does_not_resolve_and_the_old_runs_on() {
    let mut sim = running(Habit::default());
    let pids = sim.pids(1);
    sim.habits.get_mut(&id(1)).unwrap().resolves = Err(no_file());
    sim.update(
        1,
        spec(|d| (d.command, d.processes) = ("better".to_owned(), Some(2))),
    );
    sim.pass(SEC);
    sim.api_restart(1);
    sim.pass(SEC);
    assert_eq!((sim.pids(1), sim.outcome(1)), (pids, Some((1, Failed))));
}

#[test]
fn the_outcome_is_persisted_before_it_is_told() {
    let mut sim = running(Habit::default());
    sim.api_restart(1);
    sim.settle();
    let told = |effect: &Effect| matches!(effect, Effect::Settled { .. });
    let at = sim
        .effects
        .iter()
        .position(|(_, effect)| told(effect))
        .unwrap();
    assert_eq!(sim.effects[at + 1].1, Effect::Changed { daemon: id(1) });
}
