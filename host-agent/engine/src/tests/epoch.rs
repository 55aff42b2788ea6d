//! A new config epoch: an older database was restored. Nothing that runs is touched for it, and nothing done twice.

use zhylon_shared::state::DesiredState;
use zhylon_shared::state::InstanceState::{Running, Stopped};
use zhylon_shared::state::RestartOutcome::{Succeeded, Superseded};

use super::sim::*;
use crate::effect::Effect;
use crate::input::*;

fn running() -> Sim {
    let mut sim = Sim::with(spec(|d| d.processes = Some(2)));
    sim.pass(SEC * 2);
    sim.take_effects();
    sim
}

/// The first configuration of a new epoch says these counters of daemon 1.
fn restored(sim: &mut Sim, (intent, restart, revision): (i64, i64, i64), differs: bool) {
    sim.revision = revision;
    sim.restored(1, |daemon| {
        (daemon.intent_generation, daemon.restart_generation) = (intent, restart);
        (daemon.revision, daemon.claim) = (revision, Claim::Adopted { differs });
    });
}

#[test]
fn what_runs_is_not_touched_by_lower_or_higher_counters() {
    for counters in [(1, 0, 1), (1, 9, 1), (90, 90, 90)] {
        let mut sim = running();
        for _ in 0..3 {
            sim.api_restart(1);
            sim.settle();
        }
        let pids = sim.pids(1);
        sim.take_effects();
        restored(&mut sim, counters, false);
        sim.settle();
        assert_eq!(
            (sim.states(1), sim.pids(1)),
            (vec![Running; 2], pids.clone())
        );
        assert_eq!(sim.view(1).settled_restart_generation, counters.1);
        assert!(sim.view(1).converged);
        sim.kill_worker();
        sim.settle();
        assert_eq!(sim.pids(1), pids, "nor by the next worker");
        // The next restart is one.
        sim.api_restart(1);
        sim.settle();
        assert_eq!(sim.outcome(1), Some((counters.1 + 1, Succeeded)));
        assert!(sim.pids(1).iter().all(|pid| !pids.contains(pid)));
    }
}

#[test]
fn a_restart_after_an_agent_restart_is_one_though_the_runs_count_higher() {
    let mut sim = running();
    for _ in 0..5 {
        sim.api_restart(1);
        sim.settle();
    }
    restored(&mut sim, (1, 1, 1), false);
    let pids = sim.pids(1);
    sim.kill_worker();
    sim.api_restart(1);
    sim.kill_worker();
    sim.settle();
    assert_eq!(sim.outcome(1), Some((2, Succeeded)));
    assert!(sim.pids(1).iter().all(|pid| !pids.contains(pid)));
}

#[test]
fn a_restart_under_way_is_superseded() {
    let mut sim = running();
    sim.api_restart(1);
    sim.pass(MS * 50);
    restored(&mut sim, (4, 7, 3), false);
    assert_eq!(sim.settled[&id(1)], (7, Superseded));
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2]);
}

#[test]
fn holds_stay_and_end_with_the_next_intent_of_the_new_epoch() {
    for intent in [1, 50] {
        let mut sim = running();
        for _ in 0..5 {
            sim.api_start(1);
        }
        sim.command(Action::Stop, &[1]);
        sim.settle();
        sim.take_effects();
        restored(&mut sim, (intent, 0, 1), false);
        let rebased = Effect::HoldsRebased {
            daemon: id(1),
            intent_generation: intent,
        };
        assert_eq!(sim.take_effects(), [rebased]);
        assert_eq!(sim.states(1), [Stopped; 2]);
        sim.kill_worker();
        sim.settle();
        // The ledger knows it already: nothing is written anew.
        assert_eq!(sim.take_effects(), []);
        assert_eq!(sim.states(1), [Stopped; 2]);
        assert_eq!(sim.view(1).hold.unwrap().intent_generation, intent);
        sim.api_start(1);
        sim.settle();
        assert_eq!(sim.states(1), [Running; 2]);
        assert!(sim.holds.is_empty());
    }
}

#[test]
fn so_do_those_on_single_instances() {
    let mut sim = running();
    sim.command_one(Action::Stop, 1, 1);
    sim.settle();
    restored(&mut sim, (30, 0, 1), false);
    sim.settle();
    sim.kill_worker();
    assert_eq!(sim.states(1), [Running, Stopped]);
    sim.api_start(1);
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2]);
}

#[test]
fn a_worker_that_died_before_it_noted_the_new_counters_notes_them_later() {
    let mut sim = running();
    for _ in 0..4 {
        sim.api_restart(1);
        sim.settle();
    }
    sim.command(Action::Stop, &[1]);
    sim.settle();
    let (holds, settled) = (sim.holds.clone(), sim.settled.clone());
    restored(&mut sim, (20, 1, 1), false);
    // The configuration is durable, the notes are lost.
    (sim.holds, sim.settled) = (holds, settled);
    sim.kill_worker();
    sim.settle();
    assert_eq!(sim.states(1), [Stopped; 2]);
    assert_eq!(sim.settled[&id(1)].0, 1);
    assert!(sim.holds.values().all(|hold| hold.intent_generation == 20));
}

#[test]
fn what_the_configuration_says_otherwise_runs_on_and_says_so() {
    let mut sim = running();
    let pids = sim.pids(1);
    restored(&mut sim, (1, 0, 1), true);
    sim.settle();
    let view = sim.view(1);
    assert_eq!((sim.pids(1), view.converged), (pids.clone(), false));
    assert!(
        view.message.starts_with("it runs on as it was"),
        "{}",
        view.message
    );
    sim.end(1, 0, Exit::Code(1));
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2]);
    // The next write is carried out: what the ledger then says.
    sim.write(1, |daemon| {
        (daemon.claim, daemon.spec) = (Claim::Written, spec(|d| d.command = "other".to_owned()));
    });
    sim.settle();
    assert_eq!(sim.states(1), [Running]);
    assert!(sim.view(1).converged);
}

#[test]
fn what_it_does_not_name_runs_on_until_a_person_stops_it() {
    let mut sim = running();
    sim.write(1, |_| {});
    let pids = sim.pids(1);
    sim.restored(1, |daemon| daemon.claim = Claim::Unclaimed);
    sim.settle();
    assert_eq!(sim.pids(1), pids);
    assert!(sim.view(1).message.starts_with("unclaimed: "));
    sim.end(1, 1, Exit::Code(1));
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2], "it is kept alive");
    sim.kill_worker();
    sim.settle();
    assert_eq!(sim.pids(1)[0], pids[0]);
    sim.command(Action::Stop, &[1]);
    sim.settle();
    assert_eq!(sim.states(1), [Stopped; 2]);
    // Taken back, as long as the worker lives.
    sim.command(Action::Start, &[1]);
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2]);
    // Or it is claimed again, whatever the numbers.
    sim.revision = 0;
    sim.write(1, |daemon| {
        (daemon.claim, daemon.state) = (Claim::Written, DesiredState::Stopped);
    });
    sim.settle();
    assert_eq!(sim.states(1), [Stopped; 2]);
    assert!(sim.view(1).converged);
}

#[test]
fn a_stopped_rollout_stays_stopped() {
    let mut sim = running();
    sim.habits.entry(id(1)).or_default().ends = Some((MS * 100, Exit::Code(1)));
    sim.update(
        1,
        spec(|d| (d.command, d.processes) = ("v2".to_owned(), Some(2))),
    );
    sim.pass(SEC);
    sim.habits.get_mut(&id(1)).unwrap().ends = None;
    sim.settle();
    let old = sim.run(1, 1);
    restored(&mut sim, (1, 0, 1), false);
    sim.settle();
    sim.kill_worker();
    sim.settle();
    assert_eq!(sim.run(1, 1), old);
    assert!(sim.view(1).message.starts_with("rollout stopped"));
}

#[test]
fn two_epochs_in_a_row_are_two() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    restored(&mut sim, (5, 5, 5), false);
    restored(&mut sim, (2, 2, 2), false);
    assert_eq!(sim.view(1).revision, 2);
    assert_eq!(sim.view(1).hold.unwrap().intent_generation, 2);
    assert_eq!(sim.settled[&id(1)].0, 2);
}
