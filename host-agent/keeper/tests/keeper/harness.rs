//! A keeper of one's own in a directory of one's own, and questions to its worker.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use host_agent_sys::process::{Stat, stat};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Name of the program's copy in the agent's directory.
const PROGRAM: &str = "program";
/// Far more than anything here takes, on a slow machine too.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until it answers.
pub(crate) fn until<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(begin.elapsed() < DEADLINE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) struct Agent {
    pub(crate) dir: TempDir,
    keeper: RefCell<Keeper>,
    /// Programs to clean away, with their start times.
    programs: RefCell<Vec<(i32, u64)>>,
}

impl Agent {
    /// A keeper whose worker answers.
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// The same, from a copy of the program that is the test's to replace: [`Self::program_file`].
    pub(crate) fn start_from_a_copy() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // By another process: see `replace` of the upgrade's tests.
        let mut copy = Command::new("cp");
        let copied = copy.arg(fixture()).arg(dir.path().join(PROGRAM)).status();
        assert!(copied.unwrap().success());
        Self::start_in(dir)
    }

    fn start_in(dir: TempDir) -> Self {
        let keeper = RefCell::new(spawn_keeper(&dir, "state", &[]));
        let agent = Self {
            dir,
            keeper,
            programs: RefCell::default(),
        };
        agent.ask("pid");
        agent
    }

    /// Where the copy lies.
    pub(crate) fn program_file(&self) -> PathBuf {
        self.dir.path().join(PROGRAM)
    }

    pub(crate) fn start_keeper_again(&self) {
        *self.keeper.borrow_mut() = spawn_keeper(&self.dir, "state", &[]);
    }

    /// The same, with a variable in its environment.
    pub(crate) fn start_keeper_with(&self, variable: &str, value: &str) {
        *self.keeper.borrow_mut() = spawn_keeper(&self.dir, "state", &[(variable, value)]);
    }

    /// Starts one more keeper with the same run_dir, and returns what it said before it failed.
    pub(crate) fn second_keeper(&self, state: &str) -> String {
        let mut keeper = spawn_keeper(&self.dir, state, &[]);
        assert_eq!(keeper.ended(), Some(1));
        self.log()
    }

    /// What the last keeper said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("keeper.log")).unwrap()
    }

    pub(crate) fn keeper_pid(&self) -> i32 {
        Pid::from_child(&self.keeper.borrow().0)
            .as_raw_nonzero()
            .get()
    }

    pub(crate) fn signal_keeper(&self, signal: Signal) {
        signal_process(self.keeper_pid(), signal);
    }

    /// The keeper's exit code, `None` for a signal.
    pub(crate) fn keeper_ended(&self) -> Option<i32> {
        self.keeper.borrow_mut().ended()
    }

    /// The worker's answer; with no worker alive, the next one's.
    pub(crate) fn ask(&self, request: &str) -> String {
        let socket = self.run("supervisor.sock");
        until(&format!("a worker answers {request}"), || {
            let mut stream = UnixStream::connect(&socket).ok()?;
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(request.as_bytes()).ok()?;
            stream.shutdown(Shutdown::Write).ok()?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply).ok()?;
            (!reply.is_empty() || request != "pid").then_some(reply)
        })
    }

    pub(crate) fn worker(&self) -> i32 {
        self.ask("pid").parse().unwrap()
    }

    /// Starts a program that is the test's to clean away; returns its pid.
    pub(crate) fn program(&self, request: &str) -> i32 {
        let pid = self.ask(request).parse().unwrap();
        let started = look(pid).unwrap().start_time;
        self.programs.borrow_mut().push((pid, started));
        pid
    }

    /// Kills the worker, and lets the next one begin only after `meanwhile`.
    pub(crate) fn without_worker<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        let worker = self.worker();
        let gate = self.dir.path().join("no-worker");
        File::create(&gate).unwrap();
        signal_process(worker, Signal::KILL);
        until("the worker is gone", || {
            look(worker).is_none().then_some(())
        });
        let result = meanwhile();
        std::fs::remove_file(gate).unwrap();
        result
    }

    /// A path in the run directory.
    pub(crate) fn run(&self, name: &str) -> PathBuf {
        self.dir.path().join("run").join(name)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.keeper.borrow_mut().kill();
        for (pid, started) in self.programs.borrow().iter() {
            if look(*pid).is_some_and(|stat| stat.start_time == *started) {
                signal_process(*pid, Signal::KILL);
            }
        }
    }
}

/// Never outlives its test.
struct Keeper(Child);

impl Keeper {
    fn ended(&mut self) -> Option<i32> {
        until("the keeper ends", || self.0.try_wait().unwrap()).code()
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn_keeper(dir: &TempDir, state: &str, variables: &[(&str, &str)]) -> Keeper {
    let log = File::create(dir.path().join("keeper.log")).unwrap();
    let copy = dir.path().join(PROGRAM);
    let program = if copy.exists() { copy } else { fixture() };
    let mut keeper = Command::new(program);
    keeper.arg("keeper");
    keeper.env("KEEPER_TEST_DIR", dir.path());
    keeper.env("KEEPER_TEST_STATE", state);
    keeper.envs(variables.iter().copied());
    keeper
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    Keeper(keeper.spawn().unwrap())
}

/// Cargo builds examples beside the tests.
fn fixture() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let fixture = tests
        .parent()
        .unwrap()
        .with_file_name("examples/keeper_fixture");
    assert!(
        fixture.exists(),
        "not built: run `cargo test` for the whole package"
    );
    fixture
}

/// State and start time of a process, `None` when there is none.
pub(crate) fn look(pid: i32) -> Option<Stat> {
    stat(Pid::from_raw(pid).unwrap()).ok()
}

pub(crate) fn lives(pid: i32) -> bool {
    look(pid).is_some_and(|stat| stat.state != 'Z')
}

pub(crate) fn signal_process(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}
