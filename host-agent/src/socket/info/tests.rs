use super::*;
use host_agent_engine::view::{DaemonView, LastExit};
use std::sync::Arc;
use zhylon_shared::id::DaemonId;
use zhylon_shared::spec::{DaemonSpec, SpecDraft};
use zhylon_shared::state::DesiredState;

/// Engine time 0 is this Unix time: 2026-11-22 11:00:00 UTC.
const ORIGIN: u64 = 1_795_345_200;

fn show(instance: InstanceView, now: u64) -> Value {
    let spec = DaemonSpec::check(SpecDraft {
        command: "/bin/x".into(),
        user: Some("anna".into()),
        start_seconds: Some(5),
        ..SpecDraft::default()
    })
    .unwrap();
    let entry = DaemonEntry {
        usage: Default::default(),
        view: DaemonView {
            id: DaemonId::from_bare("H3hxDfKZE0mHsxTqwN").unwrap(),
            state: instance.state,
            desired: DesiredState::Running,
            hold: None,
            revision: 1,
            converged: true,
            settled_restart_generation: 0,
            restart_outcome: None,
            message: String::new(),
            instances: Vec::new(),
        },
        spec: Arc::new(spec),
        uid: Some(1001),
        version: 1,
        gone: false,
    };
    let wall = |time: Time| UNIX_EPOCH + Duration::from_secs(ORIGIN) + time.since_origin();
    let clock = Clock {
        now: wall(at(now)),
        wall: &wall,
        zone: &Zone::default(),
    };
    process_info(&entry, &instance, "/home/anna/log", &clock)
}

fn at(seconds: u64) -> Time {
    Time::new(Duration::from_secs(seconds))
}

fn instance(state: InstanceState) -> InstanceView {
    InstanceView {
        index: 0,
        generation: 3,
        pid: if state.has_process() { 4242 } else { 0 },
        state,
        since: at(100),
        started: Some(at(95)),
        restart_count: 0,
        last_exit: None,
        next_start: None,
        hold: None,
    }
}

fn ended(state: InstanceState, exit: Option<Exit>) -> InstanceView {
    InstanceView {
        last_exit: Some(LastExit {
            exit,
            killed_after_grace: false,
            time: at(660),
            message: "chdir /srv: No such file or directory (os error 2)".into(),
        }),
        ..instance(state)
    }
}

fn member(value: &Value, name: &str) -> Value {
    match value {
        Value::Struct(members) => members[name].clone(),
        other => panic!("{other:?}"),
    }
}

fn description(instance: InstanceView) -> String {
    match member(&show(instance, 700), "description") {
        Value::String(text) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn has_every_field_with_its_type() {
    let Value::Struct(members) = show(instance(InstanceState::Running), 700) else {
        panic!("not a struct");
    };
    let (texts, numbers): (Vec<_>, Vec<_>) = members
        .iter()
        .partition(|(_, value)| matches!(value, Value::String(_)));
    let names = |part: Vec<(&String, &Value)>| -> Vec<String> {
        part.into_iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(
        names(texts),
        [
            "description",
            "group",
            "logfile",
            "name",
            "spawnerr",
            "statename",
            "stderr_logfile",
            "stdout_logfile"
        ]
    );
    assert!(
        numbers
            .iter()
            .all(|(_, value)| matches!(value, Value::Integer(_)))
    );
    assert_eq!(
        names(numbers),
        ["exitstatus", "now", "pid", "start", "state", "stop"]
    );
    assert_eq!(
        members["group"],
        Value::String("daemon-H3hxDfKZE0mHsxTqwN".into())
    );
    assert_eq!(
        members["name"],
        Value::String("daemon-H3hxDfKZE0mHsxTqwN_00".into())
    );
    assert_eq!(members["logfile"], Value::String("/home/anna/log".into()));
}

#[test]
fn descriptions() {
    // RUNNING for 600 s, started 605 s ago.
    assert_eq!(
        description(instance(InstanceState::Running)),
        "pid 4242, uptime 0:10:05"
    );
    assert_eq!(
        description(ended(InstanceState::Backoff, Some(Exit::Code(1)))),
        "Exited too quickly (process log may have details)"
    );
    assert_eq!(
        description(ended(InstanceState::Fatal, None)),
        "chdir /srv: No such file or directory (os error 2)"
    );
    assert_eq!(
        description(instance(InstanceState::Fatal)),
        "unknown error (try \"tail daemon-H3hxDfKZE0mHsxTqwN_00\")"
    );
    for state in [InstanceState::Stopped, InstanceState::Exited] {
        assert_eq!(
            description(ended(state, Some(Exit::Code(0)))),
            "Nov 22 11:11 AM"
        );
    }
    let never = InstanceView {
        generation: 0,
        started: None,
        ..instance(InstanceState::Stopped)
    };
    assert_eq!(description(never), "Not started");
    for state in [
        InstanceState::Starting,
        InstanceState::Stopping,
        InstanceState::Unknown,
    ] {
        assert_eq!(description(instance(state)), "");
    }
}

#[test]
fn exit_statuses() {
    for (state, exit, status, spawnerr) in [
        (InstanceState::Exited, Exit::Code(3), 3, "Bad exit code 3"),
        (InstanceState::Exited, Exit::Code(0), 0, ""),
        (InstanceState::Stopped, Exit::Signal(15), -1, ""),
        (InstanceState::Exited, Exit::Unknown, -1, "Bad exit code -1"),
        (InstanceState::Running, Exit::Code(3), 0, ""),
        (
            InstanceState::Fatal,
            Exit::Code(3),
            0,
            "Exited too quickly (process log may have details)",
        ),
    ] {
        let shown = show(ended(state, Some(exit)), 700);
        assert_eq!(
            member(&shown, "exitstatus"),
            Value::Integer(status),
            "{exit:?}"
        );
        assert_eq!(
            member(&shown, "spawnerr"),
            Value::String(spawnerr.into()),
            "{exit:?}"
        );
    }
}

#[test]
fn uptimes_read_like_pythons() {
    for (seconds, shown) in [
        (-5, "0:00:00"),
        (6, "0:00:06"),
        (86_399, "23:59:59"),
        (86_400 + 7384, "1 day, 2:03:04"),
        (12 * 86_400 + 1, "12 days, 0:00:01"),
    ] {
        assert_eq!(uptime(seconds), shown);
    }
}

#[test]
fn times_are_capped() {
    assert_eq!(capped(i64::MAX), Value::Integer(i32::MAX));
    assert_eq!(capped(i64::MIN), Value::Integer(i32::MIN));
}

#[test]
fn a_table_keeps_its_columns_whatever_a_message_holds() {
    let info = |description: &str| {
        structure([
            ("group", Value::String("daemon-a".to_owned())),
            ("name", Value::String("daemon-a_00".to_owned())),
            ("statename", Value::String("FATAL".to_owned())),
            ("description", Value::String(description.to_owned())),
        ])
    };
    let table = table(&[info("chdir /a\tb\n/c\r\u{1b}[31m: no"), info("")]);
    assert_eq!(
        table,
        "daemon-a\tdaemon-a_00\tFATAL\tchdir /a b /c  [31m: no\n\
         daemon-a\tdaemon-a_00\tFATAL\t\n"
    );
}
