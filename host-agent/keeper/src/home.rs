//! The two directories, the locks that keep other agents out, the listening socket, and the pid files.

use std::fs::{DirBuilder, File, Permissions, set_permissions, symlink_metadata};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::{KeeperConfig, KeeperError};

/// The keeper's directories, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Home {
    dirs: [PathBuf; 2],
    locks: [OwnedFd; 2],
}

impl Home {
    /// Makes the directories, tightens their modes and locks both: two agents that share either would take each
    /// other's socket or programs.
    pub(crate) fn open(config: &KeeperConfig) -> Result<Self, KeeperError> {
        let (state_dir, run_dir) = (&config.state_dir, &config.run_dir);
        make_dir(state_dir, 0o700)?;
        let state = lock(&state_dir.join("lock"), OFlags::CREATE)?;
        let run = lock(&make_dir(run_dir, 0o755)?, OFlags::DIRECTORY)?;
        Self::with_locks(config, [state, run])
    }

    /// Moves into directories that the keeper before has locked.
    pub(crate) fn with_locks(
        config: &KeeperConfig,
        locks: [OwnedFd; 2],
    ) -> Result<Self, KeeperError> {
        let run_dir = &config.run_dir;
        make_dir(&run_dir.join("records"), 0o700)?;
        make_dir(&run_dir.join("fifo"), 0o700)?;
        Ok(Self {
            dirs: config.dirs(),
            locks,
        })
    }

    /// The state directory and the run directory.
    pub(crate) fn dirs(&self) -> &[PathBuf; 2] {
        &self.dirs
    }

    /// Their locks.
    pub(crate) fn locks(&self) -> &[OwnedFd; 2] {
        &self.locks
    }

    fn run_dir(&self) -> &Path {
        &self.dirs[1]
    }

    /// Where run records lie.
    pub(crate) fn records(&self) -> PathBuf {
        self.run_dir().join("records")
    }

    /// Binds the local socket, open to everyone: the worker judges who is at the other end.
    pub(crate) fn listen(&self) -> Result<UnixListener, KeeperError> {
        let path = self.socket();
        if let Ok(found) = symlink_metadata(&path) {
            if !found.file_type().is_socket() {
                let rule = "is in the way of the agent's socket and not a socket; remove it";
                return Err(refused(&path, rule));
            }
            // Its owner is gone: this keeper holds the lock.
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        let listener = UnixListener::bind(&path).map_err(failed("bind", &path))?;
        listener
            .set_nonblocking(true)
            .map_err(failed("set up", &path))?;
        let open_to_all = Permissions::from_mode(0o666);
        set_permissions(&path, open_to_all).map_err(failed("chmod", &path))?;
        Ok(listener)
    }

    /// Writes `NAME.pid` (one decimal number), replacing it whole.
    pub(crate) fn write_pid(&self, name: &str, pid: i32) -> Result<(), KeeperError> {
        let path = self.run_dir().join(format!("{name}.pid"));
        let tmp = path.with_extension("pid.tmp");
        let write = || {
            let mut file = File::create(&tmp)?;
            file.write_all(format!("{pid}\n").as_bytes())?;
            std::fs::rename(&tmp, &path)
        };
        write().map_err(failed("write", &path))
    }

    /// Removes the pid files and the socket: nobody answers there any more.
    pub(crate) fn leave(&self) {
        for path in ["keeper.pid", "worker.pid"].map(|name| self.run_dir().join(name)) {
            // What is not there need not be removed, and a left file harms nobody.
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_file(self.socket());
    }

    fn socket(&self) -> PathBuf {
        self.run_dir().join("supervisor.sock")
    }
}

/// Makes a directory if need be, and insists that it is ours with exactly this mode.
fn make_dir(path: &Path, mode: u32) -> Result<PathBuf, KeeperError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(mode);
    builder.create(path).map_err(failed("create", path))?;
    let mut options = File::options();
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    options.read(true).custom_flags(flags.bits() as i32);
    let dir = options.open(path).map_err(failed("open", path))?;
    let found = dir.metadata().map_err(failed("look at", path))?;
    if found.uid() != geteuid().as_raw() {
        let rule = "belongs to another user; the agent's directories must be its own";
        return Err(refused(path, rule));
    }
    if found.mode() & 0o7777 != mode {
        let mode = Permissions::from_mode(mode);
        dir.set_permissions(mode).map_err(failed("chmod", path))?;
    }
    Ok(path.to_owned())
}

/// The lock is the open file's: it ends with this process, however that ends.
fn lock(path: &Path, flags: OFlags) -> Result<OwnedFd, KeeperError> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let file = rustix::fs::open(path, flags, 0o600.into());
    let file = file.map_err(|error| failed("open", path)(error.into()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(KeeperError::Locked {
            directory: path.display().to_string(),
        }),
        Err(error) => Err(failed("lock", path)(error.into())),
    }
}

fn refused(path: &Path, rule: &str) -> KeeperError {
    KeeperError::Refused {
        path: path.display().to_string(),
        rule: rule.to_owned(),
    }
}

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> KeeperError {
    let what = format!("{what} {}", path.display());
    move |source| KeeperError::Io { what, source }
}
