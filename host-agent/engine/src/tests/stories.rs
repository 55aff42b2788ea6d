//! Whole lives as a person would read them in a log: what was asked of the shell, and when.

use super::sim::*;
use crate::effect::Effect;
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

impl Sim {
    /// All effects but the announcements, with their times.
    fn transcript(&self) -> String {
        let slot = |slot: &Slot| slot.index;
        let told = self.effects.iter().filter_map(|(at, effect)| {
            let text = match effect {
                Effect::Spawn {
                    run,
                    spec,
                    restart_generation,
                } => {
                    let command = spec.command();
                    let (slot, generation) = (slot(&run.slot), run.generation);
                    format!(
                        "spawn {slot} #{generation} `{command}` for restart {restart_generation}"
                    )
                }
                Effect::Signal { run, signal } => format!("signal {signal} to {}", run.slot.index),
                Effect::SignalTree { run, signal } => {
                    format!("signal {signal} to the tree of {}", run.slot.index)
                }
                Effect::KillTree { run } => format!("kill the tree of {}", run.slot.index),
                Effect::Check { revision, .. } => format!("check revision {revision}"),
                Effect::HoldEnded { .. } => "the hold ended".to_owned(),
                Effect::HoldsRebased { .. } => "the holds count anew".to_owned(),
                Effect::RolloutStopped { revision, why, .. } => {
                    format!("revision {revision}: {why}")
                }
                Effect::Settled {
                    restart_generation,
                    outcome,
                    ..
                } => {
                    format!("restart {restart_generation} settled: {outcome:?}")
                }
                Effect::Changed { .. } => return None,
                Effect::Gone { .. } => "gone".to_owned(),
                Effect::Reply { outcomes, .. } => {
                    let outcomes: Vec<_> = outcomes.iter().map(|(_, outcome)| outcome).collect();
                    format!("answer {outcomes:?}")
                }
                Effect::Terminated => "terminated".to_owned(),
            };
            let at = at.since_origin().as_secs_f64() - 10_000.0;
            Some(format!("{at:9.3} {text}\n"))
        });
        told.collect()
    }
}
