//! What somebody stopped at the shell stays stopped: through kills of the agent, through a reboot, and whatever happens to
//! other daemons, until somebody starts it. And a restart has no half: killed anywhere, the daemon runs again.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use zhylon_tests::daemons::{Watched, draft_of};
use zhylon_tests::machine::{Machine, Said};
use zhylon_tests::namespace::{reboot, story};
use zhylon_tests::random::Random;
use zhylon_tests::{World, eventually};

use zhylon_proto::daemons::v1::{InstanceState, LocalHold};

/// Kills of each kind that must have hit a restart before it ended.
const HITS: usize = 30;
/// Tries for that; how long a restart takes is not ours to say.
const TRIES: usize = 200;

#[test]
fn a_local_stop_outlives_kills_and_a_reboot() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        let mut stopped = draft_of("site1", "sleep 1000");
        stopped.processes = Some(2);
        let stopped = world.create(stopped).await.id;
        let other = world.create(draft_of("site2", "sleep 1000")).await.id;
        let before = Watched::new(&world, &stopped).await;
        let others = Watched::new(&world, &other).await;
        let mut partly = draft_of("site2", "sleep 1000");
        partly.processes = Some(2);
        let partly = world.create(partly).await.id;
        world.running(&partly).await;
        let bare = partly.trim_start_matches("h:");
        let said = machine.shell(
            "site2",
            &format!("supervisorctl stop daemon-{bare}:daemon-{bare}_01"),
        );
        assert_eq!(said.code, 0, "{said:?}");

        let said = machine.shell("site1", &format!("supervisorctl stop daemon-{stopped}:*"));
        assert_eq!(said.code, 0, "{said:?}");
        before.gone();
        let hold = held(&world, &stopped).await;
        assert_eq!(hold.by, "site1 (uid 2001)");
        let since = hold.time.expect("since when").seconds;
        assert!((0..600).contains(&(now() - since)), "held since {since}");

        // The agent dies in every way; what it watches lives on, what is held stays held.
        for victims in [
            &["ZHYLON_WORKER_PID"][..],
            &["ZHYLON_KEEPER_PID"],
            &["ZHYLON_KEEPER_PID", "ZHYLON_WORKER_PID"],
        ] {
            let agent = ["ZHYLON_KEEPER_PID", "ZHYLON_WORKER_PID"]
                .map(|name| eventually(name, || world.process(name)));
            let killed: Vec<_> = agent
                .iter()
                .zip(["ZHYLON_KEEPER_PID", "ZHYLON_WORKER_PID"])
                .filter(|(_, name)| victims.contains(name))
                .collect();
            for (process, _) in &killed {
                process
                    .signal(rustix::process::Signal::KILL)
                    .expect("kill it");
            }
            for (process, name) in killed {
                world.comes_back(name, *process);
            }
            assert_eq!(held(&world, &stopped).await, hold);
            others.untouched();
        }

        // Somebody changes another daemon: that is no word about this one.
        assert!(
            world
                .ctl(&["daemon", "update", &other, "--processes", "2"])
                .status
                .success()
        );
        world
            .status(&other, "two", |s| {
                s.instances.len() == 2 && s.state() == InstanceState::Running && !s.reconciling
            })
            .await;
        assert_eq!(held(&world, &stopped).await, hold);

        reboot();
        let again = world.up_again();
        assert!(again.status.success(), "{again:?}\n{}", world.log());
        Watched::new(&world, &other).await;
        assert_eq!(held(&world, &stopped).await, hold);
        // One instance that was stopped alone stays so, alone.
        let status = world
            .status(&partly, "half running", |s| {
                let states: Vec<_> = s.instances.iter().map(|i| i.state()).collect();
                states == [InstanceState::Running, InstanceState::Stopped]
            })
            .await;
        let hold_of = |index: usize| status.instances[index].local_hold.as_ref();
        assert_eq!(hold_of(1).expect("a hold").by, "site2 (uid 2002)");
        assert_eq!((hold_of(0), &status.local_hold), (None, &None));
        let said = machine.shell("site1", "supervisorctl status");
        assert_eq!(
            (said.code, said.out.matches(" STOPPED ").count()),
            (3, 2),
            "{said:?}"
        );

        assert!(
            world
                .ctl(&["daemon", "start", &stopped, "--wait"])
                .status
                .success()
        );
        let free = world
            .status(&stopped, "free", |s| s.local_hold.is_none())
            .await;
        assert_eq!(free.instances.len(), 2);
        let start = world.ctl(&["daemon", "start", &partly, "--wait"]);
        assert!(start.status.success());
        world
            .status(&partly, "free", |s| {
                s.instances.iter().all(|i| i.local_hold.is_none())
            })
            .await;
        world.running(&partly).await;
        Watched::new(&world, &stopped).await;
    });
}

#[test]
fn a_restart_killed_anywhere_leaves_the_daemon_running() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        // Its end takes a while, so that moments of both halves are hit.
        let command = "/bin/bash -c 'trap \"sleep 0.05; exit\" TERM; while :; do sleep 0.01; done'";
        let mut daemon = draft_of("site1", command);
        daemon.start_seconds = Some(0);
        daemon.processes = Some(2);
        let id = world.create(daemon).await.id;
        let mut random = Random::seeded();
        let seed = random.seed();
        world.running(&id).await;
        let mut restarts = 0;
        let mut hits = [0; 2];
        for (victim, hits) in ["client", "agent"].into_iter().zip(&mut hits) {
            for _ in 0..TRIES {
                let mut client = machine.command("site1", "supervisorctl");
                client
                    .args(["restart", &format!("daemon-{id}:*")])
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                let mut client = client.spawn().expect("start it");
                // Part of the injection, not of any waiting: the moment of the kill is random.
                std::thread::sleep(Duration::from_millis(random.below(90) as u64));
                if victim == "client" {
                    // What `timeout` started dies with the group it made.
                    kill_group(&client);
                    let ended = client.wait().expect("wait");
                    *hits += usize::from(ended.signal() == Some(9));
                } else {
                    // With the keeper its worker dies, and with it the keeper's memory of young workers' deaths, after
                    // which it would wait seconds before it starts the next.
                    let victim =
                        ["ZHYLON_WORKER_PID", "ZHYLON_KEEPER_PID"][usize::from(restarts % 4 == 0)];
                    let worker = eventually("a worker", || world.process("ZHYLON_WORKER_PID"));
                    world.kill(victim);
                    world.comes_back("ZHYLON_WORKER_PID", worker);
                    let said: Said = client.wait_with_output().expect("wait").into();
                    *hits += usize::from(said.code != 0);
                }
                // All of it runs, asked where no answer is old; whether in other processes depends on the moment.
                eventually(&format!("running again, seed {seed}"), || {
                    let said = machine.shell("site1", "supervisorctl status");
                    (said.code == 0 && said.out.matches(" RUNNING ").count() == 2).then_some(())
                });
                restarts += 1;
                if *hits >= HITS {
                    break;
                }
            }
        }
        println!("seed {seed}: {restarts} restarts, killed before their end {hits:?} times");
        assert!(
            hits.iter().all(|hits| *hits >= HITS),
            "seed {seed}: {hits:?} of {restarts}"
        );
        world.running(&id).await;
        let status = world.get(&id).await.status.expect("a status");
        assert_eq!(status.local_hold, None, "seed {seed}");
    });
}

/// Kills a client with `timeout` above it.
fn kill_group(client: &std::process::Child) {
    let group = rustix::process::Pid::from_child(client);
    let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
}

async fn held(world: &World, id: &str) -> LocalHold {
    let status = world
        .status(id, "held", |s| {
            s.local_hold.is_some() && s.state() == InstanceState::Stopped
        })
        .await;
    status.local_hold.expect("a hold")
}

fn now() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock");
    now.as_secs().cast_signed()
}
