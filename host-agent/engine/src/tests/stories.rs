//! Whole lives as a person would read them in a log: what was asked of the shell, and when.

use super::sim::*;
use crate::input::*;

#[test]
fn a_crash_a_recycle_and_a_stop() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.pass(SEC * 100);
    sim.end(1, 0, Exit::Signal(11));
    sim.pass(MS * 200);
    sim.end(1, 0, Exit::Code(255));
    sim.pass(SEC * 100);
    sim.end(1, 0, Exit::Code(0));
    sim.pass(SEC * 10);
    sim.api_stop(1);
    sim.settle();
    insta::assert_snapshot!(sim.transcript());
}

#[test]
fn a_deploy_that_is_wrong_then_right() {
    let habit = Habit {
        orphans: Orphans::Obey(MS * 50),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|d| d.processes = Some(2)), habit);
    sim.pass(SEC * 2);
    let v2 = spec(|d| (d.command, d.processes) = ("v2".to_owned(), Some(2)));
    sim.habits.get_mut(&id(1)).unwrap().resolves = Err(no_file());
    sim.update(1, v2);
    sim.pass(SEC * 5);
    sim.habits.get_mut(&id(1)).unwrap().resolves = Ok(());
    sim.api_restart(1);
    sim.settle();
    sim.command(Action::Restart, &[1]);
    sim.settle();
    sim.delete(1);
    sim.settle();
    insta::assert_snapshot!(sim.transcript());
}
