//! The local socket of a real agent: what it says of real processes and logs, and what is left of it after a kill.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Instant;

use dxr::{MethodCall, MethodResponse, Value};

use crate::agent::{Agent, Daemon, age, lines, until};

/// One call that goes well.
fn call(agent: &Agent, method: &str, params: &[Value]) -> Value {
    let call = MethodCall {
        name: method.into(),
        params: params.to_vec(),
    };
    let body = call.to_xml().unwrap();
    let mut stream = UnixStream::connect(agent.path("run/supervisor.sock")).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /RPC2 HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    MethodResponse::from_xml(body)
        .unwrap_or_else(|_| panic!("{method}: {body}"))
        .value
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn info(agent: &Agent, daemon: &Daemon) -> HashMap<String, Value> {
    match call(agent, "supervisor.getProcessInfo", &[text(&daemon.group())]) {
        Value::Struct(info) => info.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_start_time_is_the_same_to_every_worker() {
    let daemon = Daemon::shell("exec sleep 1000").with("start_seconds", 0);
    let began = Instant::now();
    let agent = Agent::with(&[&daemon]);
    agent.pid(&daemon, 0);
    let begun = info(&agent, &daemon)["start"].clone();
    let (Value::Integer(start), Value::Integer(now)) = (&begun, &info(&agent, &daemon)["now"])
    else {
        panic!("{begun:?}");
    };
    let most = i32::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((0..=most).contains(&(now - start)), "{start} {now}");
    agent.kill_worker();
    agent.wait_ready();
    agent.pid(&daemon, 0);
    let asked = Instant::now();
    let again = info(&agent, &daemon);
    let (Value::Integer(after), Value::Integer(pid)) = (&again["start"], &again["pid"]) else {
        panic!("no numbers");
    };
    let ran = i32::try_from(age(*pid).unwrap().as_secs()).unwrap();
    let Value::Integer(now) = info(&agent, &daemon)["now"] else {
        panic!("no number");
    };
    // Reckoned from the kernel's clock ticks then, never derived from when the worker came: before that, and no more than
    // roundings after what the kernel says. The first worker's was of when it heard that it had started.
    assert!(*after <= start + 1, "{start} {after}");
    let asked = i32::try_from(asked.elapsed().as_secs()).unwrap();
    assert!(
        (now - ran - asked - 2..=now - ran + 2).contains(after),
        "{after} {now} {ran}"
    );
}

#[test]
fn a_log_is_cleared_where_it_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let bell = dir.path().join("bell");
    // Says something once, and again whenever the bell is there.
    let script = format!(
        "echo one; while :; do if rm {0} 2>/dev/null; then echo more; fi; sleep 0.05; done",
        bell.display()
    );
    let daemon = Daemon::shell(&script);
    let agent = Agent::with(&[&daemon]);
    agent.pid(&daemon, 0);
    let Value::String(path) = info(&agent, &daemon)["stdout_logfile"].clone() else {
        panic!("no text");
    };
    let path = PathBuf::from(path);
    assert!(path.is_absolute());
    until("the first line", || (lines(&path) == ["one"]).then_some(()));
    let group = [text(&daemon.group())];
    let cleared = call(&agent, "supervisor.clearProcessLogs", &group);
    assert_eq!(cleared, Value::Boolean(true));
    assert_eq!(lines(&path), [""; 0]);
    agent.kill_worker();
    agent.wait_ready();
    std::fs::write(&bell, "").unwrap();
    until("the next line", || (lines(&path) == ["more"]).then_some(()));
    let read = [text(&daemon.group()), Value::Integer(0), Value::Integer(0)];
    until("the log's new beginning", || {
        let log = call(&agent, "supervisor.readProcessLog", &read);
        (log == text("more\n")).then_some(())
    });
}

#[test]
fn a_restart_that_overrides_nothing_leaves_the_ledger_alone() {
    let daemon = Daemon::shell("exec sleep 1000").with("start_seconds", 0);
    let agent = Agent::with(&[&daemon]);
    let ledger = agent.path("state/ledger/local.json");
    let written = || {
        std::fs::metadata(&ledger)
            .and_then(|file| file.modified())
            .ok()
    };
    let held =
        || std::fs::read_to_string(&ledger).is_ok_and(|text| text.contains(&daemon.group()[7..]));
    let (first, before) = (agent.pid(&daemon, 0), written());
    let name = format!("{}:*", daemon.group());
    agent.say(&["restart", &name]);
    assert_ne!(agent.pid(&daemon, 0), first);
    assert_eq!(written(), before, "nothing is held");
    agent.say(&["stop", &name]);
    assert!(held(), "a stop is held");
    // What ends a hold is in the ledger before anything is done.
    agent.say(&["restart", &name]);
    until("the hold's end in the ledger", || (!held()).then_some(()));
}

#[test]
fn the_agents_own_log_is_there_to_read() {
    let agent = Agent::with(&[]);
    if !rustix::process::geteuid().is_root() {
        let skipped = b"\nSKIPPED the_agents_own_log_is_there_to_read: needs root, whose it is\n";
        let _ = std::io::stdout().write_all(skipped);
        return;
    }
    let read = [Value::Integer(0), Value::Integer(0)];
    let Value::String(log) = call(&agent, "supervisor.readLog", &read) else {
        panic!("no text");
    };
    assert!(log.contains("the worker is ready"), "{log}");
    assert!(agent.log().contains("the worker is ready"));
    call(&agent, "supervisor.clearLog", &[]);
    let Value::String(left) = call(&agent, "supervisor.readLog", &read) else {
        panic!("no text");
    };
    assert!(!left.contains("the worker is ready"), "{left}");
    assert!(
        agent.log().contains("the worker is ready"),
        "the real one stays"
    );
}
