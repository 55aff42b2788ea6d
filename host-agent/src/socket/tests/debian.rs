//! Debian's unmodified `supervisorctl` against our server.

use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::Action;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use zhylon_shared::state::InstanceState::{Running, Stopped};

use super::clients::{debian, debian_command, has_debians_client};
use super::fake::own_uid;
use super::served::Served;

const H: &str = "daemon-h:web000000000000000";
const BARE: &str = "daemon-web000000000000000";

fn said(served: &Served, args: &[&str]) -> (String, i32) {
    let said = debian(&served.socket, args);
    (said.out, said.code)
}

#[test]
fn the_documented_line_works() {
    if !has_debians_client("the_documented_line_works") {
        return;
    }
    let served = Served::start();
    served.fake.add("web", 2, Running);
    let name = format!("{H}:*");
    assert_eq!(
        said(&served, &["restart", &name]),
        (format!("{name}: stopped\n{name}: started\n"), 0)
    );
    let actions: Vec<Action> = served
        .fake
        .world()
        .asked
        .iter()
        .map(|one| one.0.clone())
        .collect();
    assert_eq!(actions, [Action::Stop, Action::Start]);
    assert_eq!(
        said(&served, &["restart", &format!("{BARE}:*")]),
        (
            format!(
                "{BARE}:{BARE}_00: stopped\n{BARE}:{BARE}_01: stopped\n{BARE}:{BARE}_00: started\n{BARE}:{BARE}_01: started\n"
            ),
            0
        )
    );
}

#[test]
fn both_spellings_for_every_command() {
    if !has_debians_client("both_spellings_for_every_command") {
        return;
    }
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served
        .fake
        .edit(id, |one| one.log = Some(b"hello\n\x1b[1mworld\n".to_vec()));
    let h = format!("{H}:*");
    assert_eq!(said(&served, &["stop", &h]), (format!("{h}: stopped\n"), 0));
    assert_eq!(
        said(&served, &["stop", &h]),
        (format!("{h}: ERROR (not running)\n"), 0)
    );
    assert_eq!(said(&served, &["pid", &h]), ("0\n".into(), 7));
    assert_eq!(
        said(&served, &["signal", "HUP", &h]),
        (format!("{h}: ERROR (not running)\n"), 7)
    );
    assert_eq!(
        said(&served, &["start", &h]),
        (format!("{h}: started\n"), 0)
    );
    assert_eq!(
        said(&served, &["start", &h]),
        (format!("{h}: ERROR (already started)\n"), 0)
    );
    assert_eq!(
        said(&served, &["signal", "HUP", &h]),
        (format!("{h}: signalled\n"), 0)
    );
    let pid = served.fake.world().daemons[&id].entry.view.instances[0].pid;
    assert_eq!(said(&served, &["pid", &h]), (format!("{pid}\n"), 0));
    assert_eq!(
        said(&served, &["tail", &h]),
        ("hello\n\u{fffd}[1mworld\n\n".into(), 0)
    );
    assert_eq!(
        said(&served, &["tail", "-6", &format!("{BARE}:{BARE}_00")]),
        ("world\n\n".into(), 0)
    );
    assert_eq!(
        said(&served, &["tail", BARE, "stderr"]),
        (format!("{BARE}: ERROR (no log file)\n"), 1)
    );
    assert_eq!(said(&served, &["version"]), ("4.2.5\n".into(), 0));
    for (fails, text, code) in [
        (CommandOutcome::NoFile, "no such file", 1),
        (CommandOutcome::NotExecutable, "file is not executable", 1),
        (CommandOutcome::SpawnError, "spawn error", 7),
        (
            CommandOutcome::AbnormalTermination,
            "abnormal termination",
            7,
        ),
    ] {
        served.fake.edit(id, |one| {
            one.fails = Some(fails);
            one.entry.view.instances[0].state = Stopped;
        });
        assert_eq!(
            said(&served, &["start", &h]),
            (format!("{h}: ERROR ({text})\n"), code)
        );
    }
    served.fake.change(|world| world.shutting_down = true);
    assert_eq!(
        said(&served, &["start", &h]),
        (format!("{h}: ERROR (spawn error)\n"), 7)
    );
    let text = format!("FAILED: {h}: the agent is shutting down\n");
    assert_eq!(said(&served, &["stop", &h]), (text, 1));
}

#[test]
fn it_follows_a_log() {
    if !has_debians_client("it_follows_a_log") {
        return;
    }
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served
        .fake
        .edit(id, |one| one.log = Some(b"hello\n".to_vec()));
    let mut child = Command::new("/usr/bin/supervisorctl")
        .args(["-s", &served.url(), "tail", "-f", &format!("{H}:*")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = |expected: &str| {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    };
    line("==> Press Ctrl-C to exit <==\n");
    line("hello\n");
    served.fake.edit(id, |one| {
        one.log.as_mut().unwrap().extend("wörld\n".as_bytes())
    });
    line("wörld\n");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_user_sees_and_moves_only_its_own() {
    if !has_debians_client("a_user_sees_and_moves_only_its_own") {
        return;
    }
    if own_uid() != 0 {
        let _ = std::io::Write::write_all(
            &mut std::io::stdout(),
            b"\nSKIPPED a_user_sees_and_moves_only_its_own: only root can be another user\n",
        );
        return;
    }
    const ANNA: u32 = 54_321;
    let served = Served::start();
    std::fs::set_permissions(
        served.dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    std::fs::set_permissions(
        &served.socket,
        std::os::unix::fs::PermissionsExt::from_mode(0o666),
    )
    .unwrap();
    served.fake.add("web", 1, Running);
    let own = served.fake.add("own", 1, Running);
    served.fake.edit(own, |one| one.entry.uid = Some(ANNA));
    let gone = served.fake.add("gone", 1, Running);
    served.fake.edit(gone, |one| {
        one.entry.uid = Some(ANNA);
        one.entry.gone = true;
    });
    let anna = |args: &[&str]| {
        let said = debian_command(&served.socket, args, Some(ANNA));
        (said.out, said.code)
    };
    let (table, code) = anna(&["status"]);
    assert!(
        table.starts_with("daemon-own") && table.lines().count() == 1,
        "{table}"
    );
    assert_eq!(code, 0);
    let all = "daemon-own000000000000000:daemon-own000000000000000_00";
    assert_eq!(anna(&["stop", "all"]), (format!("{all}: stopped\n"), 0));
    assert_eq!(anna(&["start", "all"]), (format!("{all}: started\n"), 0));
    let other = format!("{H}:*");
    for command in ["stop", "start"] {
        let text = format!("{other}: ERROR (no such process)\n");
        assert_eq!(anna(&[command, &other]), (text, 1));
    }
    assert_eq!(
        anna(&["tail", &other]).0,
        format!("{other}: ERROR (no such process name)\n")
    );
    let world = served.fake.world();
    assert_eq!(world.asked.last().unwrap().2, format!("anna (uid {ANNA})"));
    assert!(world.asked.iter().all(|(_, targets, _)| targets.len() == 1));
}
