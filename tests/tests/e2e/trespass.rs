//! Who may move which daemon: an isolated user without sudo its own, someone with a rule for one daemon that one and no
//! other, whatever is tried. Every attempt ends with an error, and every process lives on.

use zhylon_tests::World;
use zhylon_tests::daemons::{Watched, draft_of};
use zhylon_tests::machine::{Machine, Said};
use zhylon_tests::namespace::story;

/// Talks to the socket without any client: one call per line of argv[2:], each a method and its parameters.
const RAW: &str = r#"
import http.client, socket, sys, xmlrpc.client
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect('/run/zhylon-agent/supervisor.sock')
class Transport(xmlrpc.client.Transport):
    def make_connection(self, host):
        return Unix('localhost')
server = xmlrpc.client.ServerProxy('http://localhost', Transport())
for line in sys.argv[1:]:
    method, *params = line.split(' ')
    params = [int(p) if p.lstrip('-').isdigit() else p for p in params]
    try:
        print(method, getattr(server, method)(*params))
    except xmlrpc.client.Fault as fault:
        print(method, 'fault', fault.faultCode)
"#;

#[test]
fn nobody_reaches_anothers_daemon() {
    story(async |machine: Machine| {
        let world = World::installed(&machine);
        let mut ids = Vec::new();
        for user in ["site1", "site2", "bob", "zhylon"] {
            let mut daemon = draft_of(user, "/bin/sh -c 'echo secret of $USER; exec sleep 1000'");
            daemon.start_seconds = Some(0);
            ids.push(world.create(daemon).await.id);
        }
        let mut watched = Vec::new();
        for id in &ids {
            watched.push(Watched::new(&world, id).await);
            world.log_until(id, "secret of").await;
        }
        let [site1, site2, bob, zhylon] = &ids[..] else {
            unreachable!("four")
        };

        watched[0] = isolated(&machine, &world, site1, watched[0].clone()).await;
        for other in [site2, bob, zhylon] {
            isolated_and_another(&machine, other);
        }
        watched.iter().for_each(Watched::untouched);

        watched[2] = one_rule(&machine, &world, bob, zhylon, watched[2].clone()).await;
        watched.iter().for_each(Watched::untouched);
        watched[2] = wide_rule(
            &machine,
            &world,
            bob,
            &[site1, site2, zhylon],
            watched[2].clone(),
        )
        .await;
        watched.iter().for_each(Watched::untouched);

        // Who did what is in the log: the peer, and who called sudo.
        let log = world.log();
        for by in ["site1 (uid 2001)", "bob (uid 2003) as root through sudo"] {
            let told = log.lines().any(|line| {
                line.contains("local command") && line.contains(&format!("by=\"{by}\""))
            });
            assert!(told, "{by:?} is not in {log}");
        }
        assert!(!log.contains("by=\"root"), "nobody was root: {log}");
    });
}

/// A user of an isolated site, without sudo: its own daemon is all there is.
async fn isolated(machine: &Machine, world: &World, own: &str, before: Watched) -> Watched {
    let bare = own.trim_start_matches("h:");
    let said = machine.shell("site1", &format!("supervisorctl restart daemon-{own}:*"));
    let name = format!("daemon-{bare}:daemon-{bare}_00");
    assert_eq!(
        (said.code, said.out),
        (0, format!("{name}: stopped\n{name}: started\n")),
        "{}",
        said.err
    );
    let mut now = before.restarted(world).await;
    for words in ["status", "status all", "status '*'"] {
        let said = machine.shell("site1", &format!("supervisorctl {words}"));
        if words != "status '*'" {
            assert_eq!((said.code, said.out.lines().count()), (0, 1), "{said:?}");
            assert!(said.out.starts_with(&name), "{said:?}");
        }
        assert!(!said.out.contains("sample"), "{said:?}");
    }
    for verb in ["restart", "stop", "start"] {
        let said = machine.shell("site1", &format!("supervisorctl {verb} all"));
        assert_eq!(said.code, 0, "{verb} all: {said:?}");
        assert!(
            said.out.lines().all(|line| line.starts_with(&name)),
            "{said:?}"
        );
        now = match verb {
            "stop" => {
                now.gone();
                now
            }
            _ => now.restarted(world).await,
        };
    }
    let said = machine.shell("site1", &format!("supervisorctl tail {name}"));
    assert!(said.out.contains("secret of site1"), "{said:?}");
    let said = machine.shell(
        "site1",
        &format!("sudo -S supervisorctl restart daemon-{own}:*"),
    );
    assert_eq!(said.code, 1, "it has no sudo: {said:?}");
    now
}

/// The same user and the daemon of another: by the client, in both spellings, and by bare calls.
fn isolated_and_another(machine: &Machine, other: &str) {
    let bare = other.trim_start_matches("h:");
    let names = [
        format!("daemon-{other}:*"),
        format!("daemon-{bare}:*"),
        format!("daemon-{other}"),
        format!("daemon-{bare}:daemon-{bare}_00"),
    ];
    for name in &names {
        for verb in [
            "start",
            "stop",
            "restart",
            "signal TERM",
            "tail",
            "clear",
            "status",
            "pid",
            "tail -f",
        ] {
            let said = machine.shell("site1", &format!("supervisorctl {verb} '{name}'"));
            no_such_process(&said, &format!("{verb} {name}"));
        }
        let calls = [
            "supervisor.startProcess N",
            "supervisor.stopProcess N",
            "supervisor.startProcessGroup N",
            "supervisor.stopProcessGroup N",
            "supervisor.signalProcess N TERM",
            "supervisor.signalProcessGroup N TERM",
            "supervisor.getProcessInfo N",
            "supervisor.readProcessStdoutLog N 0 100",
            "supervisor.readProcessStderrLog N 0 100",
            "supervisor.tailProcessStdoutLog N 0 100",
            "zhylon.restartGroup N",
            "supervisor.clearProcessLogs N",
            "zhylon.readLog N 100",
        ];
        let calls = calls.map(|call| call.replace('N', name));
        let mut words = vec!["/usr/bin/python3", "-c", RAW];
        words.extend(calls.iter().map(String::as_str));
        let said = machine.run("site1", &words);
        assert_eq!(
            (said.code, said.out.lines().count()),
            (0, calls.len()),
            "{said:?}"
        );
        for line in said.out.lines() {
            assert!(line.ends_with(" fault 10"), "{name}: {line}");
        }
        let answer = logtail(machine, name);
        assert!(
            answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 410"),
            "{name}: {answer}"
        );
    }
}

/// `GET /logtail/…` as site1.
fn logtail(machine: &Machine, name: &str) -> String {
    let get = format!(
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/zhylon-agent/supervisor.sock'); \
         s.sendall(b'GET /logtail/{name}/stdout HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n'); print(s.recv(1000).decode())"
    );
    machine.run("site1", &["/usr/bin/python3", "-c", &get]).out
}

/// A rule for one daemon, exactly: nothing else is even run, unless it is another spelling of the very same words.
async fn one_rule(
    machine: &Machine,
    world: &World,
    own: &str,
    other: &str,
    before: Watched,
) -> Watched {
    let escaped = own.replace(':', "\\:");
    machine.allow(
        "bob",
        &format!(
            "bob ALL=(root) NOPASSWD: /usr/local/bin/supervisorctl restart daemon-{escaped}\\:\\*\n"
        ),
    );
    let said = machine.shell(
        "bob",
        &format!("sudo -S supervisorctl restart daemon-{own}:*"),
    );
    assert_eq!(said.code, 0, "{said:?}");
    let now = before.restarted(world).await;
    let bare = other.trim_start_matches("h:");
    let line = format!("restart daemon-{own}:*");
    for words in [
        format!("restart daemon-{other}:*"),
        format!("restart daemon-{bare}:*"),
        format!("{line} daemon-{other}:*"),
        format!("restart daemon-{other}:* daemon-{own}:*"),
        format!("'{line} daemon-{other}:*'"),
        format!("restart 'daemon-{own}:* daemon-{other}:*'"),
        format!("{line} all"),
        "restart all".to_owned(),
        format!("stop daemon-{own}:*"),
        format!("-s unix:///tmp/x {line}"),
        format!("-c /home/bob/supervisord.conf {line}"),
        format!("{line} -s unix:///tmp/x"),
    ] {
        let said = machine.shell("bob", &format!("sudo -S supervisorctl {words}"));
        assert_eq!(said.code, 1, "{words}: {said:?}");
        assert!(
            said.err.contains("no password was provided"),
            "{words}: {said:?}"
        );
    }
    // Variables of the caller's do not get through either.
    for variable in [
        "ZHYLON_SUPERVISOR_SOCKET=/home/bob/x",
        "SUDO_UID=2000",
        "SUDO_USER=zhylon",
        "LD_PRELOAD=/home/bob/x",
    ] {
        let said = machine.shell("bob", &format!("sudo -S {variable} supervisorctl {line}"));
        assert_eq!(said.code, 1, "{variable}: {said:?}");
    }
    now
}

/// A rule that is far too wide: now it is the agent that says no, since whoever called sudo counts.
async fn wide_rule(
    machine: &Machine,
    world: &World,
    own: &str,
    others: &[&String],
    before: Watched,
) -> Watched {
    machine.allow(
        "bob",
        "bob ALL=(root) NOPASSWD: /usr/local/bin/supervisorctl\n",
    );
    let conf = "[supervisorctl]\nserverurl=unix:///run/zhylon-agent/supervisor.sock\n";
    let path = machine.home("bob").join("supervisord.conf");
    machine.write("bob", &path, conf, 0o644);
    for other in others {
        let bare = other.trim_start_matches("h:");
        for words in [
            format!("restart daemon-{other}:*"),
            format!("restart daemon-{bare}:*"),
            format!("restart daemon-{bare}:daemon-{bare}_00"),
            format!("'restart daemon-{other}:*'"),
            format!("restart ' daemon-{other}:* '"),
            format!("restart '' daemon-{other}:*"),
            format!("stop daemon-{other}:*"),
            format!("signal KILL daemon-{other}:*"),
            format!("tail daemon-{bare}:daemon-{bare}_00"),
            format!("clear daemon-{bare}:daemon-{bare}_00"),
            format!("-c /home/bob/supervisord.conf restart daemon-{other}:*"),
            format!("-s unix:///run/zhylon-agent/supervisor.sock restart daemon-{other}:*"),
        ] {
            for environment in ["", "SUDO_UID=0 SUDO_USER=root", "SUDO_UID=2000"] {
                let said = machine.shell(
                    "bob",
                    &format!("{environment} sudo -S supervisorctl {words}"),
                );
                no_such_process(&said, &words);
            }
        }
    }
    let said = machine.shell("bob", "sudo -S supervisorctl status");
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{said:?}");
    // With its own beside: its own is moved, the other is not there.
    let said = machine.shell(
        "bob",
        &format!(
            "sudo -S supervisorctl restart daemon-{own}:* daemon-{}:*",
            others[0]
        ),
    );
    no_such_process(&said, "its own and another");
    let now = before.restarted(world).await;
    let said = machine.shell("bob", "sudo -S supervisorctl restart all");
    assert_eq!((said.code, said.out.lines().count()), (0, 2), "{said:?}");
    now.restarted(world).await
}

/// The client says that there is no such thing, and fails; nothing of the daemon is in what it says.
fn no_such_process(said: &Said, what: &str) {
    let Said { code, out, err } = said;
    // Supervisor's own `tail -f` ends with 0 then.
    assert!(
        ![0, 124].contains(code) || what.starts_with("tail -f"),
        "{what}: {said:?}"
    );
    let all = format!("{out}{err}");
    let told = [
        "no such process",
        "no such group",
        "No such process",
        "status code 404",
    ]
    .iter()
    .any(|words| all.contains(words));
    assert!(told, "{what}: {said:?}");
    assert!(
        !all.contains("secret") && !all.contains("RUNNING"),
        "{what}: {said:?}"
    );
}
