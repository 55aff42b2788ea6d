//! kill -9 of the worker, the keeper, both, and the api-server, twenty times each at random moments under load: no
//! daemon's pid changes, none runs twice, no line is lost, doubled or torn, and a viewer sees all of it.

use std::time::Duration;

use tokio_stream::StreamExt as _;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::tail_log_response::Event;
use zhylon_tests::daemons::{draft, log_file};
use zhylon_tests::random::Random;
use zhylon_tests::{PATIENCE, World, eventually};

/// Kills of each kind.
const KILLS: usize = 20;

/// Writes numbered lines of various lengths in bursts, about 20 000 a second, and says so if another of it runs.
/// On its stop signal it prints how far it came.
const WRITER: &str = r#"perl -e 'use Fcntl ":flock"; $|=0; open(L,">>",$ARGV[0]) or die; flock(L,LOCK_EX|LOCK_NB) or print "TWICE\n"; my $stop=0; $SIG{TERM}=sub{$stop=1}; my $n=0; until($stop){ my $b=""; for(1..50){ $n++; $b.=sprintf("%010d %s\n",$n,"x"x($n%97)); } syswrite(STDOUT,$b); select(undef,undef,undef,0.0025); } syswrite(STDOUT,"LAST $n\n"); ' "#;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Worker,
    Keeper,
    Both,
    Api,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_anything_of_ours_is_killed() {
    let world = std::sync::Arc::new(World::up());
    let writer = |n| {
        let lock = world.dir().join(format!("writer{n}.lock"));
        let mut daemon = draft(&format!("{WRITER}{}", lock.display()));
        daemon.stop_seconds = Some(60);
        daemon
    };
    let mut ids = vec![world.create(writer(0)).await.id];
    // The viewer has the first lines before anything is killed; from there on it goes by cursor.
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let viewer = tokio::spawn(view(world.clone(), ids[0].clone(), begun));
    has_begun.await.expect("the viewer has begun");
    for n in 1..3 {
        ids.push(world.create(writer(n)).await.id);
    }
    let mut pids = Vec::new();
    for id in &ids {
        pids.push(world.running(id).await);
    }

    let mut random = Random::seeded();
    let seed = random.seed();
    let mut plan: Vec<Victim> =
        [Victim::Worker, Victim::Keeper, Victim::Both, Victim::Api].repeat(KILLS);
    for at in (1..plan.len()).rev() {
        plan.swap(at, random.below(at + 1));
    }
    let killer = {
        let world = world.clone();
        tokio::task::spawn_blocking(move || {
            let mut done = [0; 4];
            for victim in plan {
                // Part of the injection, not of any waiting: the moment of the kill is random.
                std::thread::sleep(Duration::from_millis(random.below(250) as u64));
                kill(&world, victim);
                done[victim as usize] += 1;
            }
            done
        })
    };
    let done = killer.await.expect("the killer");
    assert_eq!(done, [KILLS; 4], "seed {seed}");

    // Everything is back, and nothing of the daemons ever changed.
    for (id, before) in ids.iter().zip(&pids) {
        assert_eq!(
            world.running(id).await,
            *before,
            "seed {seed}: {id}\n{}",
            world.log()
        );
        let daemon = world.get(id).await;
        let restarts: i64 = daemon
            .status
            .expect("a status")
            .instances
            .iter()
            .map(|i| i.restart_count)
            .sum();
        assert_eq!(restarts, 0, "seed {seed}");
    }
    for id in &ids {
        let stopped = world.ctl(&["daemon", "stop", id, "--wait"]);
        assert!(
            stopped.status.success(),
            "seed {seed}: {}",
            String::from_utf8_lossy(&stopped.stderr)
        );
    }
    for id in &ids {
        let text = eventually("the last line is in the file", || {
            std::fs::read_to_string(log_file(id))
                .ok()
                .filter(|text| text.contains("LAST ") && text.ends_with('\n'))
        });
        check(&text, seed);
    }
    let seen = tokio::time::timeout(PATIENCE, viewer)
        .await
        .expect("the viewer gets the last line")
        .expect("viewer");
    check(&seen, seed);
    println!("seed {seed}: {KILLS} kills each of worker, keeper, both and api-server");
}

fn kill(world: &World, victim: Victim) {
    let before = |name: &str| eventually(name, || world.process(name));
    let (api, keeper, worker) = (
        before("ZHYLON_API_PID"),
        before("ZHYLON_KEEPER_PID"),
        before("ZHYLON_WORKER_PID"),
    );
    let strike = |process: &xtask::up::processes::Process| {
        process
            .signal(rustix::process::Signal::KILL)
            .expect("kill it");
    };
    match victim {
        Victim::Worker => {
            strike(&worker);
            world.comes_back("ZHYLON_WORKER_PID", worker);
        }
        Victim::Keeper => {
            strike(&keeper);
            world.comes_back("ZHYLON_KEEPER_PID", keeper);
            world.comes_back("ZHYLON_WORKER_PID", worker);
        }
        Victim::Both => {
            strike(&worker);
            strike(&keeper);
            world.comes_back("ZHYLON_KEEPER_PID", keeper);
            world.comes_back("ZHYLON_WORKER_PID", worker);
        }
        Victim::Api => {
            strike(&api);
            world.comes_back("ZHYLON_API_PID", api);
        }
    }
}

/// Follows a log to its last line, coming back by cursor whenever the stream is cut.
async fn view(
    world: std::sync::Arc<World>,
    id: String,
    begun: tokio::sync::oneshot::Sender<()>,
) -> String {
    let mut begun = Some(begun);
    let mut text = String::new();
    let mut start = Start::TailLines(100_000);
    loop {
        let mut stream = world.tail(&id, start.clone(), true).await;
        while let Some(Ok(event)) = stream.next().await {
            let cursor = match event.event {
                Some(Event::Chunk(chunk)) => {
                    if let Some(begun) = begun.take() {
                        let _ = begun.send(());
                    }
                    text.push_str(std::str::from_utf8(&chunk.data).expect("text"));
                    chunk.cursor
                }
                Some(Event::Gap(gap)) => panic!("a gap: {gap:?}"),
                Some(Event::KeepAlive(alive)) if !alive.cursor.is_empty() => alive.cursor,
                Some(Event::KeepAlive(_)) => continue,
                None => continue,
            };
            start = Start::Cursor(cursor);
            if text.ends_with('\n')
                && text
                    .lines()
                    .next_back()
                    .is_some_and(|line| line.starts_with("LAST "))
            {
                return text;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Knows nothing of our code: every number once, in order, every line whole, and the last line says how many.
fn check(text: &str, seed: u64) {
    let mut expected = 1;
    let mut last = None;
    for line in text.lines() {
        assert!(last.is_none(), "seed {seed}: {line:?} after the last line");
        assert_ne!(line, "TWICE", "seed {seed}: it ran twice");
        if let Some(count) = line.strip_prefix("LAST ") {
            last = count.parse::<usize>().ok();
            continue;
        }
        let whole = format!("{expected:010} {}", "x".repeat(expected % 97));
        assert_eq!(line, whole, "seed {seed}: expected number {expected}");
        expected += 1;
    }
    assert_eq!(last, Some(expected - 1), "seed {seed}");
    assert!(
        expected > 1000,
        "seed {seed}: hardly any load: {expected} lines"
    );
}
