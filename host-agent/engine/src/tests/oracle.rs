//! Keeping alive, told a second time and in another way: from the list of all ends so far alone, and as naively as the
//! promise is worded. Against it, instances live random lives.
//!
//! The engine's counters are not looked at: what is compared is when the next process is asked for, if at all.

use std::time::Duration;

use proptest::prelude::*;
use zhylon_shared::spec::RestartPolicy::{self, Always, Never, OnFailure};
use zhylon_shared::state::InstanceState;

use super::sim::*;
use crate::effect::Effect;
use crate::input::*;

/// `start_seconds` of every life here.
const START: Duration = Duration::from_secs(1);

/// One process: how long it lived, and how it ended. `None`: it could not be started.
#[derive(Debug, Clone, Copy)]
struct Life {
    lived: Duration,
    exit: Option<Exit>,
}

impl Life {
    fn had_been_running(&self) -> bool {
        self.exit.is_some() && self.lived >= START
    }

    fn recovered(&self) -> bool {
        self.had_been_running() && self.lived - START >= SEC * 60
    }

    /// "An exit 0 after RUNNING is a normal recycle"; an end nobody saw "counts as a recycle under ALWAYS".
    fn is_recycle(&self) -> bool {
        self.exit == Some(Exit::Code(0)) && self.had_been_running()
            || self.exit == Some(Exit::Unknown)
    }
}

/// What follows the newest of these ends; each with when it was.
#[derive(Debug, PartialEq)]
enum Next {
    Never(InstanceState),
    /// Between these two after the end.
    Within(Duration, Duration),
}

fn expected(policy: RestartPolicy, retries: u32, past: &[(Duration, Life)]) -> Next {
    let newest = past.last().unwrap().1;
    if newest.exit.is_some() {
        let over = match policy {
            Never => true,
            OnFailure => newest.exit == Some(Exit::Code(0)),
            Always => false,
        };
        if over {
            return Next::Never(InstanceState::Exited);
        }
        if policy == Always && newest.is_recycle() {
            // "restarts at least 250 ms apart"
            let gap = (MS * 250).saturating_sub(newest.lived);
            return Next::Within(gap, gap);
        }
    }
    // "reset after 60 s of RUNNING": what was before that is forgotten.
    let since = past.iter().rposition(|(_, life)| life.recovered());
    let past = &past[since.unwrap_or(0)..];
    // Every failure, whether the delays applied to it, and whether it was in a crash loop by then.
    let mut failed: Vec<Duration> = Vec::new();
    let (mut delayed, mut looping) = (0_u32, false);
    for (at, life) in past {
        let failure = match life.exit {
            None => true,
            Some(_) if policy == Always => !life.is_recycle(),
            Some(_) => true,
        };
        if !failure {
            continue;
        }
        failed.push(*at);
        // "More than 10 failed ends in 60 s count as crash-looping"
        looping |= failed.iter().filter(|end| **end + SEC * 60 > *at).count() > 10;
        if looping || !life.had_been_running() {
            delayed += 1;
        }
    }
    // "at once if it had been RUNNING"
    if newest.had_been_running() && !looping {
        return Next::Within(Duration::ZERO, Duration::ZERO);
    }
    // "or FATAL after `max_retries`"
    if retries != 0 && delayed > retries {
        return Next::Never(InstanceState::Fatal);
    }
    // "after 1 s, doubling to 60 s, ±20 % jitter"
    let mut wait = SEC;
    for _ in 1..delayed {
        wait = (wait * 2).min(SEC * 60);
    }
    Next::Within(wait * 8 / 10, wait * 12 / 10)
}

fn life() -> impl Strategy<Value = Life> {
    let lived = prop_oneof![
        4 => 0..999_u64,
        2 => Just(1000_u64),
        6 => 1_001..5_000_u64,
        1 => 59_000..63_000_u64,
        1 => 61_000..200_000_u64,
    ];
    let exit = prop_oneof![
        6 => Just(Some(Exit::Code(1))),
        3 => Just(Some(Exit::Code(0))),
        2 => Just(Some(Exit::Signal(9))),
        1 => Just(Some(Exit::Unknown)),
        2 => Just(None),
    ];
    (lived, exit).prop_map(|(lived, exit)| Life {
        lived: Duration::from_millis(lived),
        exit,
    })
}

/// Long series of the same: only they reach the longest delays and a crash loop.
fn lives() -> impl Strategy<Value = Vec<Life>> {
    let series = (life(), 1..15_usize).prop_map(|(life, times)| vec![life; times]);
    prop::collection::vec(series, 1..6).prop_map(|all| all.concat())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_end_is_followed_by_what_was_promised(
        lives in lives(),
        policy in prop_oneof![4 => Just(Always), 3 => Just(OnFailure), 1 => Just(Never)],
        retries in prop_oneof![3 => Just(0), 1 => 1..8_u32],
    ) {
        let starting = |life: Option<&Life>| Habit {
            spawn_fails: life.filter(|life| life.exit.is_none()).map(|_| no_file()),
            ..Habit::default()
        };
        let spec = spec(|d| {
            d.restart_policy = Some(policy);
            d.max_retries = i64::from(retries);
        });
        let mut sim = Sim::behaving(spec, starting(lives.first()));
        let mut past: Vec<(Duration, Life)> = Vec::new();
        let born = sim.now;
        for (n, life) in lives.iter().enumerate() {
            let (life, run) = (*life, sim.run(1, 0));
            sim.effects.clear();
            if let Some(exit) = life.exit {
                // The spawn is answered, and it lives.
                sim.pass(life.lived);
                sim.habits.insert(id(1), starting(lives.get(n + 1)));
                sim.deliver(Input::Exited { run, exit, tree_gone: true });
            } else {
                sim.habits.insert(id(1), starting(lives.get(n + 1)));
                sim.step_one();
            }
            past.push((sim.now.since(born), life));
            let (end, expected) = (sim.now, expected(policy, retries, &past));
            match expected {
                Next::Never(state) => {
                    sim.settle();
                    prop_assert_eq!((sim.states(1), sim.spawn_times().len()), (vec![state], 0));
                    return Ok(());
                }
                Next::Within(least, most) => {
                    if most == Duration::ZERO {
                        prop_assert_eq!(sim.spawn_times().len(), 1, "at once after {:?}", past);
                    }
                    while sim.spawn_times().is_empty() {
                        prop_assert!(sim.now.since(end) <= most, "none within {:?} after {:?}", most, past);
                        sim.step_one();
                    }
                    let spawn = sim.effects.iter().find(|(_, e)| matches!(e, Effect::Spawn { .. }));
                    let after = spawn.unwrap().0.since(end);
                    prop_assert!(least <= after && after <= most, "{:?} and not {:?} to {:?} after {:?}", after, least, most, past);
                }
            }
        }
    }
}
