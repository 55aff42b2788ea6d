//! The same calls through Python's `xmlrpc.client` to a real `supervisord` and to our server: what each comes to must be
//! the same, but for [`DIFFERENCES`].

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::Exit;
use host_agent_engine::time::Time;
use host_agent_engine::view::LastExit;
use zhylon_shared::state::InstanceState::{Fatal, Running, Stopped};

use super::clients::has_debians_client;
use super::served::Served;
use crate::socket::catalogue::METHODS;

const SCRIPT: &str = include_str!("calls.py");

/// Where we differ, on purpose: the call, what Supervisor says, what we say.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    (
        "supervisor.getIdentification()",
        "'supervisor'",
        "'zhylon-agent'",
    ),
    // Where Supervisor breaks, we say what is wrong.
    (
        "supervisor.getProcessInfo(1,)",
        "HTTP 500",
        "2 INCORRECT_PARAMETERS",
    ),
    (
        "supervisor.readProcessLog('W:W_00', 'x', 0)",
        "HTTP 500",
        "2 INCORRECT_PARAMETERS",
    ),
    (
        "system.multicall([1],)",
        "HTTP 500",
        "[{'faultCode': 2, 'faultString': 'INCORRECT_PARAMETERS'}]",
    ),
    (
        "system.multicall('x',)",
        "HTTP 500",
        "2 INCORRECT_PARAMETERS",
    ),
    (
        "system.multicall([{'methodName': 1}],)",
        "[{'faultCode': 30, 'faultString': \"FAILED: <class 'AttributeError'>:'int' object has no attribute 'split'\"}]",
        "[{'faultCode': 2, 'faultString': 'INCORRECT_PARAMETERS: No methodName'}]",
    ),
    // Parameters are an array.
    (
        "system.multicall([{'methodName': 'supervisor.getVersion', 'params': {}}],)",
        "['3.0']",
        "[{'faultCode': 2, 'faultString': 'INCORRECT_PARAMETERS'}]",
    ),
    // Places in a log only rise: clearing it does not begin them anew.
    (
        "supervisor.tailProcessLog('W:W_00', -100, 100)",
        "['', 0, False]",
        "['', 6, True]",
    ),
    // Supervisor takes Python's SIG_DFL for a signal.
    (
        "supervisor.signalProcess('W:W_00', '0')",
        "True",
        "11 BAD_SIGNAL: 0",
    ),
];

struct Supervisord {
    child: Child,
    dir: tempfile::TempDir,
}

impl Supervisord {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(dir.path().join("noexec"), "").unwrap();
        let program = |letter: char, rest: &str| {
            let (name, log) = (long(letter), path(&format!("{letter}%(process_num)d.log")));
            format!(
                "[program:{name}]\nprocess_name=%(program_name)s_%(process_num)02d\nredirect_stderr=true\nstdout_logfile={log}\nstartretries=0\n{rest}\n"
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
                'W',
                &format!("command={loops}\nnumprocs=2\nstartsecs=0\nstopasgroup=true"),
            ),
            program(
                'O',
                &format!("command={loops}\nautostart=false\nstartsecs=0\nstopasgroup=true"),
            ),
            program('B', "command=/bin/false\nstartsecs=1"),
            program('M', "command=/does/not/exist"),
            program('N', &format!("command={}\nautostart=false", path("noexec"))),
        ];
        std::fs::write(dir.path().join("config"), config.concat()).unwrap();
        let child = Command::new("/usr/bin/supervisord")
            .args(["-c", &path("config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { child, dir };
        let deadline = Instant::now() + Duration::from_secs(120);
        while !started.is_ready() {
            assert!(Instant::now() < deadline, "supervisord does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        started
    }

    fn is_ready(&self) -> bool {
        let status = || super::clients::ours(&self.socket(), &["status"]).out;
        self.socket().exists() && {
            let status = status();
            let logs = ["W0.log", "W1.log"].map(|log| self.dir.path().join(log));
            status.matches("RUNNING").count() == 2
                && status.matches("FATAL").count() == 2
                && logs
                    .iter()
                    .all(|log| std::fs::read(log).is_ok_and(|log| log == b"hello\n"))
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
        one.entry.view.instances[0].last_exit = ended("exit code 1", Some(Exit::Code(1)));
    });
    let missing = fake.add("M", 1, Fatal);
    fake.edit(missing, |one| {
        one.fails = Some(CommandOutcome::NoFile);
        one.entry.view.instances[0].last_exit = ended("can't find command '/does/not/exist'", None);
    });
    let noexec = fake.add("N", 1, Stopped);
    fake.edit(noexec, |one| {
        one.fails = Some(CommandOutcome::NotExecutable)
    });
    served
}

fn long(letter: char) -> String {
    format!("daemon-{letter}{}", "0".repeat(17))
}

fn transcript(socket: &Path) -> Vec<String> {
    let methods = METHODS.iter().map(|method| method.name);
    let methods: Vec<_> = methods
        .filter(|name| !name.starts_with("zhylon."))
        .collect();
    let output = Command::new("/usr/bin/python3")
        .args(["-c", SCRIPT, &format!("unix://{}", socket.display())])
        .arg(methods.join(","))
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(str::to_owned).collect()
}

#[test]
fn every_call_comes_to_the_same_at_both_servers() {
    if !has_debians_client("every_call_comes_to_the_same_at_both_servers") {
        return;
    }
    let real = std::thread::spawn(|| transcript(&Supervisord::start().socket()));
    let ours = transcript(&scripted().socket);
    let real = real.join().unwrap();
    assert_eq!(real.len(), ours.len());
    let (mut wrong, mut met) = (String::new(), 0);
    for (real, ours) in real.iter().zip(&ours) {
        let (call, theirs) = real.split_once(" -> ").unwrap();
        let (same, answer) = ours.split_once(" -> ").unwrap();
        assert_eq!(call, same);
        let meant = DIFFERENCES.iter().find(|row| row.0 == call);
        let expected = meant.map_or((theirs, theirs), |row| (row.1, row.2));
        met += usize::from(meant.is_some());
        if expected != (theirs, answer) {
            wrong += &format!("{call}\n  supervisord: {theirs}\n  we:          {answer}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(
        met,
        DIFFERENCES.len(),
        "a difference is listed that no call meets"
    );
}
