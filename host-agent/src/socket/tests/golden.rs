//! The same command lines through both clients to both servers: what is printed and the exit code must be the same all
//! four times. The programs of the real `supervisord` carry our daemons' names, so nothing but pids and times differs.

use std::path::Path;
use std::time::{Duration, Instant};

use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::time::Time;
use host_agent_engine::view::LastExit;
use zhylon_shared::state::InstanceState::{Fatal, Running, Stopped};

use super::clients::{
    Client, Said, Shell, debian, debian_shell, has_debians_client, ours, ours_shell,
};
use super::served::Served;
use super::supervisord::Supervisord;

/// `W` is a daemon of two that run, `O` one that never did, `B` ends at once, `M` has no program, `N` one that is not
/// executable. In this order, since results come in the order of the names.
const LINES: &[&str] = &[
    "status",
    "status W:*",
    "status W:W_00 nosuch nosuch:* O:O_00 nosuch:x",
    "status W:W_01",
    "tail W:W_00",
    "tail -100000 W:W_00",
    "tail -0 W:W_00",
    "tail --2 W:W_00",
    "pid W:W_00",
    "pid O:O_00",
    "pid all",
    "pid nosuch W:W_00",
    "version",
    "stop W:*",
    "stop W:*",
    "stop W:W_00",
    "status W:*",
    "start W:W_00",
    "start W:W_00",
    "start W:*",
    "start W:*",
    "restart W:*",
    "restart W:W_01",
    "restart nosuch:*",
    "restart nosuch",
    "restart nosuch:x W:W_00",
    "start B:* M:* N:N_00",
    "start M:M_00",
    "stop B:* O:O_00",
    "restart O:*",
    "stop O:* nosuch:* nosuch",
    "restart O:O_00",
    "start",
    "stop",
    "signal",
    "signal TERM",
    "signal NOPE W:W_00",
    "signal CONT W:*",
    "signal SIGCONT W:W_01 O:O_00",
    "signal 18 nosuch nosuch:*",
    "stop O:O_00",
    "signal CONT O:O_00",
    "tail -6 W:W_00",
    "tail nosuch",
    "tail",
    "tail a b c d",
    "tail -x W:W_00",
    "tail -f",
    "tail W:W_00 bogus",
    "tail W:W_00 stderr",
    "tail -f nosuch",
    "tail -f W:W_00 bogus",
    "maintail -x",
    "maintail x",
    "maintail a b",
    "fg",
    "fg nosuch",
    "fg a b",
    "fg O:O_00",
    "pid nosuch:*",
    "signal HUP nosuch:x nosuch",
    "signal",
    "clear",
    "clear nosuch",
    "clear W:W_00 nosuch:x",
    "tail W:W_00",
    "clear all",
    "avail x",
    "reread x",
    "shutdown x",
    "reload x",
    "add",
    "remove",
    "open",
    "open ftp://x",
    "open unix://SOCKET",
    "reread",
    "update",
    "update all",
    "update W",
    "update nosuch",
    "bogus x y",
    "!x",
    "quit",
    "exit",
    "EOF",
    "help",
    "help bogus",
    "help help",
    "help start",
    "help status",
    "help signal",
    "help tail",
    "help clear",
    "help fg",
    "help avail",
    "help quit",
    "help exit",
    "help EOF",
    "help no such",
    "? stop",
    "version x",
    "signal CONT all",
    "stop all",
    "stop all",
    "status",
];

/// Lines after which a help text follows that is ours by intent: there it says what the agent does instead, or names the
/// agent where Supervisor's names supervisord. The first line is compared.
///
/// Not compared at all, and tested elsewhere, are: `add X`, `remove X`, `shutdown`, `reload` (our server refuses them in
/// its own words), `maintail`, `avail` (each shows its own server), `fg` of a process that runs (ours says that nothing
/// reads what is typed), `help` of `add maintail open pid reload remove reread restart shutdown update version`,
/// `clear X:*` (Debian's prints `X:None`), and faults no command has a text
/// for (Debian's prints the place in its own source).
const OWN_HELP: &[&str] = &[
    "version x",
    "maintail a b",
    "reread x",
    "shutdown x",
    "reload x",
];

/// What is typed into a shell, and no person is there.
const PIPED: &str = "\
pid O:O_00

   status   W:*\t
? help
!x
bogus
tail -6 W:W_00
stop nosuch
quit
status
";

fn supervisord() -> Supervisord {
    let programs = |dir: &Path| {
        let path = |name: &str| dir.join(name).display().to_string();
        std::fs::write(dir.join("noexec"), "").unwrap();
        let program = |letter: &str, rest: &str| {
            format!(
                "[program:{}]\nprocess_name=%(program_name)s_%(process_num)02d\nredirect_stderr=true\nstdout_logfile={}\nstartretries=0\n{rest}\n",
                long(letter),
                path(&format!("{letter}%(process_num)d.log"))
            )
        };
        let loops = "sh -c 'echo hello; while :; do sleep 1; done'";
        [
            program(
                "W",
                &format!("command={loops}\nnumprocs=2\nstartsecs=0\nstopasgroup=true"),
            ),
            program(
                "O",
                &format!("command={loops}\nautostart=false\nstartsecs=0\nstopasgroup=true"),
            ),
            program("B", "command=/bin/false\nstartsecs=1"),
            program("M", "command=/does/not/exist"),
            program("N", &format!("command={}\nautostart=false", path("noexec"))),
        ]
        .concat()
    };
    Supervisord::start(programs, |status| {
        status.matches("RUNNING").count() == 2 && status.matches("FATAL").count() == 2
    })
}

/// The same on our side.
fn scripted() -> Served {
    let served = Served::start();
    let fake = &served.fake;
    let web = fake.add("W", 2, Running);
    fake.edit(web, |one| one.log = Some(b"hello\n".to_vec()));
    fake.add("O", 1, Stopped);
    let ended = |message: &str, exit| {
        Some(LastExit {
            exit,
            killed_after_grace: false,
            time: Time::ZERO,
            message: message.into(),
        })
    };
    let bad = fake.add("B", 1, Fatal);
    fake.edit(bad, |one| {
        one.fails = Some(CommandOutcome::SpawnError);
        one.entry.view.instances[0].last_exit =
            ended("exit code 1", Some(host_agent_engine::input::Exit::Code(1)));
    });
    let missing = fake.add("M", 1, Fatal);
    fake.edit(missing, |one| {
        one.fails = Some(CommandOutcome::NoFile);
        one.entry.view.instances[0].last_exit = ended("can't find command '/does/not/exist'", None);
    });
    let noexec = fake.add("N", 1, Stopped);
    fake.edit(noexec, |one| {
        one.fails = Some(CommandOutcome::NotExecutable);
        one.entry.view.instances[0].state = Stopped;
    });
    served
}

fn long(letter: &str) -> String {
    format!("daemon-{letter:0<18}")
}

/// The transcript of a shell whose input is piped, and of one whose input just ends.
fn piped(client: fn(&Path, &str) -> Said, socket: &Path) -> Vec<(String, Said)> {
    let mut typed = PIPED.to_owned();
    for letter in ["W", "O"] {
        typed = typed.replace(&format!("{letter}:"), &format!("{}:", long(letter)));
        typed = typed.replace(&format!("{letter}_"), &format!("{}_", long(letter)));
    }
    [typed.as_str(), "", "version"]
        .map(|input| {
            let mut said = client(socket, input);
            let lines = said.out.split('\n').map(|line| normal(line, socket));
            said.out = lines.collect::<Vec<_>>().join("\n");
            (format!("piped: {input}"), said)
        })
        .into()
}

/// Waits until no process is on its way from one state to another: the clients are not equally fast, and supervisord looks
/// at its processes once a second.
fn rested(socket: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = ours(socket, &["status"]).out;
        let moves = ["STARTING", "BACKOFF", "STOPPING"];
        if !moves.iter().any(|state| status.contains(state)) {
            return;
        }
        assert!(Instant::now() < deadline, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The transcript of all lines, as comparable as it gets. `before` each of them.
fn transcript(client: Client, socket: &Path, before: fn(&Path)) -> Vec<(String, Said)> {
    LINES
        .iter()
        .map(|line| {
            before(socket);
            let shown = socket.display().to_string();
            let line_here = line.replace("SOCKET", &shown);
            let words: Vec<String> = line_here.split(' ').map(spelled).collect();
            let args: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut said = client(socket, &args);
            let mut lines: Vec<String> =
                said.out.lines().map(|line| normal(line, socket)).collect();
            if OWN_HELP.contains(line) {
                lines.truncate(1);
            }
            // Results of a group come in the order in which its processes moved.
            if !line.starts_with("help") {
                lines.sort();
            }
            said.out = lines.join("\n");
            ((*line).to_owned(), said)
        })
        .collect()
}

/// `W:W_00` with the daemons' names.
fn spelled(word: &str) -> String {
    let parts = word.split(':').map(|part| {
        let letter = &part[..part.len().min(1)];
        let is_daemon = matches!(letter, "W" | "O" | "B" | "M" | "N")
            && (part.len() == 1 || part[1..].starts_with('_'));
        if is_daemon {
            long(letter) + &part[1..]
        } else {
            part.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join(":")
}

/// Takes pids, uptimes, stop times and the socket's path out of a line.
fn normal(line: &str, socket: &Path) -> String {
    let line = line.replace(&socket.display().to_string(), "SOCKET");
    if line.chars().all(|c| c.is_ascii_digit()) && line != "0" && !line.is_empty() {
        return "PID".to_owned();
    }
    if let Some((name, _)) = line.split_once("pid ") {
        return format!("{name}pid P, uptime T");
    }
    match line.split_once("STOPPED   ") {
        Some((name, description)) if description != "Not started" => {
            // `Nov 22 11:11 AM`
            let words: Vec<&str> = description.split(' ').collect();
            assert!(
                words.len() == 4 && description.len() == 15 && ["AM", "PM"].contains(&words[3]),
                "{line}"
            );
            format!("{name}STOPPED   TIME")
        }
        _ => line,
    }
}

#[test]
fn both_clients_say_the_same_of_both_servers() {
    if !has_debians_client("both_clients_say_the_same_of_both_servers") {
        return;
    }
    // Each in its own world and thread: supervisord takes a second for each group.
    let real = |client: Client, shell: Shell| {
        move || {
            let served = supervisord();
            let typed = piped(shell, &served.socket());
            [typed, transcript(client, &served.socket(), rested)].concat()
        }
    };
    let fake = |client: Client, shell: Shell| {
        move || {
            let served = scripted();
            let typed = piped(shell, &served.socket);
            [typed, transcript(client, &served.socket, |_| {})].concat()
        }
    };
    let (oracle, others) = std::thread::scope(|scope| {
        let oracle = scope.spawn(real(debian, debian_shell));
        let others = [
            (
                "our client to supervisord",
                scope.spawn(real(ours, ours_shell)),
            ),
            (
                "Debian's client to our server",
                scope.spawn(fake(debian, debian_shell)),
            ),
            (
                "our client to our server",
                scope.spawn(fake(ours, ours_shell)),
            ),
        ];
        let oracle = oracle.join().unwrap();
        (
            oracle,
            others.map(|(who, thread)| (who, thread.join().unwrap())),
        )
    });
    let mut differ = String::new();
    for (who, said) in others {
        for ((line, expected), (_, actual)) in oracle.iter().zip(&said) {
            if expected != actual {
                differ += &format!("{who}: {line}\n{expected:#?}\n{actual:#?}\n");
            }
        }
    }
    assert!(differ.is_empty(), "{differ}");
}
