//! The same command lines through both clients to both servers: what is printed and the exit code must be the same all
//! four times. The programs of the real `supervisord` carry our daemons' names, so nothing but pids and times differs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::time::Time;
use host_agent_engine::view::LastExit;
use zhylon_shared::state::InstanceState::{Fatal, Running, Stopped};

use super::clients::{Client, Said, debian, has_debians_client, ours};
use super::served::Served;

/// `W` is a daemon of two that run, `O` one that never did, `B` ends at once, `M` has no program, `N` one that is not
/// executable. In this order, since results come in the order of the names.
const LINES: &[&str] = &[
    "status",
    "status W:*",
    "status W:W_00 nosuch nosuch:* O:O_00 nosuch:x",
    "status W:W_01",
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
    "reread",
    "update",
    "update all",
    "update W",
    "update nosuch",
    "bogus x y",
    "help bogus",
    "help help",
    "help start",
    "? stop",
    "version x",
    "signal CONT all",
    "stop all",
    "stop all",
    "status",
];

/// What differs between help texts by intent.
const OWN_HELP: &[&str] = &["version x"];

struct Supervisord {
    child: Child,
    dir: tempfile::TempDir,
}

impl Supervisord {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(dir.path().join("noexec"), "").unwrap();
        let program = |letter: &str, rest: &str| {
            format!(
                "[program:{}]\nprocess_name=%(program_name)s_%(process_num)02d\nredirect_stderr=true\nstdout_logfile={}\nstartretries=0\n{rest}\n",
                long(letter),
                path(&format!("{letter}%(process_num)d.log"))
            )
        };
        let loops = "sh -c 'echo hello; while :; do sleep 1; done'";
        let config = [
            format!(
                "[unix_http_server]\nfile={}\n[supervisord]\nnodaemon=true\nlogfile={}\npidfile={}\n[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n",
                path("supervisor.sock"),
                path("log"),
                path("pid")
            ),
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
        ];
        std::fs::write(dir.path().join("config"), config.concat()).unwrap();
        let child = Command::new("/usr/bin/supervisord")
            .args(["-c", &path("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let served = Self { child, dir };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let status = served
                .socket()
                .exists()
                .then(|| ours(&served.socket(), &["status"]).out);
            let ready = status.as_ref().is_some_and(|status| {
                status.matches("RUNNING").count() == 2 && status.matches("FATAL").count() == 2
            });
            if ready {
                return served;
            }
            assert!(Instant::now() < deadline, "supervisord: {status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("supervisor.sock")
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
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

/// The transcript of all lines, as comparable as it gets.
fn transcript(client: Client, socket: &Path) -> Vec<(String, Said)> {
    LINES
        .iter()
        .map(|line| {
            let words: Vec<String> = line.split(' ').map(spelled).collect();
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
    let real = |client: Client| {
        move || {
            let served = Supervisord::start();
            transcript(client, &served.socket())
        }
    };
    let fake = |client: Client| {
        move || {
            let served = scripted();
            transcript(client, &served.socket)
        }
    };
    let (oracle, others) = std::thread::scope(|scope| {
        let oracle = scope.spawn(real(debian));
        let others = [
            ("our client to supervisord", scope.spawn(real(ours))),
            ("Debian's client to our server", scope.spawn(fake(debian))),
            ("our client to our server", scope.spawn(fake(ours))),
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
