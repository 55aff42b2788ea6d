//! The worker's end: everything is stopped first, or nothing happens at all.

use zhylon_shared::state::DesiredState;
use zhylon_shared::state::InstanceState::{Running, Stopped};

use super::sim::*;
use crate::effect::{CommandOutcome, Effect};
use crate::input::*;

fn two() -> Sim {
    let mut sim = Sim::with(spec(|d| d.processes = Some(2)));
    sim.habits.insert(
        id(2),
        Habit {
            obeys: None,
            ..Habit::default()
        },
    );
    sim.create(2, spec(|d| d.stop_seconds = Some(3)));
    sim.pass(SEC * 2);
    sim.take_effects();
    sim
}

#[test]
fn everything_is_stopped_each_with_its_own_grace() {
    let mut sim = two();
    sim.feed(Input::Shutdown { stop_daemons: true });
    sim.pass(SEC * 3 - MS);
    assert_eq!((sim.state(1), sim.terminated), (Stopped, false));
    sim.pass(MS);
    assert!(sim.terminated);
    assert!(sim.children.is_empty());
    assert_eq!(sim.take_effects().last(), Some(&Effect::Terminated));
    assert_eq!(sim.view(1).desired, DesiredState::Running);
}

#[test]
fn nothing_is_respawned_and_nothing_new_started() {
    let mut sim = two();
    sim.end(1, 0, Exit::Code(1));
    sim.feed(Input::Shutdown { stop_daemons: true });
    sim.create(3, spec(|_| {}));
    sim.api_restart(1);
    sim.settle();
    assert!(sim.terminated);
    assert!(sim.children.is_empty());
}

#[test]
fn a_host_without_daemons_has_nothing_to_wait_for() {
    let mut sim = Sim::new();
    sim.feed(Input::Shutdown { stop_daemons: true });
    assert!(sim.terminated);
}

#[test]
fn without_stop_nothing_happens_ever_after() {
    let mut sim = two();
    let waiting = sim.command(Action::Stop, &[2]);
    sim.take_effects();
    sim.feed(Input::Shutdown {
        stop_daemons: false,
    });
    assert_eq!(
        sim.answer(waiting),
        Some(vec![CommandOutcome::AbnormalTermination])
    );
    assert_eq!(sim.take_effects().last(), Some(&Effect::Terminated));
    assert_eq!(sim.engine.next_deadline(), None);
    sim.end(1, 0, Exit::Code(1));
    sim.desire();
    sim.settle();
    assert_eq!(sim.take_effects(), []);
    assert_eq!(sim.state(1), Running);
}

#[test]
fn the_second_request_may_be_more_urgent() {
    let mut sim = two();
    sim.feed(Input::Shutdown { stop_daemons: true });
    sim.feed(Input::Shutdown {
        stop_daemons: false,
    });
    assert!(sim.terminated);
}

#[test]
fn commands_are_answered_while_it_ends() {
    let mut sim = two();
    sim.feed(Input::Shutdown { stop_daemons: true });
    let start = sim.command(Action::Start, &[2]);
    assert_eq!(
        sim.answer(start),
        Some(vec![CommandOutcome::AbnormalTermination])
    );
    let stop = sim.command(Action::Stop, &[2]);
    sim.settle();
    assert_eq!(sim.answer(stop), Some(vec![CommandOutcome::Done]));
}

#[test]
fn a_restart_under_way_is_left_for_the_next_worker() {
    let mut sim = two();
    sim.api_restart(1);
    sim.take_effects();
    sim.feed(Input::Shutdown { stop_daemons: true });
    sim.settle();
    assert!(
        sim.take_effects()
            .iter()
            .all(|effect| !matches!(effect, Effect::Settled { .. }))
    );
}
