//! The documented habit, letter for letter, with our client and with Debian's unmodified one.

use std::path::Path;

use zhylon_tests::daemons::draft;
use zhylon_tests::{World, eventually, skip};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn restart_in_both_spellings_with_both_clients() {
    let world = World::up();
    let mut daemon = draft("/bin/sh -c 'echo line from $$; exec sleep 1000'");
    daemon.processes = Some(2);
    let id = world.create(daemon).await.id;
    let bare = id.trim_start_matches("h:").to_owned();
    let mut pids = world.running(&id).await;

    let debian = Path::new("/usr/bin/supervisorctl").exists();
    if !debian {
        skip(
            "restart_in_both_spellings_with_both_clients",
            "Debian's supervisor is not installed",
        );
    }
    for name in [format!("daemon-{id}:*"), format!("daemon-{bare}:*")] {
        for client in ["ours", "Debian's"] {
            let output = match client {
                "ours" => world.supervisorctl(&["restart", &name]),
                _ if debian => world.debian_supervisorctl(&["restart", &name]),
                _ => continue,
            };
            let out = text(&output.stdout);
            assert!(
                output.status.success(),
                "{client} {name}: {out}{}",
                text(&output.stderr)
            );
            assert!(
                out.contains(": stopped") && out.contains(": started"),
                "{client} {name}: {out}"
            );
            let old = pids.clone();
            // Supervisor's promise: when it returns, the new processes run.
            pids = eventually("both instances have new pids", || {
                let now: Vec<i32> = (0..2).filter_map(|n| pid(&world, &bare, n)).collect();
                (now.len() == 2 && now.iter().all(|pid| !old.contains(pid))).then_some(now)
            });
        }
    }

    let ours = text(&world.supervisorctl(&["status"]).stdout);
    assert!(
        ours.contains(&format!("daemon-{bare}:daemon-{bare}_00")) && ours.contains("RUNNING   pid"),
        "{ours}"
    );
    if debian {
        // The same server through both clients: the same lines but for the uptime's second.
        let debian = text(&world.debian_supervisorctl(&["status"]).stdout);
        let masked = |text: &str| {
            text.lines()
                .map(|line| line.split(", uptime").next().unwrap_or(line).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(masked(&ours), masked(&debian));
    }

    let group = format!("daemon-{id}:*");
    let stopped = world.supervisorctl(&["stop", &group]);
    assert!(stopped.status.success(), "{}", text(&stopped.stdout));
    let status = world.supervisorctl(&["status", &group]);
    assert_eq!(status.status.code(), Some(3), "{}", text(&status.stdout));
    assert!(text(&status.stdout).contains("STOPPED"));
    // The hold is seen over the API, and an API start ends it.
    let held = world.status(&id, "held", |s| s.local_hold.is_some()).await;
    assert!(
        held.local_hold
            .expect("a hold")
            .by
            .contains(&zhylon_tests::daemons::me())
    );
    assert!(
        world
            .ctl(&["daemon", "start", &id, "--wait"])
            .status
            .success()
    );
    let free = world
        .status(&id, "not held", |s| s.local_hold.is_none())
        .await;
    assert_eq!(free.instances.len(), 2);

    let tail = text(
        &world
            .supervisorctl(&["tail", &format!("daemon-{bare}:daemon-{bare}_00")])
            .stdout,
    );
    assert!(tail.contains("line from"), "{tail}");
    let version = world.supervisorctl(&["version"]);
    assert!(version.status.success());
    let unknown = world.supervisorctl(&["restart", "daemon-h:AAAAAAAAAAAAAAAAAA:*"]);
    assert_ne!(unknown.status.code(), Some(0), "{}", text(&unknown.stdout));
    assert!(
        text(&unknown.stdout).contains("ERROR (no such"),
        "{}",
        text(&unknown.stdout)
    );
}

/// `supervisorctl pid`, the number of one instance.
fn pid(world: &World, bare: &str, index: u32) -> Option<i32> {
    let output = world.supervisorctl(&["pid", &format!("daemon-{bare}:daemon-{bare}_{index:02}")]);
    text(&output.stdout)
        .trim()
        .parse()
        .ok()
        .filter(|pid| *pid > 0)
}
