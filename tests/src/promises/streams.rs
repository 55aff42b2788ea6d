//! P10: a viewer sees every line once and in order, or an announced gap, whatever is killed, restarted or cleared meanwhile
//! and however it reads.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use zhylon_proto::daemons::v1::ClearLogRequest;

use super::{Programs, Tally, word};
use crate::World;
use crate::daemons::draft;
use crate::random::Random;
use crate::streams::{Manner, Recording};

/// Interruptions of one round.
pub(super) const INTERRUPTIONS: u64 = 10;
/// Writers of one daemon.
const SLOTS: usize = 2;
/// Longest time between two interruptions, in milliseconds.
const PAUSE: usize = 900;

pub(super) fn round(programs: &Programs, random: &mut Random) -> Tally {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime
        .expect("a runtime")
        .block_on(interrupted(programs, random))
}

async fn interrupted(programs: &Programs, random: &mut Random) -> Tally {
    let world = std::sync::Arc::new(World::up());
    let notes = tempfile::tempdir().expect("a temporary directory");
    let command = format!("{} writer {}", word(&programs.daemon), word(notes.path()));
    let mut daemon = draft(&command);
    daemon.processes = Some(SLOTS as i32);
    let id = world.create(daemon).await.id;
    let manners = [
        Manner::Steady,
        Manner::Restless(Random::from_seed(random.seed() ^ 0x55)),
        Manner::Slow(Random::from_seed(random.seed() ^ 0xAA)),
    ];
    let viewers_count = manners.len();
    let mut viewers = JoinSet::new();
    for (number, manner) in manners.into_iter().enumerate() {
        let recording = Recording::new(notes.path().join(format!("recording.{number}")));
        let (world, id) = (world.clone(), id.clone());
        viewers.spawn(async move { recording.follow(&world, &id, SLOTS, manner).await });
    }
    let pids = world.running(&id).await;
    for _ in 0..INTERRUPTIONS {
        // Part of the injection, not of any waiting: the moment is random.
        tokio::time::sleep(Duration::from_millis(random.below(PAUSE) as u64)).await;
        match random.below(5) {
            0 | 1 => world.kill("ZHYLON_WORKER_PID"),
            2 => world.kill("ZHYLON_KEEPER_PID"),
            3 => world.kill("ZHYLON_API_PID"),
            _ => {
                let api = crate::eventually("an api-server", || world.process("ZHYLON_API_PID"));
                api.signal(Signal::TERM).expect("ask it to end");
                crate::eventually("it ended", || (!api.lives()).then_some(()));
            }
        }
    }
    let cleared = crate::eventually_async("the log is cleared", || async {
        let request = ClearLogRequest {
            daemon_id: id.clone(),
        };
        world.logs().await.clear_log(request).await.ok()
    });
    cleared.await;
    fs::write(notes.path().join("stop"), "").expect("tell the writers");
    let mut tally = Tally {
        trials: INTERRUPTIONS,
        ..Tally::default()
    };
    let all = async {
        while let Some(recording) = viewers.join_next().await {
            let recording = recording.expect("a viewer");
            tally.lines += recording.check(SLOTS).lines;
            tally.runs += 1;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(300), all).await;
    done.expect("viewers have everything");
    assert_eq!(tally.runs, viewers_count as u64, "viewers");
    assert!(
        tally.lines > 10_000,
        "hardly any load: {} lines",
        tally.lines
    );
    assert_eq!(world.running(&id).await, pids, "pids changed");
    tally
}
