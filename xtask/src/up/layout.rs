//! What lies where under the directory of an `up`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Longest path of a Unix socket, with its NUL (`sun_path`).
const SOCKET_PATH_MAX: usize = 108;

/// Paths under one directory.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The directory, absolute.
    pub dir: PathBuf,
}

/// What `up` decided and `runner` and `down` need; `DIR/up.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The programs.
    pub bin_dir: PathBuf,
    /// Port of the public API on loopback.
    pub api_port: u16,
    /// Port of the agent listener on loopback.
    pub agent_port: u16,
    /// The agent's run directory.
    pub run_dir: PathBuf,
    /// Paths outside the directory that `--install-supervisorctl` made.
    pub installed: Vec<PathBuf>,
}

/// Ids of what the first `up` created; `DIR/ids.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ids {
    /// The first team.
    pub team_id: String,
    /// This machine.
    pub server_id: String,
}

impl Layout {
    /// The layout under `dir`, which is created.
    ///
    /// # Errors
    /// When the directory can not be created.
    pub fn new(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("resolve {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// A file directly in the directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
    /// The api-server's data.
    #[must_use]
    pub fn api(&self) -> PathBuf {
        self.dir.join("api-server")
    }
    /// The agent's state.
    #[must_use]
    pub fn agent(&self) -> PathBuf {
        self.dir.join("host-agent")
    }

    /// Where the agent's socket, records and FIFOs lie: for root in `/run`, where they belong and where the socket's
    /// path is short enough; else in the directory.
    ///
    /// # Errors
    /// When the socket's path would be longer than the kernel takes.
    pub fn run_dir(&self) -> Result<PathBuf> {
        let run_dir = if rustix::process::geteuid().is_root() {
            let hash = Sha256::digest(self.dir.as_os_str().as_encoded_bytes());
            let name: String = hash
                .iter()
                .take(6)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            PathBuf::from(format!("/run/zhylon-{name}"))
        } else {
            self.dir.join("run")
        };
        let socket = run_dir.join("supervisor.sock");
        anyhow::ensure!(
            socket.as_os_str().len() < SOCKET_PATH_MAX,
            "--dir {} is too long: {} would have {} bytes, a socket's path has at most {}",
            self.dir.display(),
            socket.display(),
            socket.as_os_str().len(),
            SOCKET_PATH_MAX - 1,
        );
        Ok(run_dir)
    }

    /// What an earlier `up` decided, if there was one.
    ///
    /// # Errors
    /// When the file is there and can not be read.
    pub fn record(&self) -> Result<Option<Record>> {
        read_json(&self.file("up.json"))
    }
    /// The ids of what the first `up` created.
    ///
    /// # Errors
    /// When the file is there and can not be read.
    pub fn ids(&self) -> Result<Option<Ids>> {
        read_json(&self.file("ids.json"))
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            let value = serde_json::from_slice(&bytes)
                .with_context(|| format!("read {}", path.display()))?;
            Ok(Some(value))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Replaces a file atomically; `mode` is set before it has its name.
///
/// # Errors
/// When it can not be written.
pub fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let temporary = path.with_extension(format!("new.{}", std::process::id()));
    let _ = std::fs::remove_file(&temporary);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .with_context(|| format!("write {}", temporary.display()))?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&temporary, path).with_context(|| format!("write {}", path.display()))
}
