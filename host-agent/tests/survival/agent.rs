//! A real agent in temporary directories, driven by a ledger written before its start and looked at from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use zhylon_shared::id::DaemonId;

/// How long anything may take on a slow machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a test waits for.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        // A rest between two looks, not a guess at how long something takes.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A daemon of a test.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    pub(crate) id: DaemonId,
    spec: Value,
    desired: &'static str,
}

impl Daemon {
    pub(crate) fn new(command: &str) -> Self {
        Self {
            id: DaemonId::random().unwrap(),
            spec: json!({ "command": command, "user": own_name() }),
            desired: "RUNNING",
        }
    }

    /// A shell script. Backslashes and double quotes are its own business, single quotes are ours.
    pub(crate) fn shell(script: &str) -> Self {
        assert!(!script.contains('\''));
        Self::new(&format!("sh -c '{script}'"))
    }

    pub(crate) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.spec[field] = value.into();
        self
    }

    pub(crate) fn group(&self) -> String {
        format!("daemon-{}", self.id.bare())
    }
}

/// Name of the user who runs the tests: the policy of the agents they start.
pub(crate) fn own_name() -> String {
    let uid = nix::unistd::geteuid();
    nix::unistd::User::from_uid(uid).unwrap().unwrap().name
}

/// One instance in `supervisorctl status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) state: String,
    pub(crate) pid: Option<i32>,
    pub(crate) description: String,
}

/// A real agent.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Where the program under test and its helper lie.
    bin: PathBuf,
    /// Another user that the keeper runs as.
    uid: Option<u32>,
    dir: TempDir,
    keeper: Option<Child>,
    daemons: Vec<Daemon>,
    revision: i64,
}

impl Agent {
    /// An agent that is not started yet.
    pub(crate) fn new(daemons: &[&Daemon]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "state_dir = '{0}/state'\nrun_dir = '{0}/run'\nlog_filter = 'debug'\n[policy]\nusers = ['{1}']\n",
            dir.path().display(),
            own_name(),
        );
        fs::write(dir.path().join("agent.toml"), text).unwrap();
        let mut agent = Self {
            bin: program().parent().unwrap().to_owned(),
            uid: None,
            dir,
            keeper: None,
            daemons: Vec::new(),
            revision: 0,
        };
        agent.write_ledger(daemons);
        agent
    }

    /// An agent that is not root, wherever the tests run as root: its programs are copied to where it can reach them, its
    /// directories are its own.
    pub(crate) fn unprivileged(daemons: &[&Daemon], uid: u32) -> Self {
        let mut agent = Self::from_copies(daemons);
        agent.uid = Some(uid);
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(agent.dir.path(), open).unwrap();
        agent.give_away();
        agent.start();
        agent
    }

    /// An agent that is not started yet, and whose programs are the test's to replace.
    pub(crate) fn from_copies(daemons: &[&Daemon]) -> Self {
        let mut agent = Self::new(daemons);
        let bin = agent.path("bin");
        fs::create_dir(&bin).unwrap();
        for name in ["host-agent", "zhylon-exec"] {
            // A process of its own: a descriptor open for writing that some other test's child inherits makes a file no
            // program.
            let mut copy = Command::new("cp");
            let copied = copy.args([agent.bin.join(name), bin.join(name)]).status();
            assert!(copied.unwrap().success());
        }
        agent.bin = bin;
        agent
    }

    fn give_away(&self) {
        let Some(uid) = self.uid else { return };
        let own = |path: &Path| std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
        for name in ["", "state", "state/ledger", "state/ledger/desired.json"] {
            own(&self.path(name));
        }
    }

    /// A running agent.
    pub(crate) fn with(daemons: &[&Daemon]) -> Self {
        let mut agent = Self::new(daemons);
        agent.start();
        agent
    }

    /// What the api-server would have sent, as the ledger keeps it.
    pub(crate) fn write_ledger(&mut self, daemons: &[&Daemon]) {
        self.revision += 1;
        self.daemons.extend(daemons.iter().copied().cloned());
        let set: Vec<Value> = daemons
            .iter()
            .map(|daemon| {
                json!({
                    "id": daemon.id, "spec": daemon.spec, "state": daemon.desired,
                    "intent_generation": 1, "restart_generation": 0, "revision": self.revision,
                })
            })
            .collect();
        let ledger = json!({
            "config_epoch": "test", "revision": self.revision, "hash": [1], "daemons": set,
        });
        let json = ledger.to_string();
        let head = format!(
            "zhylon-ledger 1 {} {:x}\n",
            json.len(),
            Sha256::digest(&json)
        );
        fs::create_dir_all(self.path("state/ledger")).unwrap();
        fs::write(self.path("state/ledger/desired.json"), head + &json).unwrap();
        self.give_away();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the keeper and waits until the socket answers.
    pub(crate) fn start(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("agent.log"))
            .unwrap();
        let mut keeper = self.program();
        keeper
            .args(["run", "--config"])
            .arg(self.path("agent.toml"));
        if let Some(uid) = self.uid {
            std::os::unix::process::CommandExt::uid(&mut keeper, uid);
            std::os::unix::process::CommandExt::gid(&mut keeper, uid);
        }
        keeper
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.keeper = Some(keeper.spawn().unwrap());
        self.wait_ready();
    }

    /// Waits until the socket answers.
    pub(crate) fn wait_ready(&self) {
        until("the socket answers", || {
            self.ctl(&["version"]).status.success().then_some(())
        });
    }

    pub(crate) fn ctl(&self, args: &[&str]) -> Output {
        let socket = format!("unix://{}", self.path("run/supervisor.sock").display());
        self.program()
            .args(["supervisorctl", "-s", &socket])
            .args(args)
            .output()
            .unwrap()
    }

    /// Output of a client command, standard output only.
    pub(crate) fn say(&self, args: &[&str]) -> String {
        String::from_utf8(self.ctl(args).stdout).unwrap()
    }

    /// All instances by name.
    pub(crate) fn instances(&self) -> BTreeMap<String, Instance> {
        let text = self.say(&["status"]);
        text.lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let name = words.next()?.rsplit(':').next()?.to_owned();
                let state = words.next()?.to_owned();
                let description = words.collect::<Vec<_>>().join(" ");
                let pid = description
                    .strip_prefix("pid ")
                    .and_then(|rest| rest.split(',').next()?.parse().ok());
                let instance = Instance {
                    state,
                    pid,
                    description,
                };
                Some((name, instance))
            })
            .collect()
    }

    pub(crate) fn instance(&self, daemon: &Daemon, index: u32) -> Option<Instance> {
        let name = format!("{}_{index:02}", daemon.group());
        self.instances().remove(&name)
    }

    /// Waits for a state; returns the instance in it.
    pub(crate) fn wait_for(&self, daemon: &Daemon, index: u32, state: &str) -> Instance {
        until(&format!("{state} of {}_{index}", daemon.group()), || {
            self.instance(daemon, index)
                .filter(|found| found.state == state)
        })
    }

    /// Pid of an instance, once it is RUNNING.
    pub(crate) fn pid(&self, daemon: &Daemon, index: u32) -> i32 {
        self.wait_for(daemon, index, "RUNNING").pid.unwrap()
    }

    /// What the keeper wrote down before it started the worker that answers.
    pub(crate) fn keeper_pid(&self) -> i32 {
        let text = fs::read_to_string(self.path("run/keeper.pid")).unwrap();
        text.trim().parse().unwrap()
    }

    /// The keeper's worker, once the pid file names it: it may answer a moment before it is written down, and what a
    /// keeper that was killed left there is not one.
    pub(crate) fn worker_pid(&self) -> i32 {
        let keeper = Some(Pid::from_child(self.keeper.as_ref().unwrap()));
        until("worker.pid names the keeper's child", || {
            let text = fs::read_to_string(self.path("run/worker.pid")).ok()?;
            let pid: i32 = text.trim().parse().ok()?;
            let stat = host_agent_sys::process::stat(Pid::from_raw(pid)?).ok()?;
            (stat.parent == keeper && stat.state != 'Z').then_some(pid)
        })
    }

    /// Kills the worker and waits until there is another. One that lived for less than a second would be followed by a
    /// pause of the keeper's, so its age is waited for.
    pub(crate) fn kill_worker(&self) {
        let old = self.worker_pid();
        until("a worker of a second", || {
            (age(old)? > Duration::from_secs(1)).then_some(())
        });
        signal(old, Signal::KILL);
        until("another worker", || {
            (self.worker_pid() != old).then_some(())
        });
    }

    /// Kills the keeper, and with it the worker.
    pub(crate) fn kill_all(&mut self) {
        let worker = self.worker_pid();
        let mut keeper = self.keeper.take().unwrap();
        keeper.kill().unwrap();
        keeper.wait().unwrap();
        until("the worker goes with its keeper", || {
            (!runs(worker)).then_some(())
        });
    }

    /// `host-agent stop --daemons`.
    pub(crate) fn stop_daemons(&self) -> Output {
        self.program()
            .args(["stop", "--daemons", "--config"])
            .arg(self.path("agent.toml"))
            .output()
            .unwrap()
    }

    /// `host-agent status`.
    pub(crate) fn status(&self) -> String {
        let mut status = self.program();
        status.arg("status").arg("--config");
        let output = status.arg(self.path("agent.toml")).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `host-agent upgrade`.
    pub(crate) fn upgrade(&self) -> Output {
        self.upgrade_by(&self.bin.join("host-agent"))
    }

    /// The same, asked for by the program in another place.
    pub(crate) fn upgrade_by(&self, program: &Path) -> Output {
        Command::new(program)
            .args(["upgrade", "--config"])
            .arg(self.path("agent.toml"))
            .output()
            .unwrap()
    }

    /// SIGTERM to the keeper; returns once it has ended.
    pub(crate) fn terminate(&mut self) {
        signal(self.keeper_pid(), Signal::TERM);
        let ended = self.keeper.take().unwrap().wait().unwrap();
        assert!(ended.success(), "{ended:?}");
    }

    fn program(&self) -> Command {
        let mut command = Command::new(self.bin.join("host-agent"));
        for variable in ["STATE_DIR", "RUN_DIR", "LOG_FORMAT", "LOG_FILTER"] {
            command.env_remove(format!("ZHYLON_{variable}"));
        }
        command
    }

    /// What the agent wrote to its own log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let stopped = self.stop_daemons();
        if let Some(mut keeper) = self.keeper.take() {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the agent's log\n{}", self.log());
        } else {
            assert!(stopped.status.success(), "{stopped:?}");
        }
        let home = nix::unistd::User::from_uid(nix::unistd::geteuid());
        let home = home.unwrap().unwrap().dir;
        for daemon in &self.daemons {
            let _ = fs::remove_file(home.join(format!(".zhylon/{}.log", daemon.group())));
        }
    }
}

/// The program under test. The exec helper must lie beside it.
fn program() -> &'static Path {
    let program = Path::new(env!("CARGO_BIN_EXE_host-agent"));
    let helper = program.with_file_name("zhylon-exec");
    assert!(
        helper.exists(),
        "{} is missing: run `cargo build --workspace --bins` first",
        helper.display()
    );
    program
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Whether a process runs; a zombie does not.
pub(crate) fn runs(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.trim_start().chars().next());
        !matches!(state, Some('Z' | 'X'))
    })
}

/// How long a process has been running.
pub(crate) fn age(pid: i32) -> Option<Duration> {
    let started = host_agent_sys::process::start_time(Pid::from_raw(pid)?).ok()?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = u64::try_from(now.tv_sec).ok()? * 100;
    Some(Duration::from_millis(now.saturating_sub(started) * 10))
}

/// Lines of a file that daemons write to.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
