//! Rolling: one after the other, each once those before it run, and no further than the first that fails.

use zhylon_shared::spec::RestartPolicy;
use zhylon_shared::state::InstanceState::{Backoff, Running, Starting, Stopping};
use zhylon_shared::state::RestartOutcome::{Aborted, Failed, Succeeded, Superseded};
use zhylon_shared::state::RestartStrategy::Rolling;

use super::sim::*;
use crate::effect::Effect;
use crate::input::*;

/// Three instances that run; each takes 100 ms to end, 1 s to be RUNNING.
fn three() -> Sim {
    let mut sim = Sim::with(spec(|d| d.processes = Some(3)));
    sim.pass(SEC * 2);
    assert_eq!(sim.states(1), [Running; 3]);
    sim.take_effects();
    sim
}

fn better() -> std::sync::Arc<zhylon_shared::spec::DaemonSpec> {
    spec(|d| (d.command, d.processes) = ("better".to_owned(), Some(3)))
}

/// What the instances were made of.
fn commands(sim: &Sim, n: u8) -> Vec<String> {
    let of = sim
        .children
        .iter()
        .filter(|(run, _)| run.slot.daemon == id(n));
    let mut of: Vec<_> = of
        .map(|(run, child)| (run.slot.index, child.spec.command().to_owned()))
        .collect();
    of.sort();
    of.into_iter().map(|(_, command)| command).collect()
}

fn fails_from_now(sim: &mut Sim) {
    sim.habits.entry(id(1)).or_default().ends = Some((MS * 100, Exit::Code(3)));
}

fn works_from_now(sim: &mut Sim) {
    sim.habits.entry(id(1)).or_default().ends = None;
}

#[test]
fn a_changed_spec_replaces_one_after_the_other() {
    let mut sim = three();
    let pids = sim.pids(1);
    sim.update(1, better());
    sim.pass(MS * 5);
    assert_eq!(sim.states(1), [Stopping, Running, Running]);
    sim.pass(SEC);
    assert_eq!(sim.states(1), [Starting, Running, Running]);
    assert_eq!(sim.pids(1)[1..], pids[1..]);
    sim.pass(MS * 100);
    assert_eq!(sim.states(1), [Running, Stopping, Running]);
    sim.pass(MS * 1100);
    assert_eq!(sim.states(1), [Running, Running, Stopping]);
    assert!(!sim.view(1).converged);
    sim.pass(MS * 1100);
    assert_eq!(
        (sim.states(1), sim.view(1).converged),
        (vec![Running; 3], true)
    );
    assert_eq!(commands(&sim, 1), ["better"; 3]);
    sim.take_effects();
    sim.settle();
    assert_eq!(sim.take_effects(), []);
}

#[test]
fn a_rolling_restart_replaces_one_after_the_other_and_succeeds_when_all_ran() {
    let mut sim = three();
    sim.api_restart_by(1, Rolling);
    assert_eq!(sim.states(1), [Stopping, Running, Running]);
    sim.pass(MS * 1100);
    assert_eq!(sim.states(1), [Running, Stopping, Running]);
    assert_eq!(sim.outcome(1), None);
    sim.pass(MS * 2200);
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
    assert!(
        sim.children
            .values()
            .all(|child| child.restart_generation == 1)
    );
    assert!(sim.view(1).converged);
}

#[test]
fn it_stops_at_the_first_backoff_and_the_rest_keeps_its_process() {
    let mut sim = three();
    let pids = sim.pids(1);
    sim.api_restart_by(1, Rolling);
    sim.pass(MS * 1100);
    fails_from_now(&mut sim);
    sim.pass(MS * 250);
    assert_eq!(sim.states(1), [Running, Backoff, Running]);
    assert_eq!(sim.outcome(1), Some((1, Aborted)));
    let message = "rollout stopped at instance 1: exit code 3; not restarted: instance 2";
    assert_eq!(sim.view(1).message, message);
    assert_eq!(sim.pids(1)[2], pids[2]);
    // What failed goes on by its policy; that resumes nothing.
    works_from_now(&mut sim);
    sim.settle();
    assert_eq!(sim.states(1), [Running; 3]);
    assert_eq!(
        (sim.pids(1)[2], sim.outcome(1)),
        (pids[2], Some((1, Aborted)))
    );
    sim.desire();
    sim.settle();
    assert_eq!(sim.pids(1)[2], pids[2]);
}

#[test]
fn a_stopped_change_of_the_spec_stays_stopped_until_the_next_write() {
    let mut sim = three();
    let pids = sim.pids(1);
    fails_from_now(&mut sim);
    sim.update(1, better());
    sim.pass(MS * 250);
    assert_eq!(sim.states(1), [Backoff, Running, Running]);
    let message =
        "rollout stopped at instance 0: exit code 3; still of the old spec: instances 1, 2";
    assert_eq!(sim.view(1).message, message);
    works_from_now(&mut sim);
    sim.settle();
    assert_eq!(commands(&sim, 1), ["better", "serve", "serve"]);
    assert_eq!(
        (sim.pids(1)[1..].to_vec(), sim.view(1).message),
        (pids[1..].to_vec(), message.to_owned())
    );
    // Nor does the next worker go on.
    sim.kill_worker();
    sim.settle();
    assert_eq!(commands(&sim, 1), ["better", "serve", "serve"]);
    assert_eq!(sim.view(1).message, message);
    // Any write of the daemon does.
    sim.write(1, |_| {});
    sim.settle();
    assert_eq!(commands(&sim, 1), ["better"; 3]);
    assert!(sim.view(1).converged);
}

#[test]
fn a_write_that_takes_the_change_back_touches_only_what_was_changed() {
    let mut sim = three();
    let pids = sim.pids(1);
    fails_from_now(&mut sim);
    sim.update(1, better());
    sim.pass(SEC);
    works_from_now(&mut sim);
    sim.update(1, spec(|d| d.processes = Some(3)));
    sim.settle();
    assert_eq!(commands(&sim, 1), ["serve"; 3]);
    assert_eq!(sim.pids(1)[1..], pids[1..]);
    assert!(sim.view(1).converged);
}

#[test]
fn what_was_not_reached_is_respawned_as_it_was() {
    let mut sim = three();
    fails_from_now(&mut sim);
    sim.update(1, better());
    sim.pass(SEC);
    works_from_now(&mut sim);
    sim.end(1, 2, Exit::Code(1));
    sim.settle();
    assert_eq!(commands(&sim, 1), ["better", "serve", "serve"]);
}

#[test]
fn what_is_respawned_before_its_turn_counts_as_restarted() {
    let mut sim = three();
    sim.api_restart_by(1, Rolling);
    sim.end(1, 2, Exit::Code(1));
    let respawned = sim.run(1, 2);
    sim.settle();
    assert_eq!(
        (sim.run(1, 2), sim.outcome(1)),
        (respawned, Some((1, Succeeded)))
    );
}

#[test]
fn a_step_fails_when_it_does_not_run_in_time() {
    let mut sim = three();
    sim.habits.entry(id(1)).or_default().obeys = None;
    sim.habits.get_mut(&id(1)).unwrap().spawn_takes = SEC * 3600;
    sim.api_restart_by(1, Rolling);
    // 10 s of grace, 1 s to start, and the margin.
    sim.pass(SEC * 41 - MS);
    assert_eq!(sim.outcome(1), None);
    sim.pass(MS);
    assert_eq!(sim.outcome(1), Some((1, Aborted)));
    let message =
        "rollout stopped at instance 0: it did not run in time; not restarted: instances 1, 2";
    assert_eq!(sim.view(1).message, message);
}

#[test]
fn every_step_has_its_own_time() {
    let mut sim = Sim::with(spec(|d| {
        (d.processes, d.start_seconds) = (Some(4), Some(20))
    }));
    sim.pass(SEC * 30);
    sim.api_restart_by(1, Rolling);
    // Four steps of 20 s are longer than one may be.
    sim.pass(SEC * 81);
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
    // The time of a changed spec's step too.
    sim.habits.entry(id(1)).or_default().spawn_takes = SEC * 51;
    sim.update(
        1,
        spec(|d| (d.command, d.processes, d.start_seconds) = ("v2".to_owned(), Some(4), Some(20))),
    );
    sim.pass(SEC * 200);
    assert!(
        sim.view(1)
            .message
            .starts_with("rollout stopped at instance 0: it did not run in time")
    );
}

#[test]
fn a_check_that_hangs_takes_none_of_a_steps_time() {
    let mut sim = three();
    let habit = sim.habits.entry(id(1)).or_default();
    (habit.spawn_takes, habit.check_takes) = (SEC * 3500, SEC * 3480);
    sim.api_restart_by(1, Rolling);
    sim.update(1, better());
    // Long after a step would have failed that was not waiting for a check.
    sim.pass(SEC * 3479);
    assert_eq!(sim.outcome(1), None);
    sim.habits.clear();
    sim.settle();
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
    assert_eq!(commands(&sim, 1), ["better"; 3]);
}

#[test]
fn a_recycle_of_what_is_up_to_date_is_waited_for() {
    let quick = |command: &str| {
        let command = command.to_owned();
        spec(|d| (d.command, d.processes, d.start_seconds) = (command, Some(3), Some(0)))
    };
    let mut sim = Sim::with(quick("serve"));
    sim.pass(SEC * 2);
    sim.update(1, quick("better"));
    let until = |sim: &mut Sim, states: [_; 3]| {
        let reached = (0..1000).any(|_| {
            sim.pass(MS);
            sim.states(1) == states
        });
        assert!(reached, "{states:?}: {:?}", sim.states(1));
    };
    until(&mut sim, [Running, Stopping, Running]);
    // Too soon to be started again at once.
    sim.end(1, 0, Exit::Code(0));
    assert_eq!(sim.states(1), [Starting, Stopping, Running]);
    until(&mut sim, [Starting, Running, Running]);
    until(&mut sim, [Running, Running, Stopping]);
    sim.settle();
    assert_eq!(commands(&sim, 1), ["better"; 3]);
}

#[test]
fn a_step_that_ends_for_good_before_it_ran_fails_and_one_that_ran_did_its_part() {
    let once = |command: &str| {
        let command = command.to_owned();
        spec(|d| {
            (d.command, d.processes) = (command, Some(2));
            d.restart_policy = Some(RestartPolicy::Never);
        })
    };
    let mut sim = Sim::with(once("serve"));
    sim.pass(SEC * 2);
    sim.habits.entry(id(1)).or_default().ends = Some((MS * 1500, Exit::Code(0)));
    sim.api_restart_by(1, Rolling);
    sim.settle();
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
    sim.habits.get_mut(&id(1)).unwrap().ends = None;
    sim.api_start(1);
    sim.settle();
    sim.habits.get_mut(&id(1)).unwrap().ends = Some((MS * 100, Exit::Code(0)));
    sim.api_restart_by(1, Rolling);
    sim.settle();
    assert_eq!(sim.outcome(1), Some((2, Aborted)));
}

#[test]
fn what_does_not_run_has_nothing_to_lose_and_is_tried_at_once() {
    let mut sim = three();
    fails_from_now(&mut sim);
    for index in [1, 2] {
        sim.end(1, index, Exit::Code(1));
    }
    sim.pass(MS * 300);
    assert_eq!(sim.states(1), [Running, Backoff, Backoff]);
    works_from_now(&mut sim);
    sim.api_restart_by(1, Rolling);
    assert_eq!(sim.states(1), [Running, Starting, Starting]);
    sim.pass(SEC);
    assert_eq!(sim.states(1), [Stopping, Running, Running]);
    sim.settle();
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
}

#[test]
fn the_next_worker_goes_on_where_its_forerunner_was() {
    let mut sim = three();
    let pids = sim.pids(1);
    sim.api_restart_by(1, Rolling);
    sim.pass(MS * 1500);
    sim.kill_worker();
    assert_eq!(sim.pids(1)[2], pids[2]);
    sim.settle();
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
    let spawns = sim
        .effects
        .iter()
        .filter(|(_, e)| matches!(e, Effect::Spawn { .. }));
    // Twice: what the dead worker had asked to end is asked again, and what was replaced is left.
    assert_eq!(spawns.count(), 3);
}

#[test]
fn an_all_at_once_restart_overtakes_it() {
    let mut sim = three();
    sim.api_restart_by(1, Rolling);
    sim.pass(MS * 1500);
    sim.api_restart(1);
    assert_eq!(sim.settled[&id(1)], (1, Superseded));
    assert!(
        sim.states(1)
            .iter()
            .all(|state| matches!(state, Stopping | Starting))
    );
    sim.settle();
    assert_eq!(sim.outcome(1), Some((2, Succeeded)));
}

#[test]
fn a_stop_supersedes_it_and_a_start_brings_all() {
    let mut sim = three();
    sim.api_restart_by(1, Rolling);
    sim.pass(MS * 1500);
    sim.api_stop(1);
    assert_eq!(sim.outcome(1), Some((1, Superseded)));
    sim.settle();
    sim.api_start(1);
    sim.settle();
    assert_eq!(sim.states(1), [Running; 3]);
}

#[test]
fn of_what_was_stopped_all_start_at_once() {
    let mut sim = three();
    sim.api_stop(1);
    sim.settle();
    sim.api_restart_by(1, Rolling);
    assert_eq!(sim.states(1), [Starting; 3]);
    sim.settle();
    assert_eq!(sim.outcome(1), Some((1, Succeeded)));
}

#[test]
fn it_is_aborted_by_a_spec_that_does_not_resolve() {
    let mut sim = three();
    let pids = sim.pids(1);
    sim.habits.entry(id(1)).or_default().resolves = Err(no_file());
    sim.update(1, better());
    sim.pass(SEC);
    sim.api_restart_by(1, Rolling);
    sim.pass(SEC);
    assert_eq!((sim.pids(1), sim.outcome(1)), (pids, Some((1, Aborted))));
}

#[test]
fn all_at_once_with_a_new_spec_stays_all_at_once_to_its_end() {
    let mut sim = three();
    fails_from_now(&mut sim);
    sim.write(1, |daemon| {
        daemon.spec = better();
        daemon.intent_generation += 1;
        daemon.restart_generation += 1;
    });
    sim.pass(SEC);
    assert_eq!(sim.outcome(1), Some((1, Failed)));
    works_from_now(&mut sim);
    sim.settle();
    assert_eq!(commands(&sim, 1), ["better"; 3]);
    assert!(sim.view(1).converged);
}

#[test]
fn new_instances_of_a_change_do_not_wait_for_their_turn() {
    let mut sim = three();
    sim.update(
        1,
        spec(|d| (d.command, d.processes) = ("better".to_owned(), Some(5))),
    );
    sim.pass(MS * 5);
    assert_eq!(sim.states(1)[3..], [Starting; 2]);
    sim.settle();
    assert_eq!(commands(&sim, 1), ["better"; 5]);
}

#[test]
fn a_local_restart_brings_the_new_spec_to_what_was_left_behind() {
    let mut sim = three();
    fails_from_now(&mut sim);
    sim.update(1, better());
    sim.pass(SEC);
    works_from_now(&mut sim);
    sim.command(Action::Restart, &[1]);
    sim.settle();
    assert_eq!(commands(&sim, 1), ["better"; 3]);
    assert!(sim.view(1).converged);
}

#[test]
fn it_is_durable_before_it_is_told() {
    let mut sim = three();
    sim.api_restart_by(1, Rolling);
    sim.pass(MS * 1100);
    fails_from_now(&mut sim);
    sim.take_effects();
    sim.pass(MS * 250);
    let told: Vec<Effect> = sim.take_effects();
    let at = told
        .iter()
        .position(|e| matches!(e, Effect::RolloutStopped { revision: 2, .. }));
    let settled = told.iter().position(|e| {
        matches!(
            e,
            Effect::Settled {
                outcome: Aborted,
                ..
            }
        )
    });
    assert_eq!(settled, at.map(|at| at + 1), "{told:?}");
}
