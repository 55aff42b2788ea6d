//! What happened between two views.

use super::super::witness::{compare, killed};
use super::*;

fn kinds(old: Option<&DaemonView>, new: &DaemonView) -> Vec<EventKind> {
    compare(old, &[], new)
        .iter()
        .map(|draft| draft.kind)
        .collect()
}

#[test]
fn unasked_ends_are_told_by_what_they_are() {
    use EventKind::{Crashed, Exited, GaveUp, StartFailed};
    use InstanceState as S;
    let code = |code| Some(Exit::Code(code));
    let old = view(vec![instance(0, S::Running)]);
    for (exit, state, expected) in [
        (code(0), S::Starting, vec![Exited]),
        (code(0), S::Exited, vec![Exited]),
        (code(0), S::Backoff, vec![Crashed]),
        (code(1), S::Starting, vec![Crashed]),
        (code(1), S::Exited, vec![Crashed]),
        (code(1), S::Fatal, vec![Crashed, GaveUp]),
        (Some(Exit::Signal(9)), S::Starting, vec![Crashed]),
        (Some(Exit::Unknown), S::Starting, vec![Exited]),
        (Some(Exit::Unknown), S::Backoff, vec![Crashed]),
        (None, S::Backoff, vec![StartFailed]),
        (None, S::Fatal, vec![StartFailed, GaveUp]),
        // Asked for, seen from the end.
        (code(0), S::Stopped, vec![]),
        (Some(Exit::Signal(15)), S::Stopping, vec![]),
    ] {
        let new = view(vec![ended_at(5, exit, state)]);
        assert_eq!(kinds(Some(&old), &new), expected, "{exit:?} {state:?}");
        // A worker that sees the daemon for the first time saw this end, too.
        assert_eq!(kinds(None, &new), expected, "{exit:?} {state:?}");
        // Told once, whatever is said of it later.
        let mut later = new.clone();
        let words = later.instances[0].last_exit.as_mut().unwrap();
        words.message.push_str(" (the rest was killed)");
        assert_eq!(kinds(Some(&new), &later), []);
        let again = view(vec![ended_at(6, exit, state)]);
        let again = kinds(Some(&new), &again);
        let once: Vec<_> = expected.iter().filter(|k| **k != GaveUp).copied().collect();
        assert!(again == once || state == S::Stopping, "{exit:?} {state:?}");
    }
    // Asked for, and another run there already.
    let stopping = view(vec![instance(0, S::Stopping)]);
    let replaced = view(vec![ended_at(5, Some(Exit::Signal(15)), S::Starting)]);
    assert_eq!(kinds(Some(&stopping), &replaced), []);
}

#[test]
fn what_the_former_worker_noted_is_old() {
    use host_agent_engine::input::{Past, Rest, RestKind};
    let ended = view(vec![ended_at(5, Some(Exit::Code(1)), InstanceState::Fatal)]);
    let shown = &ended.instances[0];
    let noted = Past {
        slot: Slot {
            daemon: ended.id,
            index: 0,
        },
        generation: 1,
        rest: Some(Rest {
            kind: RestKind::Fatal,
            since: shown.since,
            spec_hash: String::new(),
            intent_generation: 1,
            restart_generation: 0,
            delays: 1,
            crash_looping: false,
        }),
        restart_count: 0,
        last_exit: shown.last_exit.clone(),
    };
    assert_eq!(compare(None, std::slice::from_ref(&noted), &ended), []);
    // A later end than that is news, and so is one of a slot that nothing was noted of.
    let later = view(vec![ended_at(6, Some(Exit::Code(1)), InstanceState::Fatal)]);
    let told = |past: &[Past], new| -> Vec<_> {
        compare(None, past, new)
            .iter()
            .map(|draft| draft.kind)
            .collect()
    };
    assert_eq!(
        told(std::slice::from_ref(&noted), &later),
        [EventKind::Crashed]
    );
    let mut other = noted;
    other.slot.index = 1;
    assert_eq!(
        told(&[other], &ended),
        [EventKind::Crashed, EventKind::GaveUp]
    );
}

#[test]
fn an_end_says_how() {
    let old = view(vec![instance(0, InstanceState::Running)]);
    let new = view(vec![ended_at(
        5,
        Some(Exit::Signal(11)),
        InstanceState::Starting,
    )]);
    let [draft] = compare(Some(&old), &[], &new).try_into().unwrap();
    let ended = draft.ended.unwrap();
    assert_eq!((ended.code, ended.signal), (0, 11));
    assert_eq!(draft.instance, Some(0));
    assert_eq!(draft.daemon, id(1));
}

#[test]
fn holds_and_restarts_are_told_when_they_change() {
    let hold = |time_ms| Hold {
        state: DesiredState::Stopped,
        by: "anna (uid 1001)".to_owned(),
        time_ms,
        intent_generation: 1,
    };
    let free = view(vec![]);
    let mut held = free.clone();
    held.hold = Some(hold(1));
    let [set] = compare(Some(&free), &[], &held).try_into().unwrap();
    assert_eq!(
        (set.kind, set.by.as_str()),
        (EventKind::HoldSet, "anna (uid 1001)")
    );
    assert_eq!(set.message, "STOPPED");
    assert_eq!(compare(Some(&held), &[], &held), []);
    let mut newer = free.clone();
    newer.hold = Some(hold(2));
    assert_eq!(kinds(Some(&held), &newer), [EventKind::HoldSet]);
    let [ended] = compare(Some(&held), &[], &free).try_into().unwrap();
    assert_eq!(ended.kind, EventKind::HoldEnded);
    assert_eq!(ended.message, "STOPPED by anna (uid 1001)");

    let mut settled = free.clone();
    settled.settled_restart_generation = 2;
    settled.restart_outcome = Some(RestartOutcome::Aborted);
    let [draft] = compare(Some(&free), &[], &settled).try_into().unwrap();
    assert_eq!(draft.kind, EventKind::RestartSettled);
    assert_eq!(draft.outcome, Some(RestartOutcome::Aborted));
    assert_eq!(draft.message, "restart 2: ABORTED");

    // A new worker finds them as they are: they are no news.
    assert_eq!(compare(None, &[], &held), []);
    assert_eq!(compare(None, &[], &settled), []);
}

#[test]
fn a_kill_is_told_of_the_run_that_is_there() {
    let run = |generation| Run {
        slot: Slot {
            daemon: id(1),
            index: 0,
        },
        generation,
    };
    let stopping = view(vec![instance(0, InstanceState::Stopping)]);
    let draft = killed(run(1), Some(&stopping)).unwrap();
    assert_eq!(draft.kind, EventKind::KilledAfterGrace);
    assert_eq!(draft.instance, Some(0));
    // Two runs found where one should be: the older goes, and had no grace.
    assert_eq!(killed(run(0), Some(&stopping)), None);
    assert_eq!(killed(run(1), None), None);
}

#[test]
fn holds_are_told_of_the_daemon_and_of_single_instances() {
    let held = |state| Hold {
        state,
        by: "anna (uid 1001)".to_owned(),
        time_ms: 7,
        intent_generation: 1,
    };
    let free = view(vec![instance(0, InstanceState::Running)]);
    let mut whole = free.clone();
    whole.hold = Some(held(DesiredState::Stopped));
    let mut one = free.clone();
    one.instances[0].hold = Some(held(DesiredState::Running));
    let told = |old: &DaemonView, new: &DaemonView| -> Vec<_> {
        let drafts = compare(Some(old), &[], new).into_iter();
        let told = drafts.map(|draft| (draft.kind, draft.instance, draft.by, draft.message));
        told.collect()
    };
    let by = || "anna (uid 1001)".to_owned();
    let words = str::to_owned;
    assert_eq!(
        told(&free, &whole),
        [(EventKind::HoldSet, None, by(), words("STOPPED"))]
    );
    assert_eq!(
        told(&whole, &one),
        [
            (
                EventKind::HoldEnded,
                None,
                String::new(),
                words("STOPPED by anna (uid 1001)")
            ),
            (EventKind::HoldSet, Some(0), by(), words("RUNNING"))
        ]
    );
    assert_eq!(told(&one, &one), []);
    assert_eq!(told(&one, &free).len(), 1);
}
