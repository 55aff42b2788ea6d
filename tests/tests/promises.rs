//! The commit tier of the promises in `docs/promises.md`: the same rounds and checkers as `cargo xtask soak`, fewer of
//! them. Each test counts what it injected, and one that injected too little fails.

use zhylon_tests::promises::{POINTS, Plan, Programs, Promise, Tally, has_points};
use zhylon_tests::random::Random;
use zhylon_tests::world::programs;

/// As they are shipped, but for optimisation: the helper is the static one.
fn shipped() -> Programs {
    Programs {
        agent: programs().path("host-agent"),
        daemon: env!("CARGO_BIN_EXE_zhylon-soak").into(),
        previous: None,
    }
}

/// The same with the helper that has fail points.
fn with_points() -> Programs {
    let built = programs().dir.parent().expect("where cargo builds to");
    Programs {
        agent: built.join("host-agent"),
        ..shipped()
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the figures belong to the test's own output"
)]
fn prove(promise: Promise, programs: &Programs, trials: u64, lanes: usize) -> Tally {
    let plan = Plan {
        seed: Random::seeded().seed(),
        done: 0,
        trials,
        lanes,
        until: None,
    };
    let tally = promise.prove(programs, plan, &|_, _| {});
    println!(
        "{}: {} (seed {})",
        promise.name(),
        promise.figures(tally),
        plan.seed
    );
    assert!(tally.trials >= trials, "{tally:?}");
    tally
}

#[test]
fn p1_a_killed_worker_costs_no_daemon_and_no_line() {
    let tally = prove(Promise::P1, &shipped(), 200, 4);
    assert!(tally.lines >= 2_000_000, "{tally:?}");
}

#[test]
fn p2_nor_does_a_killed_keeper_or_both() {
    prove(Promise::P2, &shipped(), 60, 4);
}

#[test]
fn p3_who_ends_without_a_worker_is_known_by_code_and_last_words() {
    let tally = prove(Promise::P3, &shipped(), 200, 2);
    assert_eq!(tally.lines, tally.trials);
}

#[test]
fn p4_no_slot_has_two_wherever_a_start_is_cut_off() {
    let programs = with_points();
    assert!(
        has_points(&programs.agent) && has_points(&programs.agent.with_file_name("zhylon-exec"))
    );
    assert!(
        !has_points(&shipped().agent.with_file_name("zhylon-exec")),
        "what is built for release has no fail points"
    );
    assert!(POINTS.len() >= 20);
    prove(Promise::P4, &programs, POINTS.len() as u64 * 20, 8);
}

#[test]
fn p5_a_stranger_with_an_old_pid_is_left_alone() {
    if zhylon_tests::is_root("p5_a_stranger_with_an_old_pid_is_left_alone") {
        prove(Promise::P5, &shipped(), 20, 2);
    }
}

#[test]
fn p10_a_viewer_sees_every_line_once_or_a_gap() {
    let tally = prove(Promise::P10, &shipped(), 20, 2);
    assert!(tally.lines >= 100_000, "{tally:?}");
}

#[test]
fn p16_upgrades_and_downgrades_change_no_pid() {
    prove(Promise::P16, &shipped(), 20, 1);
}
