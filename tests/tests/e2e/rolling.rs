//! A rolling restart through every part: asked for at the shell, stopped by the host, told to who waits.

use zhylon_proto::daemons::v1::InstanceState;
use zhylon_tests::World;
use zhylon_tests::daemons::draft;

#[tokio::test]
async fn a_rolling_restart_goes_through_or_stops_and_says_where() {
    let world = World::up();
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken");
    let script = format!(
        "/bin/sh -c 'test -e {} && exit 3; exec sleep 1000'",
        broken.display()
    );
    let mut three = draft(&script);
    three.processes = Some(3);
    let id = world.create(three).await.id;
    let before = world.running(&id).await;
    let rolling = || world.ctl(&["daemon", "restart", &id, "--strategy", "rolling", "--wait"]);

    let said = rolling();
    assert!(said.status.success(), "{said:?}");
    let after = world.running(&id).await;
    assert!(
        after.iter().all(|pid| !before.contains(pid)),
        "{before:?} {after:?}"
    );

    std::fs::write(&broken, "").unwrap();
    let said = rolling();
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let told = String::from_utf8(said.stderr).unwrap();
    assert!(told.contains("ABORTED"), "{told}");
    let stopped = "rollout stopped at instance 0: exit code 3; not restarted: instances 1, 2";
    assert!(told.contains(stopped), "{told}");
    // What failed goes on trying; the rest is as it was.
    std::fs::remove_file(&broken).unwrap();
    let healed = world.status(&id, "all run again", |status| {
        let mut instances = status.instances.iter();
        instances.all(|one| one.state() == InstanceState::Running)
    });
    let healed = healed.await;
    let left: Vec<i32> = healed.instances.iter().map(|one| one.pid).collect();
    assert_ne!(left[0], after[0]);
    assert_eq!(left[1..], after[1..]);
    assert!(
        healed.reconciling && healed.message.starts_with("rollout stopped"),
        "{healed:?}"
    );
}
