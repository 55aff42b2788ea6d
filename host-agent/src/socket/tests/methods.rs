use std::time::{Duration, Instant};

use dxr::Value;
use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::{Action, CommandTarget, Slot};
use zhylon_shared::state::InstanceState::{Fatal, Running, Stopped};

use super::clients::{call, text};
use super::fake::Served;
use crate::socket::methods::LISTED;

const WEB: &str = "daemon-web000000000000000";
const WEB_H: &str = "daemon-h:web000000000000000";

fn structs(value: Value) -> Vec<(String, i32, String)> {
    let Value::Array(results) = value else {
        panic!("{value:?}");
    };
    let one = |value: Value| {
        let Value::Struct(members) = value else {
            panic!("{value:?}");
        };
        assert_eq!(members.len(), 4);
        match (
            &members["name"],
            &members["group"],
            &members["status"],
            &members["description"],
        ) {
            (
                Value::String(name),
                Value::String(group),
                Value::Integer(status),
                Value::String(text),
            ) => {
                assert_eq!(name.split_once('_').unwrap().0, group);
                (
                    name.split_once('_').unwrap().1.to_owned(),
                    *status,
                    text.clone(),
                )
            }
            other => panic!("{other:?}"),
        }
    };
    results.into_iter().map(one).collect()
}

fn ok(index: &str) -> (String, i32, String) {
    (index.to_owned(), 80, "OK".to_owned())
}

#[test]
fn constants() {
    let served = Served::start();
    let get = |method: &str| call(&served.socket, &format!("supervisor.{method}"), &[]).unwrap();
    assert_eq!(get("getVersion"), text("3.0"));
    assert_eq!(get("getAPIVersion"), text("3.0"));
    assert_eq!(get("getSupervisorVersion"), text("4.2.5"));
    assert_eq!(get("getIdentification"), text("zhylon-agent"));
    assert_eq!(
        get("getPID"),
        Value::Integer(std::os::unix::process::parent_id().try_into().unwrap())
    );
    let Value::Struct(state) = get("getState") else {
        panic!("no struct");
    };
    assert_eq!(
        (&state["statecode"], &state["statename"]),
        (&Value::Integer(1), &text("RUNNING"))
    );
    let none = || Value::Array(vec![]);
    assert_eq!(
        get("reloadConfig"),
        Value::Array(vec![Value::Array(vec![none(), none(), none()])])
    );
    assert_eq!(
        call(&served.socket, "supervisor.getState", &[text("x")]),
        Err((2, "INCORRECT_PARAMETERS".into()))
    );
}

#[test]
fn what_is_listed_is_known_and_nothing_else() {
    let served = Served::start();
    let Value::Array(listed) = call(&served.socket, "system.listMethods", &[]).unwrap() else {
        panic!("no array");
    };
    assert_eq!(
        listed,
        LISTED.iter().map(|name| text(name)).collect::<Vec<_>>()
    );
    assert!(LISTED.is_sorted());
    for method in LISTED {
        // A parameter too many, of a wrong type: known methods say so (or refuse for their own reason).
        let refusal = call(&served.socket, method, &[Value::Double(0.5), Value::Nil]).unwrap_err();
        assert_ne!(refusal.0, 1, "{method}: {refusal:?}");
    }
    for method in [
        "supervisor.getAllConfigInfo",
        "supervisor._update",
        "getPID",
        "supervisor.",
        "supervisor.a.b",
        "zhylon.nope",
        "supervisor.zhylon.readLog",
        "supervisor.system.listMethods",
        "",
    ] {
        if let Some(method) = Some(method).filter(|method| !method.is_empty()) {
            assert_eq!(
                call(&served.socket, method, &[]),
                Err((1, "UNKNOWN_METHOD".into())),
                "{method}"
            );
        }
    }
}

#[test]
fn a_whole_daemon_by_every_name() {
    let served = Served::start();
    let id = served.fake.add("web", 2, Running);
    for name in [WEB, WEB_H] {
        for suffix in ["", ":", ":*"] {
            let name = format!("{name}{suffix}");
            let start = |wait: bool| {
                call(
                    &served.socket,
                    "supervisor.startProcess",
                    &[text(&name), Value::Boolean(wait)],
                )
            };
            let stop = || call(&served.socket, "supervisor.stopProcess", &[text(&name)]);
            assert_eq!(structs(stop().unwrap()), [ok("00"), ok("01")]);
            assert_eq!(stop(), Err((70, format!("NOT_RUNNING: {name}"))));
            assert_eq!(structs(start(true).unwrap()), [ok("00"), ok("01")]);
            assert_eq!(start(true), Err((60, format!("ALREADY_STARTED: {name}"))));
            assert_eq!(
                served.fake.world().asked.last().unwrap().1,
                [CommandTarget::Daemon(id)]
            );
        }
    }
}

#[test]
fn one_instance_by_either_name() {
    let served = Served::start();
    let daemon = served.fake.add("web", 2, Running);
    for name in [format!("{WEB}:{WEB}_01"), format!("{WEB_H}:{WEB_H}_01")] {
        let stop = || call(&served.socket, "supervisor.stopProcess", &[text(&name)]);
        assert_eq!(stop(), Ok(Value::Boolean(true)));
        assert_eq!(stop(), Err((70, format!("NOT_RUNNING: {name}"))));
        let target = CommandTarget::Instance(Slot { daemon, index: 1 });
        assert_eq!(served.fake.world().asked.last().unwrap().1, [target]);
        assert_eq!(
            call(&served.socket, "supervisor.startProcess", &[text(&name)]),
            Ok(Value::Boolean(true))
        );
    }
    for name in [
        format!("{WEB}:{WEB}_02"),
        "daemon-none00000000000000".into(),
        "web".into(),
        String::new(),
    ] {
        for method in [
            "startProcess",
            "stopProcess",
            "getProcessInfo",
            "stopProcessGroup",
        ] {
            let method = format!("supervisor.{method}");
            assert_eq!(
                call(&served.socket, &method, &[text(&name)]),
                Err((10, format!("BAD_NAME: {name}")))
            );
        }
    }
}

#[test]
fn failures_are_faults_the_clients_know() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Stopped);
    let start = |method: &str| {
        call(
            &served.socket,
            &format!("supervisor.{method}"),
            &[text(WEB)],
        )
    };
    for (fails, code, said) in [
        (
            CommandOutcome::NoFile,
            20,
            "NO_FILE: can't find command '/bin/server'",
        ),
        (
            CommandOutcome::NotExecutable,
            21,
            "NOT_EXECUTABLE: command at '/bin/server' is not executable",
        ),
        (
            CommandOutcome::SpawnError,
            50,
            &format!("SPAWN_ERROR: {WEB}"),
        ),
        (
            CommandOutcome::AbnormalTermination,
            40,
            &format!("ABNORMAL_TERMINATION: {WEB}"),
        ),
    ] {
        served.fake.edit(id, |one| one.fails = Some(fails));
        assert_eq!(start("startProcess"), Err((code, said.to_owned())));
        assert_eq!(structs(start("startProcessGroup").unwrap())[0].1, code);
    }
    served.fake.change(|world| world.shutting_down = true);
    assert_eq!(
        start("startProcess"),
        Err((
            50,
            format!("SPAWN_ERROR: {WEB}: the agent is shutting down")
        ))
    );
    assert_eq!(
        start("stopProcess"),
        Err((30, format!("FAILED: {WEB}: the agent is shutting down")))
    );
}

#[test]
fn groups_answer_only_for_what_moved() {
    let served = Served::start();
    let id = served.fake.add("web", 3, Running);
    served
        .fake
        .edit(id, |one| one.entry.view.instances[1].state = Fatal);
    let group = |method: &str| {
        structs(
            call(
                &served.socket,
                &format!("supervisor.{method}"),
                &[text(WEB)],
            )
            .unwrap(),
        )
    };
    assert_eq!(group("stopProcessGroup"), [ok("00"), ok("02")]);
    assert_eq!(group("stopProcessGroup"), []);
    assert_eq!(group("startProcessGroup"), [ok("00"), ok("01"), ok("02")]);
    assert_eq!(group("startProcessGroup"), []);
}

#[test]
fn all_and_none() {
    let served = Served::start();
    let all =
        |method: &str| structs(call(&served.socket, &format!("supervisor.{method}"), &[]).unwrap());
    assert_eq!(all("stopAllProcesses"), []);
    served.fake.add("api", 1, Stopped);
    served.fake.add("web", 2, Running);
    assert_eq!(all("stopAllProcesses"), [ok("00"), ok("01")]);
    assert_eq!(all("startAllProcesses").len(), 3);
}

#[test]
fn without_waiting_the_answer_comes_once_it_is_accepted() {
    let served = Served::start();
    let id = served.fake.add("web", 2, Running);
    served.fake.edit(id, |one| one.hangs = true);
    let begun = Instant::now();
    let stop = [text(WEB), Value::Boolean(false)];
    let results = call(&served.socket, "supervisor.stopProcessGroup", &stop).unwrap();
    assert_eq!(structs(results), [ok("00"), ok("01")]);
    // By the change, not by the deadline for one that does not come.
    assert!(
        begun.elapsed() < Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(served.fake.world().daemons[&id].entry.view.state, Stopped);
}

#[test]
fn restart_is_one_command() {
    let served = Served::start();
    let id = served.fake.add("web", 2, Running);
    served
        .fake
        .edit(id, |one| one.entry.view.instances[1].state = Stopped);
    let Value::Struct(mut halves) =
        call(&served.socket, "zhylon.restartGroup", &[text(WEB_H)]).unwrap()
    else {
        panic!("no struct");
    };
    assert_eq!(structs(halves.remove("stopped").unwrap()), [ok("00")]);
    assert_eq!(
        structs(halves.remove("started").unwrap()),
        [ok("00"), ok("01")]
    );
    let world = served.fake.world();
    assert_eq!(world.asked.len(), 1);
    assert_eq!(world.asked[0].0, Action::Restart);
}

#[test]
fn signals() {
    let served = Served::start();
    served.fake.add("web", 1, Running);
    let name = text(&format!("{WEB}:{WEB}_00"));
    let signal = |name: &Value, signal: Value| {
        call(
            &served.socket,
            "supervisor.signalProcess",
            &[name.clone(), signal],
        )
    };
    assert_eq!(signal(&name, text("hup")), Ok(Value::Boolean(true)));
    assert_eq!(
        served.fake.world().asked.last().unwrap().0,
        Action::Signal(1)
    );
    assert_eq!(signal(&name, Value::Integer(10)), Ok(Value::Boolean(true)));
    assert_eq!(
        signal(&name, text("NOPE")),
        Err((11, "BAD_SIGNAL: NOPE".into()))
    );
    assert_eq!(
        signal(&text("x"), text("NOPE")),
        Err((10, "BAD_NAME: x".into()))
    );
    call(&served.socket, "supervisor.stopAllProcesses", &[]).unwrap();
    assert_eq!(signal(&name, text("HUP")).unwrap_err().0, 70);
}

#[test]
fn logs_by_offset() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    let read = |method: &str, from: i32, length: i32| {
        let params = [text(WEB), Value::Integer(from), Value::Integer(length)];
        call(&served.socket, &format!("supervisor.{method}"), &params)
    };
    assert_eq!(
        read("readProcessStdoutLog", -10, 0),
        Err((20, format!("NO_FILE: {WEB}")))
    );
    let tail = |bytes: &str, offset, overflow| {
        Ok(Value::Array(vec![
            text(bytes),
            Value::Integer(offset),
            Value::Boolean(overflow),
        ]))
    };
    assert_eq!(read("tailProcessStdoutLog", 0, 5), tail("", 0, false));
    served.fake.edit(id, |one| {
        one.log = Some(b"one\ntwo\n\x1b[1mthree\n".to_vec())
    });
    assert_eq!(read("readProcessLog", -6, 0), Ok(text("three\n")));
    assert_eq!(
        read("readProcessLog", -6, 1),
        Err((3, "BAD_ARGUMENTS".into()))
    );
    assert_eq!(
        read("readProcessLog", 0, -1),
        Err((3, "BAD_ARGUMENTS".into()))
    );
    assert_eq!(read("readProcessLog", 4, 4), Ok(text("two\n")));
    assert_eq!(
        read("readProcessLog", 4, 0),
        Ok(text("two\n\u{fffd}[1mthree\n"))
    );
    assert_eq!(read("readProcessLog", 99, 0), Ok(text("")));
    assert_eq!(read("tailProcessLog", 0, 6), tail("three\n", 18, true));
    assert_eq!(read("tailProcessLog", 12, 6), tail("three\n", 18, false));
    assert_eq!(read("tailProcessLog", 18, 6), tail("", 18, false));
    assert_eq!(
        read("readProcessStderrLog", -10, 0),
        Err((20, "NO_FILE".into()))
    );
    assert_eq!(read("tailProcessStderrLog", 0, 9), tail("", 0, false));
    let raw = call(
        &served.socket,
        "zhylon.readLog",
        &[text(WEB), Value::Integer(10)],
    );
    assert_eq!(raw, Ok(Value::Base64(b"\x1b[1mthree\n".to_vec())));
}

#[test]
fn what_is_refused_says_what_to_do_instead() {
    let served = Served::start();
    for (method, word) in [
        ("shutdown", "systemctl"),
        ("restart", "systemctl"),
        ("addProcessGroup", "zhylonctl"),
        ("removeProcessGroup", "zhylonctl"),
        ("sendProcessStdin", "/dev/null"),
    ] {
        let (code, said) = call(&served.socket, &format!("supervisor.{method}"), &[]).unwrap_err();
        assert_eq!(code, 30);
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn multicall() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    let one = |method: &str, params: &[Value]| {
        Value::Struct(
            [
                ("methodName".to_owned(), text(method)),
                ("params".to_owned(), Value::Array(params.to_vec())),
            ]
            .into(),
        )
    };
    let many = |calls: Vec<Value>| call(&served.socket, "system.multicall", &[Value::Array(calls)]);
    let fault = |code, said: &str| {
        Value::Struct(
            [
                ("faultCode".to_owned(), Value::Integer(code)),
                ("faultString".to_owned(), text(said)),
            ]
            .into(),
        )
    };
    let answers = many(vec![
        one("supervisor.getVersion", &[]),
        one("supervisor.stopProcess", &[text("x")]),
        one("system.multicall", &[]),
        Value::Integer(1),
        Value::Struct(Default::default()),
    ]);
    assert_eq!(
        answers,
        Ok(Value::Array(vec![
            text("3.0"),
            fault(10, "BAD_NAME: x"),
            fault(
                2,
                "INCORRECT_PARAMETERS: Recursive system.multicall forbidden"
            ),
            fault(2, "INCORRECT_PARAMETERS"),
            fault(2, "INCORRECT_PARAMETERS: No methodName"),
        ]))
    );
    assert_eq!(
        many(vec![one("supervisor.getVersion", &[]); 101])
            .unwrap_err()
            .0,
        2
    );
    // However often a large answer is asked for, what is sent stays bounded.
    served
        .fake
        .edit(id, |one| one.log = Some(vec![b'x'; 3 << 20]));
    let read = one(
        "supervisor.readProcessLog",
        &[text(WEB), Value::Integer(0), Value::Integer(0)],
    );
    let Ok(Value::Array(answers)) = many(vec![read; 50]) else {
        panic!("no array");
    };
    let sizes: Vec<usize> = answers.iter().map(crate::socket::codec::weight).collect();
    assert_eq!(sizes.len(), 50);
    assert!(sizes.iter().sum::<usize>() < 6 << 20, "{sizes:?}");
    assert!(
        matches!(&answers[49], Value::Struct(fault) if fault["faultCode"] == Value::Integer(30))
    );
}
