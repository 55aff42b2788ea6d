//! A real `supervisord` with a socket and a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::clients::ours;
use crate::supervisorctl::Place;

pub(crate) struct Supervisord {
    child: Child,
    pub(crate) dir: tempfile::TempDir,
}

impl Supervisord {
    /// Starts one with the programs written by `programs` and waits until its status is `settled`.
    pub(crate) fn start(
        programs: impl FnOnce(&Path) -> String,
        settled: impl Fn(&str) -> bool,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "[unix_http_server]\nfile={0}\n[supervisord]\nnodaemon=true\nlogfile={1}\npidfile={2}\n[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n[supervisorctl]\nserverurl=unix://{0}\n{3}",
            path("supervisor.sock"),
            path("log"),
            path("pid"),
            programs(dir.path())
        );
        fs::write(dir.path().join("supervisord.conf"), config).unwrap();
        let child = Command::new("/usr/bin/supervisord")
            .args(["-c", &path("supervisord.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let served = Self { child, dir };
        served.wait(settled);
        served
    }

    /// Waits until its status is `settled`.
    pub(crate) fn wait(&self, settled: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let status = self
                .socket()
                .exists()
                .then(|| ours(&self.socket(), &["status"]).out);
            if status.as_deref().is_some_and(&settled) {
                return;
            }
            assert!(Instant::now() < deadline, "supervisord: {status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("supervisor.sock")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("supervisord.conf")
    }

    /// Where our client would find it, were it the host's.
    pub(crate) fn place(&self) -> Place {
        Place {
            program: "/usr/bin/supervisorctl".into(),
            config: self.config(),
        }
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
