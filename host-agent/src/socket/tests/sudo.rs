//! Root's peers with sudo's word behind them, as real processes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use dxr::MethodCall;
use zhylon_shared::state::InstanceState::Running;

use super::clients::text;
use super::fake::own_uid;
use super::served::Served;
use crate::config::Operators;

/// Sends its standard input to the socket as one call and prints the answer.
const CLIENT: &str = "
import http.client, socket, sys
connection = http.client.HTTPConnection('localhost')
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(sys.argv[1])
connection.request('POST', '/RPC2', sys.stdin.buffer.read())
print(connection.getresponse().read().decode())
";

/// The answer to one call by a root process with this environment.
fn call(served: &Served, method: &str, name: Option<&str>, environment: &[(&str, &str)]) -> String {
    let call = MethodCall {
        name: method.into(),
        params: name.map(text).into_iter().collect(),
    };
    let mut client = Command::new("python3")
        .args(["-c", CLIENT])
        .arg(&served.socket)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let body = call.to_xml().unwrap();
    client
        .stdin
        .take()
        .unwrap()
        .write_all(body.as_bytes())
        .unwrap();
    let output = client.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

#[test]
fn root_through_sudo_is_who_called_sudo() {
    if own_uid() != 0 {
        let _ = std::io::stdout().write_all(
            b"\nSKIPPED root_through_sudo_is_who_called_sudo: only root can come through sudo\n",
        );
        return;
    }
    // Uids 1 to 3 are in every passwd file: daemon, bin, sys.
    let served = Served::with_operators(Operators {
        users: vec!["daemon".to_owned()],
        groups: vec!["sys".to_owned()],
    });
    served.fake.add("web", 1, Running);
    let own = served.fake.add("own", 1, Running);
    served.fake.edit(own, |one| one.entry.uid = Some(2));
    let (web, own) = ("daemon-web000000000000000", "daemon-own000000000000000");

    let bin = [("SUDO_UID", "2"), ("SUDO_USER", "root")];
    let refused = [
        "supervisor.startProcess",
        "supervisor.stopProcess",
        "supervisor.stopProcessGroup",
        "supervisor.getProcessInfo",
        "zhylon.restartGroup",
    ];
    for method in refused {
        let answer = call(&served, method, Some(web), &bin);
        assert!(answer.contains("BAD_NAME"), "{method}: {answer}");
    }
    let all = call(&served, "supervisor.getAllProcessInfo", None, &bin);
    assert!(all.contains(own) && !all.contains(web), "{all}");
    let stopped = call(&served, "supervisor.stopAllProcesses", None, &bin);
    assert!(stopped.contains(own) && !stopped.contains(web), "{stopped}");

    for (operator, name) in [
        (
            &[("SUDO_UID", "1")][..],
            "daemon (uid 1) as root through sudo",
        ),
        (&[("SUDO_UID", "3")], "sys (uid 3) as root through sudo"),
        (&[("SUDO_UID", "0")], "root (uid 0) as root through sudo"),
        (&[("HOME", "/root")], "root (uid 0)"),
    ] {
        let answer = call(&served, "supervisor.startProcess", Some(own), operator);
        assert!(!answer.contains("BAD_NAME"), "{name}: {answer}");
        let answer = call(&served, "zhylon.restartGroup", Some(web), operator);
        assert!(answer.contains("started"), "{name}: {answer}");
        assert_eq!(served.fake.world().asked.last().unwrap().2, name);
    }
    let stops = served.fake.world().asked[0].clone();
    assert_eq!(
        (stops.1.len(), stops.2.as_str()),
        (1, "bin (uid 2) as root through sudo")
    );

    // What sudo would not write gives nothing at all.
    let answer = call(
        &served,
        "supervisor.getState",
        None,
        &[("SUDO_UID", "many")],
    );
    assert!(!answer.contains("RUNNING"), "{answer}");
}

#[test]
fn connections_through_sudo_count_for_who_called_it() {
    if own_uid() != 0 {
        let _ = std::io::stdout().write_all(
            b"\nSKIPPED connections_through_sudo_count_for_who_called_it: only root can come through sudo\n",
        );
        return;
    }
    let served = Served::start();
    let hold = "
import socket, sys
held = []
for _ in range(200):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    held.append(one)
refused = sum(b'503' in one.recv(100) for one in held[8:])
print(refused, flush=True)
sys.stdin.read()
";
    let mut holder = Command::new("python3")
        .args(["-c", hold])
        .arg(&served.socket)
        .env("SUDO_UID", "2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut refused = String::new();
    let mut said = std::io::BufReader::new(holder.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut refused).unwrap();
    assert_eq!(refused.trim(), "192");
    let answer = call(&served, "supervisor.getState", None, &[]);
    assert!(answer.contains("RUNNING"), "{answer}");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
}
