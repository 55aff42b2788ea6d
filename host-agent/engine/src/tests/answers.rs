//! What commands are answered, and when.

use zhylon_shared::spec::RestartPolicy;
use zhylon_shared::state::InstanceState::{Backoff, Exited, Running, Starting, Stopped, Stopping};

use super::sim::*;
use crate::effect::CommandOutcome::{
    AbnormalTermination, AlreadyStarted, BadName, Done, NoFile, NotExecutable, NotRunning,
    SpawnError,
};
use crate::effect::Effect;
use crate::input::*;

fn running() -> Sim {
    let mut sim = Sim::with(spec(|d| d.processes = Some(2)));
    sim.pass(SEC * 2);
    sim.take_effects();
    sim
}

#[test]
fn a_stop_is_done_when_nothing_is_left() {
    let orphans = Orphans::Obey(SEC * 2);
    let mut sim = Sim::behaving(
        spec(|_| {}),
        Habit {
            orphans,
            ..Habit::default()
        },
    );
    sim.pass(SEC * 2);
    let ticket = sim.command(Action::Stop, &[1]);
    sim.pass(SEC * 2);
    assert_eq!(sim.answer(ticket), None);
    sim.pass(MS * 100);
    assert_eq!(sim.answer(ticket), Some(vec![Done]));
}

#[test]
fn a_stop_of_what_does_not_run() {
    let never = spec(|d| d.restart_policy = Some(RestartPolicy::Never));
    let habit = Habit {
        ends: Some((SEC * 2, Exit::Code(0))),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(never, habit);
    sim.settle();
    assert_eq!(sim.states(1), [Exited]);
    for _ in 0..2 {
        let ticket = sim.command(Action::Stop, &[1]);
        assert_eq!(sim.answer(ticket), Some(vec![NotRunning]));
        assert_eq!(sim.states(1), [Stopped]);
    }
}

#[test]
fn a_stop_in_backoff_is_done_at_once() {
    let habit = Habit {
        spawn_fails: Some(no_file()),
        ..Habit::default()
    };
    let mut sim = Sim::behaving(spec(|_| {}), habit);
    sim.pass(MS);
    assert_eq!(sim.states(1), [Backoff]);
    let ticket = sim.command(Action::Stop, &[1]);
    assert_eq!(
        (sim.answer(ticket), sim.states(1)),
        (Some(vec![Done]), vec![Stopped])
    );
    assert_eq!(sim.engine.next_deadline(), None);
}

#[test]
fn a_start_is_answered_when_it_runs() {
    let mut sim = Sim::with(spec(|d| d.start_seconds = Some(30)));
    sim.api_stop(1);
    sim.settle();
    let ticket = sim.command(Action::Start, &[1]);
    sim.pass(SEC * 30 - MS);
    assert_eq!(sim.answer(ticket), None);
    let again = sim.command(Action::Start, &[1]);
    assert_eq!(sim.answer(again), Some(vec![AlreadyStarted]));
    sim.pass(MS);
    assert_eq!(sim.answer(ticket), Some(vec![Done]));
    let again = sim.command(Action::Start, &[1]);
    assert_eq!(sim.answer(again), Some(vec![AlreadyStarted]));
}

#[test]
fn a_start_that_fails_says_how() {
    use StartErrorKind as Kind;
    let kinds = [
        (Kind::NoFile, NoFile),
        (Kind::NotExecutable, NotExecutable),
        (Kind::Other, SpawnError),
    ];
    for (kind, outcome) in kinds {
        let error = StartError { kind, ..no_file() };
        let mut sim = Sim::behaving(
            spec(|_| {}),
            Habit {
                spawn_fails: Some(error),
                ..Habit::default()
            },
        );
        sim.pass(MS);
        assert_eq!(sim.states(1), [Backoff]);
        // BACKOFF is tried at once.
        let ticket = sim.command(Action::Start, &[1]);
        assert_eq!(sim.states(1), [Starting]);
        sim.pass(MS);
        assert_eq!(sim.answer(ticket), Some(vec![outcome]));
    }
}

#[test]
fn a_start_that_ends_too_early_is_a_spawn_error() {
    let habit = Habit {
        ends: Some((MS * 10, Exit::Code(0))),
        ..Habit::default()
    };
    for policy in [
        RestartPolicy::Always,
        RestartPolicy::OnFailure,
        RestartPolicy::Never,
    ] {
        let once = spec(|d| (d.restart_policy, d.max_retries) = (Some(policy), 1));
        let mut sim = Sim::behaving(once, habit.clone());
        sim.settle();
        let ticket = sim.command(Action::Start, &[1]);
        sim.settle();
        assert_eq!(sim.answer(ticket), Some(vec![SpawnError]));
    }
}

#[test]
fn a_start_that_a_stop_crosses_ends_abnormally() {
    let mut sim = Sim::with(spec(|d| d.start_seconds = Some(30)));
    sim.api_stop(1);
    sim.settle();
    let first = sim.command(Action::Start, &[1]);
    let stop = sim.command(Action::Stop, &[1]);
    assert_eq!(sim.answer(first), Some(vec![AbnormalTermination]));
    let second = sim.command(Action::Start, &[1]);
    assert_eq!(sim.answer(stop), Some(vec![AbnormalTermination]));
    sim.api_stop(1);
    assert_eq!(sim.answer(second), Some(vec![AbnormalTermination]));
}

#[test]
fn two_stops_are_both_done() {
    let mut sim = running();
    let first = sim.command(Action::Stop, &[1]);
    let second = sim.command(Action::Stop, &[1]);
    sim.settle();
    assert_eq!(sim.answer(first), Some(vec![Done; 2]));
    assert_eq!(sim.answer(second), Some(vec![Done; 2]));
}

#[test]
fn a_restart_is_one_step_per_instance() {
    let mut sim = running();
    // The second takes longer to stop; the first does not wait for it.
    let old = (sim.run(1, 0), sim.run(1, 1));
    sim.habits.get_mut(&id(1)).unwrap().obeys = None;
    let ticket = sim.command(Action::Restart, &[1]);
    sim.children.remove(&old.0);
    sim.feed(Input::Exited {
        run: old.0,
        exit: Exit::Code(0),
        tree_gone: true,
    });
    sim.pass(SEC);
    assert_eq!(sim.states(1), [Running, Stopping]);
    assert_eq!(sim.answer(ticket), None);
    sim.settle();
    assert_eq!(sim.states(1), [Running; 2]);
    assert_eq!(sim.answer(ticket), Some(vec![Done; 2]));
    assert_eq!(sim.view(1).hold, None);
    assert_eq!(sim.view(1).instances[1].restart_count, 0);
}

#[test]
fn the_first_word_about_an_instance_counts() {
    let mut sim = running();
    let (first, exit) = (sim.run(1, 0), Exit::Code(0));
    sim.habits.get_mut(&id(1)).unwrap().obeys = None;
    let ticket = sim.command(Action::Restart, &[1]);
    sim.children.remove(&first);
    sim.feed(Input::Exited {
        run: first,
        exit,
        tree_gone: true,
    });
    sim.pass(SEC);
    // It was restarted; what becomes of it while the other still stops is another story.
    sim.command_one(Action::Stop, 1, 0);
    sim.settle();
    assert_eq!(sim.states(1), [Stopped, Running]);
    assert_eq!(sim.answer(ticket), Some(vec![Done; 2]));
}

#[test]
fn a_newer_restart_takes_the_place_of_one_that_starts() {
    let mut sim = running();
    let first = sim.command(Action::Restart, &[1]);
    sim.pass(MS * 500);
    assert_eq!(sim.states(1), [Starting; 2]);
    let second = sim.command(Action::Restart, &[1]);
    assert_eq!(sim.answer(first), Some(vec![AbnormalTermination; 2]));
    sim.settle();
    assert_eq!(sim.answer(second), Some(vec![Done; 2]));
}

#[test]
fn a_signal_goes_to_the_main_processes() {
    let mut sim = running();
    let (first, second) = (sim.run(1, 0), sim.run(1, 1));
    sim.habits.get_mut(&id(1)).unwrap().obeys = None;
    let ticket = sim.command(Action::Signal(10), &[1]);
    assert_eq!(sim.answer(ticket), Some(vec![Done; 2]));
    let effects = sim.take_effects();
    assert_eq!(
        effects[0],
        Effect::Signal {
            run: first,
            signal: 10
        }
    );
    assert_eq!(
        effects[1],
        Effect::Signal {
            run: second,
            signal: 10
        }
    );
    sim.command(Action::Stop, &[1]);
    sim.settle();
    let ticket = sim.command(Action::Signal(10), &[1]);
    assert_eq!(sim.answer(ticket), Some(vec![NotRunning; 2]));
}

#[test]
fn what_is_not_there_has_a_bad_name() {
    let mut sim = running();
    let ticket = sim.command(Action::Stop, &[7]);
    assert_eq!(sim.answer(ticket), Some(vec![]));
    let ticket = sim.command_one(Action::Stop, 7, 0);
    assert_eq!(sim.answer(ticket), Some(vec![BadName]));
    let ticket = sim.command_one(Action::Restart, 1, 2);
    assert_eq!(sim.answer(ticket), Some(vec![BadName]));
    assert_eq!(sim.states(1), [Running; 2]);
}

#[test]
fn commands_that_nobody_waits_for_do_not_pile_up() {
    let mut sim = Sim::behaving(
        spec(|_| {}),
        Habit {
            obeys: None,
            ..Habit::default()
        },
    );
    sim.pass(SEC * 2);
    let tickets: Vec<Ticket> = (0..100).map(|_| sim.command(Action::Stop, &[1])).collect();
    assert_eq!(sim.unanswered(), 64);
    assert_eq!(sim.answer(tickets[35]), Some(vec![AbnormalTermination]));
    sim.settle();
    assert_eq!(sim.answer(tickets[36]), Some(vec![Done]));
    assert_eq!(sim.unanswered(), 0);
}

#[test]
fn an_answer_comes_after_its_announcement() {
    let mut sim = running();
    sim.effects.clear();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    let last: Vec<Effect> = sim
        .effects
        .drain(..)
        .rev()
        .take(2)
        .map(|(_, e)| e)
        .collect();
    assert!(matches!(
        last[..],
        [Effect::Reply { .. }, Effect::Changed { .. }]
    ));
}
