//! What had ended stays ended over the death of a worker, and what is told of it too.

use zhylon_shared::spec::RestartPolicy;
use zhylon_shared::state::InstanceState::{Backoff, Exited, Fatal, Running, Stopped};

use super::sim::*;
use crate::input::*;

fn never() -> Sim {
    let mut sim = Sim::with(spec(|d| d.restart_policy = Some(RestartPolicy::Never)));
    sim.pass(SEC * 2);
    sim.end(1, 0, Exit::Code(7));
    assert_eq!(sim.states(1), [Exited]);
    sim
}

#[test]
fn what_exited_for_good_is_not_started_again() {
    let mut sim = never();
    let before = sim.view(1);
    sim.take_effects();
    sim.pass(SEC * 100);
    sim.kill_worker();
    sim.settle();
    assert_eq!(sim.take_effects(), []);
    let after = sim.view(1).instances.remove(0);
    assert_eq!(
        (after.state, after.since),
        (Exited, before.instances[0].since)
    );
    assert_eq!(after.last_exit, before.instances[0].last_exit);
}

#[test]
fn nor_what_gave_up() {
    let habit = Habit {
        spawn_fails: Some(no_file()),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|d| d.max_retries = 2), habit);
    sim.settle();
    assert_eq!(sim.states(1), [Fatal]);
    sim.take_effects();
    sim.kill_worker();
    sim.settle();
    assert_eq!((sim.states(1), sim.take_effects()), (vec![Fatal], vec![]));
}

#[test]
fn a_request_after_the_end_starts_it() {
    for change in [
        (|sim: &mut Sim| sim.want.get_mut(&id(1)).unwrap().intent_generation += 1) as fn(&mut Sim),
        |sim| {
            let want = sim.want.get_mut(&id(1)).unwrap();
            (want.intent_generation, want.restart_generation) = (2, 1);
        },
        |sim| sim.want.get_mut(&id(1)).unwrap().spec = spec(|_| {}),
    ] {
        let mut sim = never();
        change(&mut sim);
        sim.kill_worker();
        sim.settle();
        assert_eq!(sim.states(1), [Running]);
    }
}

#[test]
fn it_can_be_stopped_and_started_as_before() {
    let mut sim = never();
    sim.kill_worker();
    sim.api_stop(1);
    assert_eq!(sim.states(1), [Stopped]);
    sim.api_start(1);
    sim.settle();
    assert_eq!(sim.states(1), [Running]);
}

#[test]
fn backoff_goes_on_where_it_was() {
    let habit = Habit::ending(MS * 100, Exit::Code(1));
    let mut sim = Sim::behaving(spec(|d| d.max_retries = 5), habit);
    sim.pass(SEC * 5);
    while sim.states(1) != [Backoff] {
        sim.pass(MS * 50);
    }
    let before = sim.view(1).instances.remove(0);
    sim.kill_worker();
    let after = sim.view(1).instances.remove(0);
    assert_eq!(
        (after.state, after.next_start),
        (Backoff, before.next_start)
    );
    assert_eq!(after.restart_count, before.restart_count);
    // The retries before count, or a dying agent would let it try for ever.
    sim.take_effects();
    sim.settle();
    assert_eq!(sim.states(1), [Fatal]);
    assert_eq!(sim.view(1).instances[0].restart_count, 5);
}

#[test]
fn restarts_and_the_last_end_of_what_runs_are_remembered() {
    let mut sim = Sim::with(spec(|_| {}));
    for _ in 0..3 {
        sim.pass(SEC * 2);
        sim.end(1, 0, Exit::Signal(11));
    }
    sim.pass(SEC * 2);
    let before = sim.view(1).instances.remove(0);
    assert_eq!(before.restart_count, 3);
    sim.kill_worker();
    let after = sim.view(1).instances.remove(0);
    assert_eq!((after.state, after.restart_count), (Running, 3));
    assert_eq!(after.last_exit, before.last_exit);
}

#[test]
fn so_is_the_last_end_of_what_was_stopped_and_never_restarted() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.pass(SEC * 2);
    sim.api_stop(1);
    sim.settle();
    let before = sim.view(1).instances.remove(0);
    assert_eq!(
        (before.restart_count, before.last_exit.is_some()),
        (0, true)
    );
    sim.kill_worker();
    assert_eq!(sim.view(1).instances[0].last_exit, before.last_exit);
}

#[test]
fn notes_are_not_believed_against_a_newer_run() {
    let mut sim = never();
    let noted = sim.engine.past(&id(1));
    // Without a newer intent.
    sim.command(Action::Start, &[1]);
    sim.settle();
    sim.kill_worker_with(noted);
    assert_eq!(sim.states(1), [Running]);
}

#[test]
fn an_end_that_was_judged_is_not_judged_again() {
    let mut sim = Sim::behaving(spec(|_| {}), Habit::ending(MS * 100, Exit::Code(1)));
    sim.pass(MS * 150);
    let run = sim.run(1, 0);
    assert_eq!(sim.states(1), [Backoff]);
    // Its record is still there.
    let child = Child {
        spawned: true,
        main: true,
        orphans: false,
        started: sim.now,
        spec: spec(|_| {}),
        restart_generation: 0,
    };
    sim.children.insert(run, child);
    let before = sim.view(1).instances.remove(0);
    sim.pass(MS * 100);
    sim.kill_worker();
    sim.deliver(Input::Exited {
        run,
        exit: Exit::Code(1),
        tree_gone: true,
    });
    let after = sim.view(1).instances.remove(0);
    assert_eq!(
        (after.state, after.next_start),
        (Backoff, before.next_start)
    );
    assert_eq!(after.last_exit, before.last_exit);
    sim.habits.clear();
    sim.settle();
    assert_eq!(
        (sim.states(1), sim.view(1).instances[0].restart_count),
        (vec![Running], 1)
    );
}

#[test]
fn notes_of_what_is_no_longer_wanted_are_nothing() {
    let mut sim = never();
    let mut noted = sim.engine.past(&id(1));
    noted.push(Past {
        slot: slot(1, 5),
        ..noted[0].clone()
    });
    noted.push(Past {
        slot: slot(9, 0),
        ..noted[0].clone()
    });
    sim.kill_worker_with(noted);
    assert_eq!(sim.states(1), [Exited]);
    assert!(sim.engine.view(&id(9)).is_none());
}

#[test]
fn a_fresh_instance_leaves_nothing() {
    let mut sim = Sim::with(spec(|_| {}));
    sim.pass(SEC * 5);
    assert_eq!(sim.engine.past(&id(1)), []);
    assert_eq!(sim.engine.past(&id(2)), []);
}
