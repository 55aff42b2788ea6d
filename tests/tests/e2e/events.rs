//! What happened, who did it and from where: seen over the API though the api-server was away and the worker was killed
//! meanwhile, and seen once.

use rustix::process::Signal;
use zhylon_proto::daemons::v1::{
    DaemonEvent, DaemonEventSource as Source, DaemonEventType as Type, InstanceState,
    ListDaemonEventsRequest,
};
use zhylon_tests::daemons::{draft, me};
use zhylon_tests::{World, eventually, eventually_async};

/// A daemon's events, oldest first.
async fn events(world: &World, id: &str) -> Vec<DaemonEvent> {
    let request = ListDaemonEventsRequest {
        daemon_id: id.to_owned(),
        page_size: 1000,
        page_token: String::new(),
    };
    let listed = world.daemons().await.list_daemon_events(request).await;
    let mut events = listed.expect("list events").into_inner().events;
    events.reverse();
    events
}

fn types(events: &[DaemonEvent]) -> Vec<Type> {
    events.iter().map(DaemonEvent::r#type).collect()
}

async fn until(world: &World, id: &str, wanted: &[Type]) -> Vec<DaemonEvent> {
    let what = format!("the events {wanted:?} of {id}");
    eventually_async(&what, || async {
        let now = events(world, id).await;
        assert!(now.len() <= wanted.len(), "{what}, and more: {now:?}");
        (types(&now) == wanted).then_some(now)
    })
    .await
}

fn supervisorctl(world: &World, words: &[&str]) {
    let output = world.supervisorctl(words);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words:?}: {said}");
}

#[tokio::test]
async fn who_did_what_is_told_once_whatever_is_killed() {
    let world = World::up();
    let go = world.dir().join("go");
    let crashing = format!(
        "/bin/sh -c 'while [ ! -e {go} ]; do sleep 0.05; done; rm {go}; exit 7'",
        go = go.display()
    );
    let held = world.create(draft("/bin/sleep 1000")).await.id;
    let crashing = world.create(draft(&crashing)).await.id;
    world.running(&held).await;
    let pids = world.running(&crashing).await;
    let name = format!("daemon-{held}:*");

    // From both sides: the host's operator stops it, the API starts it.
    supervisorctl(&world, &["stop", &name]);
    let mut wanted = vec![Type::Created, Type::StopRequested, Type::HoldSet];
    until(&world, &held, &wanted).await;
    let started = world.ctl(&["daemon", "start", &held, "--wait"]);
    assert!(started.status.success(), "{started:?}");
    wanted.extend([Type::StartRequested, Type::HoldEnded]);
    let seen = until(&world, &held, &wanted).await;
    let sources: Vec<_> = seen.iter().map(DaemonEvent::source).collect();
    let (api, local, agent) = (Source::Api, Source::Local, Source::Agent);
    assert_eq!(sources, [api, local, local, api, agent]);
    for (at, event) in seen.iter().enumerate() {
        let expected = match event.source() {
            Source::Local => me(),
            Source::Api => seen[0].by.clone(),
            _ => String::new(),
        };
        assert!(
            event.by.starts_with(&expected) && event.by.is_empty() == expected.is_empty(),
            "event {at}: {event:?}"
        );
        assert_eq!(event.user_id.is_empty(), event.source() != Source::Api);
    }

    // The api-server does not answer; the host goes on, and even its worker is killed in between.
    let recorded = world.socket().with_file_name("events");
    let record = |what: &str| {
        eventually(what, || {
            std::fs::read_to_string(&recorded)
                .ok()
                .filter(|text| text.contains(what))
        })
    };
    let api = eventually("the api-server", || world.process("ZHYLON_API_PID"));
    api.signal(Signal::STOP).expect("stop it");
    supervisorctl(&world, &["stop", &name]);
    std::fs::write(&go, "").expect("let it crash");
    record("crashed");
    record("hold_set");
    let worker = eventually("the worker", || world.process("ZHYLON_WORKER_PID"));
    world.kill("ZHYLON_WORKER_PID");
    world.comes_back("ZHYLON_WORKER_PID", worker);
    eventually("the local door is open again", || {
        let done = world.supervisorctl(&["start", &name]);
        done.status.success().then_some(())
    });
    api.signal(Signal::KILL).expect("kill it");
    world.comes_back("ZHYLON_API_PID", api);

    wanted.extend([Type::StopRequested, Type::HoldSet]);
    wanted.extend([Type::StartRequested, Type::HoldEnded]);
    let seen = until(&world, &held, &wanted).await;
    assert_eq!(seen[7].source(), Source::Local);
    assert!(seen[7].by.starts_with(&me()), "{:?}", seen[7]);
    let crashed = until(&world, &crashing, &[Type::Created, Type::Crashed]).await;
    let exit = crashed[1].exit.clone().expect("an exit");
    assert_eq!((exit.code, exit.signal), (7, 0));
    assert_eq!(crashed[1].instance, Some(0));
    assert_eq!(crashed[1].message, "exit code 7");

    // Whoever is killed now sends nothing twice: what comes next comes after whatever would be sent again.
    // The event may be there before the status that goes with it.
    world
        .status(&crashing, "running again", |s| {
            s.state() == InstanceState::Running
                && s.instances.iter().all(|i| !pids.contains(&i.pid))
        })
        .await;
    for victim in ["ZHYLON_API_PID", "ZHYLON_WORKER_PID"] {
        let before = eventually(victim, || world.process(victim));
        world.kill(victim);
        world.comes_back(victim, before);
    }
    // The api-server's process is there before it answers.
    world.running(&held).await;
    let restarted = world.ctl(&["daemon", "restart", &held, "--wait"]);
    assert!(restarted.status.success(), "{restarted:?}");
    wanted.extend([Type::RestartRequested, Type::RestartSettled]);
    let seen = until(&world, &held, &wanted).await;
    assert_eq!(seen[10].message, "restart 1: SUCCEEDED");
    until(&world, &crashing, &[Type::Created, Type::Crashed]).await;

    // The same for people.
    let shown = world.ctl(&["daemon", "events", &crashing]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let last = shown.lines().last().expect("a line");
    assert!(
        last.contains("CRASHED") && last.contains("exit code 7"),
        "{shown}"
    );
    let json = world.ctl(&["daemon", "events", &held, "-n", "1", "-o", "json"]);
    let json = String::from_utf8_lossy(&json.stdout).into_owned();
    assert!(
        json.contains("\"type\": \"RESTART_SETTLED\"") && json.contains("\"source\": \"AGENT\""),
        "{json}"
    );
}
