//! A host for a simulated year: changes, deploys, operators, crashes, agents that die, reboots, restored databases, in
//! virtual time. With every input what must hold always is checked ([`super::sim`]); every so often everything is mended,
//! an hour passes, and the host must be as the reference says.
//!
//! A failure names its seed: `ENGINE_YEAR_SEED=… cargo test -p host-agent-engine year` repeats it.

use std::time::Duration;

use proptest_state_machine::ReferenceStateMachine as _;

use super::model::{DAEMONS, Reference, Step, check, host, mend, resume, strategy, take};
use super::sim::*;
use crate::input::*;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Steps between two looks at the whole.
const LOOK: u32 = 40;

/// splitmix64: the same seed is the same year.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % bound
    }

    fn small(&mut self, bound: u8) -> u8 {
        u8::try_from(self.below(bound.into())).unwrap()
    }

    fn action(&mut self) -> Action {
        match self.below(4) {
            0 => Action::Start,
            1 => Action::Stop,
            2 => Action::Restart,
            _ => Action::Signal(10),
        }
    }

    /// What happens next. Time passes in moments, minutes and half days, so that much falls into the same second and
    /// the year still ends.
    fn step(&mut self) -> Step {
        let n = 1 + self.small(DAEMONS);
        let index = u32::from(self.small(4));
        match self.below(100) {
            0..8 => Step::Create(n),
            8..10 => Step::Delete(n),
            10..18 => Step::Update(n, self.small(3), 2 + u32::from(self.small(3))),
            18..22 => Step::ApiStart(n),
            22..25 => Step::ApiStop(n),
            25..33 => Step::ApiRestart(n, strategy(self.below(2) == 0)),
            33..38 => Step::Local(n, self.action()),
            38..42 => Step::LocalOne(n, index % 2, self.action()),
            42..50 => Step::End(n, index, i32::from(self.small(2))),
            50..53 => Step::Spawns(n, self.below(3) > 0),
            53..56 => Step::Resolves(n, self.below(3) > 0),
            56..60 => Step::KillWorker,
            60 => Step::Reboot,
            61 => Step::Epoch(self.small(255)),
            62..75 => Step::Pass(self.below(3_000)),
            75..90 => Step::Pass(self.below(600_000)),
            _ => Step::Pass(self.below(43_200_000)),
        }
    }
}

/// What happened, so that a year in which nothing did proves nothing.
#[derive(Debug, Default)]
struct Count {
    steps: u32,
    looks: u32,
    deaths: u32,
    reboots: u32,
    epochs: u32,
    rolling: u32,
    stopped: u32,
    spawns: usize,
}

#[test]
fn a_year_on_one_host() {
    let named = std::env::var("ENGINE_YEAR_SEED");
    let seed = named.map_or_else(|_| fresh_seed(), |seed| seed.parse().unwrap());
    // Only shown if it fails.
    println!("ENGINE_YEAR_SEED={seed}");
    let count = live(seed);
    println!("{count:?}");
    assert!(count.steps > 2_000 && count.spawns > 2_000, "{count:?}");
    assert!(count.looks > 50 && count.deaths > 50, "{count:?}");
    assert!(count.reboots > 5 && count.epochs > 5, "{count:?}");
    assert!(count.rolling > 50 && count.stopped > 3, "{count:?}");
}

fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish()
}

fn live(seed: u64) -> Count {
    let mut dice = Dice(seed);
    let mut sim = host();
    // A worker of Laravel's: ends by itself, well, after a while.
    let recycle = Some((SEC * 3600, Exit::Code(0)));
    sim.habits.get_mut(&id(1)).unwrap().ends = recycle;
    let mut reference = Reference::default();
    let mut count = Count::default();
    let end = sim.now + YEAR;
    while sim.now < end {
        let step = dice.step();
        count.steps += 1;
        match &step {
            Step::KillWorker => count.deaths += 1,
            Step::Reboot => count.reboots += 1,
            Step::Epoch(_) => count.epochs += 1,
            Step::ApiRestart(..) => count.rolling += 1,
            _ => {}
        }
        reference = Reference::apply(reference, &step);
        sim = take(sim, step);
        count.spawns += sim.spawn_times().len();
        sim.effects.clear();
        if count.steps % LOOK == 0 {
            count.looks += 1;
            count.stopped += u32::try_from(sim.stopped.len()).unwrap();
            look(&mut sim, &reference);
        }
    }
    count
}

fn look(sim: &mut Sim, reference: &Reference) {
    // What ends by itself is for a moment not RUNNING.
    let recycling = sim.habits.get_mut(&id(1)).unwrap().ends.take();
    mend(sim);
    sim.pass(SEC * 7200);
    resume(sim, reference);
    sim.pass(SEC * 3600);
    check(sim, reference);
    sim.habits.get_mut(&id(1)).unwrap().ends = recycling;
}
