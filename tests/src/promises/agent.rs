//! A real agent in a directory of its own, without an api-server: its daemons stand in a ledger that was written before
//! its start. Looked at from outside: by its local socket, `/proc`, and what daemons write.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use xtask::up::processes::Process;
use zhylon_shared::id::DaemonId;

use super::Programs;
use crate::daemons::me;
use crate::eventually;

/// A worker that lived longer is followed by the next one at once; after a shorter life the keeper pauses.
const HEALTHY: Duration = Duration::from_secs(1);
/// Longest wait for an answer of the local socket.
const ANSWER: Duration = Duration::from_secs(30);

/// One daemon in the ledger.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Its id.
    pub id: DaemonId,
    /// Its spec, as the ledger has it.
    pub spec: Value,
}

impl Daemon {
    /// A daemon of the test's own user.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self {
            id: DaemonId::random().expect("randomness"),
            spec: json!({ "command": command, "user": me() }),
        }
    }

    /// With another value of a field.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.spec[field] = value.into();
        self
    }

    /// Where its log is.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        crate::daemons::log_file(self.id.bare())
    }

    /// Group and name of the first instance, for commands.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("daemon-{}:{}", self.id.bare(), self.instance(0))
    }

    /// Name of one instance, as the local socket has it.
    #[must_use]
    pub fn instance(&self, index: u32) -> String {
        format!("daemon-{}_{index:02}", self.id.bare())
    }
}

/// An instance as the local socket tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// `RUNNING`, …
    pub state: String,
    /// 0: none.
    pub pid: i32,
    /// Of the last end; -1 when it is not known or was a signal.
    pub code: i32,
    /// Why it does not run.
    pub error: String,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    dir: TempDir,
    program: PathBuf,
    /// A program and its arguments that the agent is started by.
    wrapper: Vec<String>,
    keeper: Option<Child>,
    daemons: Vec<Daemon>,
}

impl Agent {
    /// One that is not started yet.
    #[must_use]
    pub fn new(programs: &Programs, daemons: &[Daemon]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("zhylon-promise.")
            .tempdir()
            .expect("a temporary directory");
        let at = dir.path().display();
        let config = format!(
            "state_dir = '{at}/state'\nrun_dir = '{at}/run'\nlog_filter = 'debug'\n[policy]\nusers = ['{}']\n",
            me()
        );
        fs::write(dir.path().join("agent.toml"), config).expect("write its configuration");
        let agent = Self {
            dir,
            program: programs.agent.clone(),
            wrapper: Vec::new(),
            keeper: None,
            daemons: daemons.to_vec(),
        };
        agent.write_ledger(1);
        agent
    }

    /// Started by this program with these arguments, as `prlimit`.
    #[must_use]
    pub fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// A running one.
    #[must_use]
    pub fn started(programs: &Programs, daemons: &[Daemon]) -> Self {
        let mut agent = Self::new(programs, daemons);
        agent.start();
        agent
    }

    fn write_ledger(&self, revision: i64) {
        let daemons = self.daemons.iter().map(|daemon| {
            json!({
                "id": daemon.id, "spec": daemon.spec, "state": "RUNNING", "intent_generation": 1,
                "restart_generation": 0, "revision": revision,
            })
        });
        let daemons: Vec<Value> = daemons.collect();
        let json =
            json!({ "config_epoch": "test", "revision": revision, "hash": [1], "daemons": daemons })
                .to_string();
        let digest = Sha256::digest(&json);
        fs::create_dir_all(self.path("state/ledger")).expect("make its state directory");
        let text = format!("zhylon-ledger 1 {} {digest:x}\n{json}", json.len());
        fs::write(self.path("state/ledger/desired.json"), text).expect("write its ledger");
    }

    /// A path in its directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its program is another one from now on: where the keeper is started from.
    pub fn set_program(&mut self, program: &Path) {
        self.program = program.to_owned();
    }

    /// Starts the keeper; returns when the worker serves.
    pub fn start(&mut self) {
        self.start_keeper();
        self.ready();
    }

    /// Starts the keeper.
    pub fn start_keeper(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("agent.log"));
        let mut words = self.wrapper.iter();
        let mut command = match words.next() {
            Some(first) => Command::new(first),
            None => Command::new(&self.program),
        };
        if !self.wrapper.is_empty() {
            command.args(words).arg(&self.program);
        }
        clean(&mut command);
        command
            .args(["run", "--config"])
            .arg(self.path("agent.toml"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("its log"));
        self.keeper = Some(command.spawn().expect("start the agent"));
    }

    /// Waits until the worker serves.
    pub fn ready(&self) {
        eventually(
            &format!("the agent serves\n{}", self.path("agent.log").display()),
            || self.infos(),
        );
    }

    /// The keeper.
    #[must_use]
    pub fn keeper(&self) -> Process {
        eventually("a keeper", || {
            Process::from_file(&self.path("run/keeper.pid"))
        })
    }

    /// The worker.
    #[must_use]
    pub fn worker(&self) -> Process {
        eventually("a worker", || {
            Process::from_file(&self.path("run/worker.pid"))
        })
    }

    /// Waits until the worker is so old that the next one follows it at once.
    pub fn settled_worker(&self) -> Process {
        let worker = self.worker();
        eventually("a worker of a second", || {
            (age(worker)? > HEALTHY).then_some(())
        });
        worker
    }

    /// kill -9 of the worker; returns when it is gone.
    pub fn kill_worker(&self) {
        let worker = self.worker();
        worker.signal(Signal::KILL).expect("kill the worker");
        self.buried(worker);
    }

    /// Waits for the end of a worker.
    pub fn buried(&self, worker: Process) {
        eventually("the worker is gone", || (!worker.lives()).then_some(()));
    }

    /// kill -9 of the keeper, and so of the worker.
    pub fn kill_keeper(&mut self) {
        let mut keeper = self.keeper.take().expect("it was started");
        keeper.kill().expect("kill the keeper");
        keeper.wait().expect("wait for it");
    }

    /// Waits for a keeper that somebody else killed.
    pub fn keeper_gone(&mut self) {
        self.keeper
            .take()
            .expect("it was started")
            .wait()
            .expect("wait for it");
    }

    /// A command of the agent's own with its configuration.
    pub fn run(&self, command: &[&str]) -> Output {
        let mut program = Command::new(&self.program);
        clean(&mut program);
        let config = self.path("agent.toml");
        program.args(command).arg("--config").arg(config);
        program.output().expect("start host-agent")
    }

    /// All instances by name; `None`: nobody answers.
    #[must_use]
    pub fn infos(&self) -> Option<BTreeMap<String, Info>> {
        let answer = self.call("supervisor.getAllProcessInfo", "")?;
        let structs = answer.split("<struct>").skip(1);
        structs
            .map(|text| {
                let info = Info {
                    state: member(text, "statename")?.to_owned(),
                    pid: member(text, "pid")?.parse().ok()?,
                    code: member(text, "exitstatus")?.parse().ok()?,
                    error: member(text, "spawnerr")?.to_owned(),
                };
                Some((member(text, "name")?.to_owned(), info))
            })
            .collect()
    }

    /// The answer to one call of the local socket.
    #[must_use]
    pub fn call(&self, method: &str, param: &str) -> Option<String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.path("run/supervisor.sock"))?;
            stream.set_read_timeout(Some(ANSWER))?;
            let params = match param {
                "" => String::new(),
                param => format!("<param><value><string>{param}</string></value></param>"),
            };
            let body = format!(
                "<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
            );
            let length = body.len();
            write!(
                stream,
                "POST /RPC2 HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask()
            .ok()
            .filter(|answer| answer.contains("</methodResponse>"))
    }

    /// Waits until there are as many run records as this: what was stopped is cleaned up.
    pub fn wait_for_records(&self, records: usize) {
        let count = || Some(fs::read_dir(self.path("run/records")).ok()?.count());
        eventually("records of what runs, and no others", || {
            (count()? == records).then_some(())
        });
    }

    /// Pids of all instances, once all run.
    #[must_use]
    pub fn pids(&self, instances: usize) -> BTreeMap<String, i32> {
        eventually(
            &format!("{instances} run\n{}", self.path("agent.log").display()),
            || {
                let infos = self.infos()?;
                let all = infos.len() == instances && infos.values().all(|i| i.state == "RUNNING");
                all.then(|| {
                    infos
                        .into_iter()
                        .map(|(name, info)| (name, info.pid))
                        .collect()
                })
            },
        )
    }

    /// What it wrote to its own log.
    #[must_use]
    pub fn own_log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let stopped = self.run(&["stop", "--daemons"]);
        if let Some(mut keeper) = self.keeper.take() {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
        for daemon in &self.daemons {
            let _ = fs::remove_file(daemon.log());
        }
        if std::thread::panicking() {
            let log = self.own_log();
            let tail = log.char_indices().rev().nth(8000).map_or(0, |(at, _)| at);
            let _ = writeln!(
                std::io::stderr().lock(),
                "--- the agent's log ends\n{}",
                &log[tail..]
            );
        } else {
            assert!(stopped.status.success(), "{stopped:?}");
        }
    }
}

/// Without what the test runner's environment says to an agent.
fn clean(command: &mut Command) {
    let ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("ZHYLON_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
}

/// The text of one member of an XML-RPC struct.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<name>{name}</name>"))?;
    let (value, _) = rest.split_once("</value>")?;
    let value = value.trim().strip_prefix("<value>")?;
    let value = value.split_once('>').map_or(value, |(_, inner)| inner);
    Some(value.split_once('<').map_or(value, |(inner, _)| inner))
}

/// How long a process has been running.
fn age(process: Process) -> Option<Duration> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = u64::try_from(now.tv_sec).ok()? * 100 + u64::try_from(now.tv_nsec).ok()? / 10_000_000;
    process
        .lives()
        .then(|| Duration::from_millis(now.saturating_sub(process.start_time) * 10))
}
