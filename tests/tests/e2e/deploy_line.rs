//! The documented line, letter for letter, from deploy scripts of an ordinary user with the sudoers rule of `deploy/`;
//! and an administrator's full sudo.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use zhylon_tests::daemons::{Watched, draft_of};
use zhylon_tests::machine::{ADMINISTRATOR, Machine, PASSWORD, Said, place};
use zhylon_tests::namespace::{source, story};
use zhylon_tests::{World, skip};

/// What a deploy script may have for its standard input.
const INPUTS: &[Input] = &[
    Input::Empty,
    Input::Closed,
    Input::Silent,
    Input::Says("no password at all\n"),
];

#[derive(Debug, Clone, Copy)]
enum Input {
    /// `/dev/null`.
    Empty,
    /// No file descriptor 0.
    Closed,
    /// A pipe that stays open and says nothing: whoever reads it hangs.
    Silent,
    /// `echo … |`.
    Says(&'static str),
}

#[test]
fn the_documented_line_works_for_zhylon_and_all_of_it_for_an_administrator() {
    story(async |machine: Machine| {
        machine.allow("zhylon-supervisorctl", &snippet("sudoers.d"));
        let world = World::installed(&machine);
        let mut daemon = draft_of("zhylon", "/bin/sh -c 'exec sleep 1000'");
        daemon.processes = Some(2);
        daemon.start_seconds = Some(0);
        let id = world.create(daemon).await.id;
        plant(&machine, "zhylon");

        let mut watched = Watched::new(&world, &id).await;
        for input in INPUTS {
            let said = deploy(&machine, &id, *input);
            let bare = id.trim_start_matches("h:");
            let process = |n| format!("daemon-{bare}:daemon-{bare}_{n:02}");
            let lines = format!(
                "{0}: stopped\n{1}: stopped\n{0}: started\n{1}: started\n",
                process(0),
                process(1)
            );
            assert_eq!(
                (said.code, &*said.out, &*said.err),
                (0, &*lines, ""),
                "ours, {input:?}: {said:?}"
            );
            watched = watched.restarted(&world).await;
        }

        // Debian's client, unmodified, under the other path of the same rule.
        debians_client_here(&machine);
        for input in INPUTS {
            let said = deploy(&machine, &id, *input);
            let lines = format!("daemon-{id}:*: stopped\ndaemon-{id}:*: started\n");
            assert_eq!(
                (said.code, &*said.out, &*said.err),
                (0, &*lines, ""),
                "Debian's, {input:?}: {said:?}"
            );
            watched = watched.restarted(&world).await;
        }
        assert!(
            !planted_code_ran(),
            "a file of zhylon's directory became code of root's"
        );

        // Nothing else, with either client, and no wait for a password that nobody types.
        for words in [
            "stop daemon-ID:*",
            "restart all",
            "restart daemon-ID:* all",
            "restart daemon-ID:* daemon-ID:*",
            "restart daemon-ID:",
            "restart daemon-ID:daemon-ID_00",
            "-c /tmp/x restart daemon-ID:*",
            "status",
            "",
        ] {
            for client in ["/usr/bin/supervisorctl", "/usr/local/bin/supervisorctl"] {
                let said = machine.shell(
                    "zhylon",
                    &format!("sudo -S {client} {}", words.replace("ID", &id)),
                );
                assert_eq!(said.code, 1, "{client} {words}: {said:?}");
                assert!(
                    said.err.contains("no password was provided")
                        || said.err.contains("command not found"),
                    "{said:?}"
                );
            }
        }
        watched.untouched();
        administrator(&machine, &world, &id).await;
    });
}

/// Full sudo, by password on stdin: every command, every daemon.
async fn administrator(machine: &Machine, world: &World, id: &str) {
    let _ = std::fs::remove_file("/etc/supervisor/supervisord.conf");
    std::os::unix::fs::symlink(
        "/media/build/zhylon/supervisorctl",
        "/usr/local/bin/supervisorctl",
    )
    .expect("ours again");
    let other = world.create(draft_of("site1", "sleep 1000")).await.id;
    let watched = Watched::new(world, id).await;
    let others = Watched::new(world, &other).await;
    let sudo = |words: &str| {
        let said = machine.shell(
            ADMINISTRATOR,
            &format!("echo {PASSWORD} | sudo -S supervisorctl {words}"),
        );
        assert!(said.err.contains("[sudo] password for anna"), "{said:?}");
        said
    };
    let both = format!("daemon-{id}:* daemon-{other}:*");
    let said = sudo(&format!("stop {both}"));
    assert_eq!(
        (said.code, said.out.matches(": stopped\n").count()),
        (0, 3),
        "{said:?}"
    );
    watched.gone();
    others.gone();
    let said = sudo(&format!("status {both}"));
    assert_eq!(
        (said.code, said.out.matches(" STOPPED ").count()),
        (3, 3),
        "{said:?}"
    );
    let held = world.status(id, "held", |s| s.local_hold.is_some()).await;
    assert_eq!(
        held.local_hold.expect("a hold").by,
        "anna (uid 2004) as root through sudo"
    );
    let said = sudo(&format!("start {both}"));
    assert_eq!(
        (said.code, said.out.matches(": started\n").count()),
        (0, 3),
        "{said:?}"
    );
    let watched = watched.restarted(world).await;
    let others = others.restarted(world).await;
    let said = sudo("restart all");
    assert_eq!(said.code, 0, "{said:?}");
    watched.restarted(world).await;
    others.restarted(world).await;
    let said = sudo("status");
    // The sample of `up` is the third daemon.
    assert_eq!(
        (said.code, said.out.matches(" RUNNING ").count()),
        (0, 4),
        "{said:?}"
    );
}

#[test]
fn a_rule_without_a_directory_would_give_root_away_and_ours_does_not() {
    story(async |machine: Machine| {
        debians_client_here(&machine);
        plant(&machine, "zhylon");
        let ours = snippet("sudoers.d");
        let line = "sudo -S /usr/bin/supervisorctl restart daemon-h:AAAAAAAAAAAAAAAAAA:*";
        let attack = |name| {
            let said = machine.shell("zhylon", &format!("{line} < code"));
            let _ = writeln!(std::io::stdout().lock(), "{name}: {said:?}");
            std::fs::remove_file("/run/planted").is_ok()
        };
        machine.allow("zhylon-supervisorctl", &ours);
        assert!(!attack("ours"));
        // What makes the difference, and that the attack is one.
        machine.allow("zhylon-supervisorctl", &ours.replace("CWD=/ ", ""));
        assert!(
            attack("without CWD"),
            "Debian's client no longer runs planted code: CWD=/ may go"
        );
        // The one for an older sudo does not name Debian's client, and ours reads nothing.
        machine.allow("zhylon-supervisorctl", &snippet("sudoers.d-before-1.9.3"));
        assert!(!attack("older sudo, Debian's"));
        let client = Path::new("/usr/local/bin/supervisorctl");
        std::os::unix::fs::symlink("/media/build/zhylon/supervisorctl", client)
            .expect("our client");
        let said = machine.shell(
            "zhylon",
            &format!("{} < code", line.replace("/usr/bin", "/usr/local/bin")),
        );
        assert!(
            said.out.contains("no such file"),
            "there is no agent: {said:?}"
        );
        assert!(!planted_code_ran());
    });
}

/// The snippet of `deploy/`; git keeps no mode 0440, so its mode is the installer's matter.
fn snippet(directory: &str) -> String {
    let path = source()
        .join("deploy")
        .join(directory)
        .join("zhylon-supervisorctl");
    let check = Command::new("visudo")
        .arg("-cf")
        .arg(&path)
        .output()
        .expect("start visudo");
    // visudo minds the mode of a file in /etc only.
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
    std::fs::read_to_string(path).expect("the snippet")
}

/// Runs a deploy script of zhylon's that holds the documented line.
fn deploy(machine: &Machine, id: &str, input: Input) -> Said {
    let script = machine.home("zhylon").join("deploy.sh");
    let text = format!("#!/bin/bash\nset -e\ncd ~\nsudo -S supervisorctl restart daemon-{id}:*\n");
    machine.write("zhylon", &script, &text, 0o700);
    let mut command = match input {
        Input::Closed => {
            let mut command = machine.command("zhylon", "/bin/bash");
            command.args(["-c", "exec ./deploy.sh <&-"]);
            command
        }
        _ => machine.command("zhylon", &script),
    };
    if let Input::Silent | Input::Says(_) = input {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start it");
    let mut pipe = child.stdin.take();
    if let (Some(pipe), Input::Says(words)) = (&mut pipe, input) {
        // It may end without reading.
        let _ = pipe.write_all(words.as_bytes());
    }
    let said = child.wait_with_output().expect("its output").into();
    drop(pipe);
    said
}

/// Debian's client is the only one, and its configuration names our socket.
fn debians_client_here(_: &Machine) {
    if !Path::new("/usr/bin/supervisorctl").exists() {
        skip("deploy_line", "Debian's supervisor is not installed");
    }
    let _ = std::fs::remove_file("/usr/local/bin/supervisorctl");
    let conf = "[supervisorctl]\nserverurl=unix:///run/zhylon-agent/supervisor.sock\n";
    place("/etc/supervisor/supervisord.conf", conf, 0o644);
}

/// A configuration in the caller's own directory, and code for what it opens.
fn plant(machine: &Machine, user: &str) {
    let home = machine.home(user);
    let conf = "[supervisorctl]\nserverurl=unix:///nowhere\n[ctlplugin:x]\nsupervisor.ctl_factory=code:interact\n";
    machine.write(user, &home.join("supervisord.conf"), conf, 0o644);
    machine.write(
        user,
        &home.join("code"),
        "open('/run/planted', 'w').close()\n",
        0o644,
    );
    assert_eq!(
        std::fs::metadata("/run")
            .expect("/run")
            .permissions()
            .mode()
            & 0o777,
        0o755
    );
}

fn planted_code_ran() -> bool {
    Path::new("/run/planted").exists()
}
