//! A person's first minutes: what the README says, as printed.

use xtask::up::processes::Process;
use zhylon_tests::daemons::{draft, log_file};
use zhylon_tests::{World, eventually};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn a_person_steers_a_daemon_with_zhylonctl() {
    let world = World::up();

    // The sample that `up` made is there, runs, and is followed.
    let list = world.ctl(&["daemon", "list"]);
    assert!(list.status.success(), "{}", text(&list.stderr));
    let table = text(&list.stdout);
    assert!(
        table.starts_with("ID") && table.contains("sample") && table.contains("RUNNING"),
        "{table}"
    );

    let user = zhylon_tests::daemons::me();
    let created = world.ctl(&[
        "daemon",
        "create",
        "--name",
        "web",
        "--user",
        &user,
        "--processes",
        "2",
        "--stop-seconds",
        "3",
        "--command",
        "/bin/sh -c 'echo up $$; exec sleep 1000'",
        "--wait",
        "-o",
        "json",
    ]);
    assert!(created.status.success(), "{}", text(&created.stderr));
    let daemon: serde_json::Value = serde_json::from_slice(&created.stdout).expect("JSON");
    assert_eq!(daemon["status"]["state"], "RUNNING");
    assert_eq!(daemon["processes"], 2);
    let id = daemon["id"].as_str().expect("an id").to_owned();

    // By its name, too; a restart waits for its outcome.
    let restarted = world.ctl(&["daemon", "restart", "web", "--wait", "-o", "json"]);
    assert!(restarted.status.success(), "{}", text(&restarted.stderr));
    let after: serde_json::Value = serde_json::from_slice(&restarted.stdout).expect("JSON");
    assert_eq!(after["status"]["restartOutcome"], "SUCCEEDED");
    for n in 0..2 {
        assert_ne!(
            after["status"]["instances"][n]["pid"],
            daemon["status"]["instances"][n]["pid"]
        );
    }

    // Lines are in the file and over the API: two instances, two generations.
    let logs = eventually("four lines", || {
        let logs = text(&world.ctl(&["daemon", "logs", &id, "-n", "100"]).stdout);
        (logs.lines().filter(|line| line.starts_with("up ")).count() == 4).then_some(logs)
    });
    assert_eq!(
        std::fs::read_to_string(log_file(&id)).expect("the log file"),
        logs
    );

    let stopped = world.ctl(&["daemon", "stop", "web", "--wait"]);
    assert!(stopped.status.success(), "{}", text(&stopped.stderr));
    assert!(text(&stopped.stdout).contains("STOPPED"));
    let started = world.ctl(&["daemon", "start", "web", "--wait"]);
    assert!(started.status.success(), "{}", text(&started.stderr));

    // Raising the number of instances leaves the others alone.
    let before = world.running(&id).await;
    let scaled = world.ctl(&["daemon", "update", "web", "--processes", "3", "--wait"]);
    assert!(scaled.status.success(), "{}", text(&scaled.stderr));
    let after = world.running(&id).await;
    assert_eq!(after[..2], before[..]);
    assert_eq!(after.len(), 3);

    let deleted = world.ctl(&["daemon", "delete", "web"]);
    assert!(deleted.status.success(), "{}", text(&deleted.stderr));
    let gone = world.ctl(&["daemon", "get", &id]);
    assert_eq!(gone.status.code(), Some(4), "{}", text(&gone.stderr));
    for pid in after {
        eventually("the process is gone", || {
            (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    }

    // Servers, teams, members.
    let servers = world.ctl(&["server", "list", "-o", "json"]);
    let servers: serde_json::Value = serde_json::from_slice(&servers.stdout).expect("JSON");
    assert_eq!(servers["servers"][0]["connectionState"], "CONNECTED");
    let members = text(&world.ctl(&["team", "members"]).stdout);
    assert!(members.contains("owner: all"), "{members}");
}

/// What the host decides is told in words, and tried again.
#[tokio::test]
async fn what_can_not_start_says_why() {
    let world = World::up();
    let mut missing_directory = draft("sleep 1000");
    missing_directory.directory = "/no/such/directory".to_owned();
    let mut unknown_user = draft("sleep 1000");
    unknown_user.user = Some("nosuchuser".to_owned());
    let not_executable = world.dir().join("not-executable");
    std::fs::write(&not_executable, "text\n").expect("write a file");
    let rows = [
        (
            draft("/no/such/program --flag"),
            "No such file or directory",
        ),
        (
            draft("no-such-program-in-path"),
            "No such file or directory",
        ),
        (
            draft(&not_executable.display().to_string()),
            "Permission denied",
        ),
        (missing_directory, "/no/such/directory"),
        (unknown_user, "nosuchuser"),
    ];
    for (draft, words) in rows {
        let command = draft.command.clone();
        let id = world.create(draft).await.id;
        let tried = |status: &zhylon_proto::daemons::v1::DaemonStatus| {
            status.instances.iter().any(|i| {
                i.next_start_time.is_some()
                    && i.last_exit
                        .as_ref()
                        .is_some_and(|exit| exit.message.contains(words))
            })
        };
        world
            .status(&id, &format!("waiting with {words:?} ({command})"), tried)
            .await;
    }
    // A host that stays away from the api-server goes on: nothing here needed it. But it is there: the sample still runs.
    let list = text(&world.ctl(&["daemon", "list"]).stdout);
    assert!(
        list.contains("BACKOFF") && list.contains("RUNNING"),
        "{list}"
    );
}

/// `down` ends everything, daemons too, though the runner is gone; and until then `up` starts no second set.
#[tokio::test]
async fn down_needs_no_runner() {
    let world = World::up();
    let id = world.create(draft("sleep 1000")).await.id;
    let daemon = Process::find(world.running(&id).await[0]).expect("it lives");
    let runner = Process::from_file(&world.dir().join("runner.pid")).expect("a runner");
    runner
        .signal(rustix::process::Signal::KILL)
        .expect("kill it");
    eventually("the runner is gone", || (!runner.lives()).then_some(()));
    let again = world.up_again();
    assert!(!again.status.success(), "{}", text(&again.stdout));
    assert!(
        text(&again.stderr).contains("runs already"),
        "{}",
        text(&again.stderr)
    );
    let ours = ["ZHYLON_API_PID", "ZHYLON_KEEPER_PID", "ZHYLON_WORKER_PID"]
        .map(|name| world.process(name).expect("it lives"));
    drop(world);
    for process in ours.into_iter().chain([daemon]) {
        assert!(!process.lives(), "{process:?}");
    }
}
