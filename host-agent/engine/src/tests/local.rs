//! Local operators: holds, commands on single instances, and answers.

use zhylon_shared::spec::RestartPolicy;
use zhylon_shared::state::DesiredState;
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
fn a_stop_holds_whatever_the_api_desires_until_its_next_intent() {
    let mut sim = running();
    let ticket = sim.command(Action::Stop, &[1]);
    assert_eq!(sim.answer(ticket), None);
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done; 2]));
    let view = sim.view(1);
    assert_eq!(view.desired, DesiredState::Running);
    assert_eq!(
        view.hold.map(|hold| hold.state),
        Some(DesiredState::Stopped)
    );
    assert!(view.converged);

    sim.update(
        1,
        spec(|d| (d.command, d.processes) = ("other".to_owned(), Some(2))),
    );
    sim.settle();
    assert_eq!(sim.states(1), [Stopped; 2]);
    sim.take_effects();

    // The desired state stays the same; the intent is newer all the same.
    sim.api_start(1);
    assert_eq!(sim.take_effects()[0], Effect::HoldEnded { daemon: id(1) });
    sim.settle();
    assert_eq!((sim.states(1), sim.view(1).hold), (vec![Running; 2], None));
    assert!(sim.holds.is_empty());
}

#[test]
fn the_opposite_command_ends_the_hold() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    sim.take_effects();
    let ticket = sim.command(Action::Start, &[1]);
    assert_eq!(sim.take_effects()[0], Effect::HoldEnded { daemon: id(1) });
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done; 2]));
    assert_eq!((sim.view(1).hold, sim.holds.len()), (None, 0));
}

#[test]
fn a_start_of_what_is_desired_stopped_is_a_hold() {
    let mut sim = running();
    sim.api_stop(1);
    sim.settle();
    for action in [Action::Start, Action::Restart] {
        let ticket = sim.command(action, &[1]);
        sim.settle();
        assert_eq!(sim.answer(ticket), Some(vec![Done; 2]));
        let held = sim.view(1).hold.map(|hold| hold.state);
        assert_eq!(held, Some(DesiredState::Running));
        assert_eq!(sim.desired_state(1), DesiredState::Stopped);
        assert!(sim.view(1).converged);
    }
    sim.api_stop(1);
    sim.settle();
    assert_eq!((sim.states(1), sim.view(1).hold), (vec![Stopped; 2], None));
}

#[test]
fn a_restart_ends_a_stop() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    let ticket = sim.command(Action::Restart, &[1]);
    sim.settle();
    assert_eq!(
        (sim.answer(ticket), sim.view(1).hold),
        (Some(vec![Done; 2]), None)
    );
}

#[test]
fn a_restart_without_a_hold_does_the_same() {
    let mut sim = running();
    sim.command(Action::Stop, &[1]);
    sim.settle();
    let targets = vec![CommandTarget::Daemon(id(1))];
    let ticket = sim.request(Action::Restart, targets.clone(), None);
    assert!(sim.holds.is_empty());
    sim.settle();
    assert_eq!(
        (sim.answer(ticket), sim.states(1)),
        (Some(vec![Done; 2]), vec![Running; 2])
    );

    sim.api_stop(1);
    sim.settle();
    sim.request(Action::Restart, targets, None);
    sim.settle();
    assert_eq!((sim.states(1), sim.view(1).hold), (vec![Running; 2], None));
}

#[test]
fn a_hold_of_an_outdated_intent_is_taken_out_and_nothing_done() {
    let mut sim = running();
    let hold = Hold {
        state: DesiredState::Stopped,
        by: "root".to_owned(),
        time_ms: 1,
        intent_generation: 1,
    };
    sim.api_start(1);
    sim.take_effects();
    let targets = vec![CommandTarget::Daemon(id(1))];
    let ticket = sim.request(Action::Stop, targets, Some(hold));
    assert_eq!(sim.answer(ticket), Some(vec![AbnormalTermination; 2]));
    assert_eq!(sim.take_effects()[0], Effect::HoldEnded { daemon: id(1) });
    assert_eq!(sim.states(1), [Running; 2]);
}

#[test]
fn of_several_daemons_each_is_held_by_its_own_count_of_intents() {
    let mut sim = running();
    sim.create(2, spec(|_| {}));
    for _ in 0..5 {
        sim.api_start(2);
    }
    sim.pass(SEC * 2);
    let ticket = sim.command(Action::Stop, &[1, 2]);
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done; 3]));
    let held = |sim: &Sim, n| sim.view(n).hold.map(|hold| hold.intent_generation);
    assert_eq!((held(&sim, 1), held(&sim, 2)), (Some(1), Some(6)));
    sim.api_start(1);
    sim.settle();
    assert_eq!((sim.state(1), sim.state(2)), (Running, Stopped));
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
fn debians_two_calls_are_a_restart() {
    let mut sim = running();
    let pids = sim.pids(1);
    let stop = sim.command(Action::Stop, &[1]);
    sim.pass(MS * 100);
    assert_eq!(sim.answer(stop), Some(vec![Done; 2]));
    // A reconcile lands in the gap.
    sim.desire();
    assert_eq!(sim.states(1), [Stopped; 2]);
    let start = sim.command(Action::Start, &[1]);
    sim.settle();
    assert_eq!(sim.answer(start), Some(vec![Done; 2]));
    assert!(sim.pids(1).iter().all(|pid| !pids.contains(pid)));
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
fn a_single_instance_is_stopped_until_the_next_command_on_all() {
    let mut sim = running();
    let ticket = sim.command_one(Action::Stop, 1, 1);
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done]));
    assert_eq!(
        (sim.states(1), sim.view(1).hold),
        (vec![Running, Stopped], None)
    );
    assert!(sim.view(1).converged);
    sim.desire();
    sim.update(1, spec(|d| d.processes = Some(3)));
    sim.settle();
    assert_eq!(sim.states(1), [Running, Stopped, Running]);
    let ticket = sim.command(Action::Start, &[1]);
    sim.settle();
    assert_eq!(
        sim.answer(ticket),
        Some(vec![AlreadyStarted, Done, AlreadyStarted])
    );
    assert_eq!(sim.states(1), [Running; 3]);
}

#[test]
fn a_single_instance_is_started_or_restarted_alone() {
    let mut sim = running();
    let pids = sim.pids(1);
    let ticket = sim.command_one(Action::Restart, 1, 0);
    sim.settle();
    assert_eq!(sim.answer(ticket), Some(vec![Done]));
    assert_eq!(sim.pids(1)[1], pids[1]);
    assert_ne!(sim.pids(1)[0], pids[0]);
    sim.api_stop(1);
    sim.settle();
    sim.command_one(Action::Start, 1, 0);
    sim.settle();
    assert_eq!(sim.states(1), [Running, Stopped]);
    sim.api_stop(1);
    sim.settle();
    assert_eq!(sim.states(1), [Stopped; 2]);
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
