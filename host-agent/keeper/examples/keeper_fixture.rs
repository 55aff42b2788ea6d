//! Keeper and worker for the keeper's own tests (`tests/keeper`), where a test's thread can be neither.
#![expect(clippy::unwrap_used, reason = "a part of tests")]

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use host_agent_keeper::protocol::{ExitStatus, RunKey, ToWorker};
use host_agent_keeper::{KeeperConfig, WorkerEnd, inherited_listener};
use host_agent_sys::process::start_time;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::{Pid, getpid};

/// Names the directory of the test.
const DIR: &str = "KEEPER_TEST_DIR";
/// Names the state directory in it.
const STATE: &str = "KEEPER_TEST_STATE";
/// The same, and above it, as a file of the directory.
const STATE_FILE: &str = "state-name";
/// A worker that was told to end leaves this.
const TOLD: &str = "told-to-end";
/// While this file exists in the directory, a worker does not begin.
const NO_WORKER: &str = "no-worker";

fn main() -> ExitCode {
    let dir = PathBuf::from(std::env::var_os(DIR).expect("started by the keeper's tests"));
    match std::env::args().nth(1).as_deref() {
        Some("keeper") => keeper(&dir),
        Some("worker") => worker(&dir),
        _ => ExitCode::FAILURE,
    }
}

/// The environment outlives an upgrade; what a configuration file says may have changed.
fn state(dir: &Path) -> OsString {
    match std::fs::read_to_string(dir.join(STATE_FILE)) {
        Ok(name) => name.into(),
        Err(_) => std::env::var_os(STATE).unwrap(),
    }
}

fn keeper(dir: &Path) -> ExitCode {
    let config = KeeperConfig {
        state_dir: dir.join(state(dir)),
        run_dir: dir.join("run"),
        worker_args: vec!["worker".into()],
    };
    host_agent_keeper::run(&config).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "{error}");
        ExitCode::FAILURE
    })
}

fn worker(dir: &Path) -> ExitCode {
    let line = WorkerEnd::from_inherited().unwrap();
    while dir.join(NO_WORKER).exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let listener = UnixListener::from(inherited_listener().unwrap());
    line.send_hello().unwrap();
    let mut worker = Worker {
        run: dir.join("run"),
        line,
        exits: Vec::new(),
        held: None,
        stubborn: false,
    };
    loop {
        let (line, door) = (worker.line.as_fd(), listener.as_fd());
        let mut fds = [&line, &door].map(|fd| PollFd::new(fd, PollFlags::IN));
        poll(&mut fds, None).unwrap();
        while let Some(message) = worker.hear() {
            match message {
                ToWorker::Exited {
                    pid,
                    start_time,
                    status,
                } => {
                    worker.exits.push((pid, start_time, status));
                }
                ToWorker::HelloDone { held } => worker.held = Some(held),
                ToWorker::Terminate if worker.stubborn => {}
                ToWorker::Terminate => {
                    File::create(dir.join(TOLD)).unwrap();
                    return ExitCode::SUCCESS;
                }
            }
        }
        while let Ok((peer, _)) = listener.accept() {
            worker.serve(peer);
        }
    }
}

struct Worker {
    run: PathBuf,
    line: WorkerEnd,
    exits: Vec<(i32, u64, ExitStatus)>,
    held: Option<u32>,
    stubborn: bool,
}

impl Worker {
    /// With no keeper left it does nothing any more, so that only the kernel can end it.
    fn hear(&self) -> Option<ToWorker> {
        match self.line.recv() {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => loop {
                std::thread::park();
            },
            message => message.unwrap(),
        }
    }

    fn serve(&mut self, mut peer: UnixStream) {
        peer.set_nonblocking(false).unwrap();
        let mut request = String::new();
        peer.read_to_string(&mut request).unwrap();
        let (word, rest) = request.split_once(' ').unwrap_or((&request, ""));
        let reply = match word {
            "pid" => getpid().to_string(),
            "start" => {
                let (name, script) = rest.split_once(' ').unwrap();
                self.start(name, script)
            }
            "stray" => shell(rest, Stdio::null(), Stdio::null()).to_string(),
            "exits" => self.exits(),
            "held" => self.held.map_or("-".to_owned(), |held| held.to_string()),
            "ack" => self.acknowledge(),
            "drop" => {
                self.line.send_drop(&run_key(rest)).unwrap();
                String::new()
            }
            "noise" => {
                (0..200).for_each(|_| self.line.send_drop(&run_key("nobody")).unwrap());
                String::new()
            }
            "stubborn" => {
                self.stubborn = true;
                String::new()
            }
            other => panic!("{other}"),
        };
        // A test that killed somebody may have gone away.
        let _ = peer.write_all(reply.as_bytes());
    }

    /// As the product does it, without the helper: FIFO, hold, program, record.
    fn start(&self, name: &str, script: &str) -> String {
        let fifo = self.run.join("fifo").join(name);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
        let flags = OFlags::CLOEXEC | OFlags::NONBLOCK;
        let read = open(&fifo, flags | OFlags::RDONLY, Mode::empty()).unwrap();
        self.line.send_hold(&run_key(name), read.as_fd()).unwrap();
        let output = || File::options().read(true).write(true).open(&fifo).unwrap();
        let pid = shell(script, output().into(), output().into());
        self.record(pid);
        pid.to_string()
    }

    fn record(&self, pid: i32) {
        let started = start_time(Pid::from_raw(pid).unwrap()).unwrap();
        let text = format!("pid={pid}\nstart_time={started}\n");
        write(&self.run.join("records").join(pid.to_string()), &text);
    }

    fn exits(&self) -> String {
        let lines = self.exits.iter().map(|(pid, _, status)| match status {
            ExitStatus::Code(code) => format!("{pid} code {code}\n"),
            ExitStatus::Signal(signal) => format!("{pid} signal {signal}\n"),
        });
        lines.collect()
    }

    fn acknowledge(&mut self) -> String {
        for (pid, start_time, _) in self.exits.drain(..) {
            self.line.send_ack(pid, start_time).unwrap();
        }
        String::new()
    }
}

#[expect(
    clippy::zombie_processes,
    reason = "the keeper's to reap: this worker gets killed"
)]
fn shell(script: &str, out: Stdio, err: Stdio) -> i32 {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).stdin(Stdio::null());
    let child = shell.stdout(out).stderr(err).spawn().unwrap();
    Pid::from_child(&child).as_raw_nonzero().get()
}

fn run_key(name: &str) -> RunKey {
    let mut daemon = [b'0'; 18];
    daemon[..name.len()].copy_from_slice(name.as_bytes());
    RunKey {
        daemon,
        index: 0,
        generation: 1,
    }
}

fn write(path: &Path, text: &str) {
    let tmp = path.with_extension("tmp");
    std::fs::write(&tmp, text).unwrap();
    std::fs::rename(tmp, path).unwrap();
}
