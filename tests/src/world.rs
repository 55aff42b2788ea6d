//! One running system in a directory of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use rustix::process::Signal;
use tempfile::TempDir;
use xtask::build::{Programs, build_for_tests};
use xtask::up::api::{Service, connect};
use xtask::up::processes::Process;
use zhylon_proto::daemons::v1::daemon_service_client::DaemonServiceClient;
use zhylon_proto::daemons::v1::log_service_client::LogServiceClient;
use zhylon_proto::daemons::v1::server_service_client::ServerServiceClient;

use crate::eventually;

/// The programs under test, built once per test program.
pub fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| match crate::namespace::build_dir() {
        Some(build) => Programs::existing(&build.join("zhylon")).expect("they were built outside"),
        None => build_for_tests().expect("the programs build"),
    })
}

/// A system made by `cargo xtask up --detach`, and stopped by `down` when dropped.
#[derive(Debug)]
pub struct World {
    dir: TempDir,
    /// More of `up`'s options.
    options: &'static [&'static str],
}

impl World {
    /// Starts one. On failure the runner's log is in the panic.
    #[must_use]
    pub fn up() -> Self {
        Self::up_with(&[])
    }

    /// Starts one whose client is `/usr/local/bin/supervisorctl`, and whose socket lies where that looks. Only on a
    /// [`crate::machine::Machine`].
    #[must_use]
    pub fn installed(_: &crate::machine::Machine) -> Self {
        Self::up_with(&["--install-supervisorctl"])
    }

    fn up_with(options: &'static [&'static str]) -> Self {
        programs();
        let dir = tempfile::Builder::new()
            .prefix("zhylon-test.")
            .tempdir()
            .expect("a temporary directory");
        let world = Self { dir, options };
        let output = world.up_again();
        assert!(
            output.status.success(),
            "up failed: {}\n{}\nrunner.log:\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            world.log(),
        );
        world
    }

    /// Runs `up` in this directory.
    #[must_use]
    pub fn up_again(&self) -> Output {
        let programs = &programs().dir;
        let mut up = xtask_command();
        up.arg("up")
            .arg("--detach")
            .arg("--dir")
            .arg(self.dir())
            .arg("--programs")
            .arg(programs)
            .args(self.options);
        up.output().expect("start up")
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What the programs logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("runner.log")).unwrap_or_default()
    }

    /// A variable of `DIR/env`, as it is now.
    #[must_use]
    pub fn env(&self, name: &str) -> String {
        self.environment()
            .remove(name)
            .unwrap_or_else(|| panic!("{name} is not in env"))
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.dir().join("env")).expect("read env");
        text.lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()))
            .collect()
    }

    /// A program with the environment of `DIR/env`.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.envs(self.environment());
        command
    }

    /// Runs `zhylonctl`.
    #[must_use]
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        self.command(programs().path("zhylonctl"))
            .args(arguments)
            .output()
            .expect("start zhylonctl")
    }

    /// Runs our `supervisorctl`.
    #[must_use]
    pub fn supervisorctl(&self, arguments: &[&str]) -> Output {
        self.command(programs().path("supervisorctl"))
            .args(arguments)
            .output()
            .expect("start supervisorctl")
    }

    /// Runs Debian's unmodified `supervisorctl`, pointed at our socket.
    #[must_use]
    pub fn debian_supervisorctl(&self, arguments: &[&str]) -> Output {
        let config = self.dir().join("debian.conf");
        let socket = self.env("ZHYLON_SUPERVISOR_SOCKET");
        std::fs::write(
            &config,
            format!("[supervisorctl]\nserverurl=unix://{socket}\n"),
        )
        .expect("write debian.conf");
        Command::new("/usr/bin/supervisorctl")
            .arg("-c")
            .arg(config)
            .args(arguments)
            .output()
            .expect("start it")
    }

    /// The socket of the local door.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.env("ZHYLON_SUPERVISOR_SOCKET").into()
    }

    /// Id of the server this machine is.
    #[must_use]
    pub fn server_id(&self) -> String {
        self.env("ZHYLON_SERVER_ID")
    }

    /// A channel as the first team's owner. Waits while the api-server comes back.
    pub async fn owner(&self) -> Service {
        self.service(&self.env("ZHYLON_API_TOKEN")).await
    }

    /// A channel with any token.
    pub async fn service(&self, token: &str) -> Service {
        let (url, ca) = (
            self.env("ZHYLON_API_URL"),
            PathBuf::from(self.env("ZHYLON_CA_FILE")),
        );
        crate::eventually_async("the api-server answers", || async {
            connect(&url, &ca, token).await.ok()
        })
        .await
    }

    /// The daemons' service, as the owner.
    pub async fn daemons(&self) -> DaemonServiceClient<Service> {
        DaemonServiceClient::new(self.owner().await)
    }
    /// The logs' service, as the owner.
    pub async fn logs(&self) -> LogServiceClient<Service> {
        LogServiceClient::new(self.owner().await)
    }
    /// The servers' service, as the owner.
    pub async fn servers(&self) -> ServerServiceClient<Service> {
        ServerServiceClient::new(self.owner().await)
    }

    /// One of our programs by its variable in `env` (`ZHYLON_WORKER_PID`, …), if it lives.
    #[must_use]
    pub fn process(&self, variable: &str) -> Option<Process> {
        Process::find(self.environment().get(variable)?.parse().ok()?)
    }

    /// Kills one of our programs with SIGKILL. Returns when it is gone.
    pub fn kill(&self, variable: &str) {
        let victim = eventually(variable, || self.process(variable));
        victim.signal(Signal::KILL).expect("kill it");
        eventually("the victim is gone", || (!victim.lives()).then_some(()));
    }

    /// Waits until `env` names a living process for `variable` that is not `before`.
    pub fn comes_back(&self, variable: &str, before: Process) -> Process {
        eventually(&format!("{variable} comes back\n{}", self.log()), || {
            self.process(variable).filter(|now| *now != before)
        })
    }
}

fn xtask_command() -> Command {
    let mut command = Command::new(xtask_program());
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ZHYLON_"))
    {
        command.env_remove(name);
    }
    command
}

/// `xtask` lies where cargo put it when it built all programs of the workspace.
fn xtask_program() -> PathBuf {
    programs()
        .dir
        .parent()
        .expect("a target directory")
        .join("xtask")
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            use std::io::Write as _;
            let _ = writeln!(
                std::io::stderr().lock(),
                "runner.log of the failed test:\n{}",
                self.log()
            );
        }
        let output = xtask_command()
            .arg("down")
            .arg("--dir")
            .arg(self.dir())
            .output();
        let stopped = output.as_ref().is_ok_and(|output| output.status.success());
        if !stopped && !std::thread::panicking() {
            panic!("down failed: {output:?}\n{}", self.log());
        }
    }
}
