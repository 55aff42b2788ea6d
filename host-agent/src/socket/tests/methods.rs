use dxr::Value;
use host_agent_engine::input::{Action, CommandTarget, Slot};
use zhylon_shared::state::InstanceState::Running;

use super::clients::{call, ok, structs, text};
use super::served::Served;
use crate::socket::catalogue::METHODS;

const WEB: &str = "daemon-web000000000000000";
const WEB_H: &str = "daemon-h:web000000000000000";

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
        METHODS
            .iter()
            .map(|method| text(method.name))
            .collect::<Vec<_>>()
    );
    for method in METHODS.iter().map(|method| method.name) {
        // A parameter too many, and of wrong types: known methods say so (or refuse for their own reason).
        let refusal = call(
            &served.socket,
            method,
            &[Value::Double(0.5), Value::Nil, Value::Nil],
        )
        .unwrap_err();
        assert_ne!(refusal.0, 1, "{method}: {refusal:?}");
    }
    for method in [
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
