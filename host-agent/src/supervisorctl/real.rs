//! The real Supervisor that may live on the same host. Its own client speaks to it, called by absolute path with an absolute
//! `-c`, a clean environment, `/` as directory and nothing on standard input: neither the caller's directory nor its
//! environment says what root runs. Never ourselves, and never our own agent behind Supervisor's socket.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use dxr::Value;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::calls::{CallError, Connection};
use super::{config, exit};

/// Set for what we run: a wrapper of that name that leads back to us must not go round for ever.
pub(super) const HANDED_ON: &str = "ZHYLON_SUPERVISORCTL_HANDED_ON";

/// How our agent answers `getIdentification`.
pub(super) const AGENT: &str = "zhylon-agent";

/// What the real client finds its interpreter and nothing else with.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a Supervisor may think about who it is before `status` goes without it. It answers at once or hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a real Supervisor would be.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) program: PathBuf,
    pub(crate) config: PathBuf,
}

/// One that is there.
#[derive(Debug)]
pub(super) struct Real {
    place: Place,
    reach: Reach,
}

/// Whether it can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Answers,
    /// It does not run, or the caller may not speak to it.
    Away,
    /// It runs and does not answer.
    Hangs,
}

impl Place {
    /// Debian's, and everybody's who installs it as a system service.
    pub(super) fn of_this_host() -> Self {
        Self {
            program: "/usr/bin/supervisorctl".into(),
            config: "/etc/supervisor/supervisord.conf".into(),
        }
    }
}

/// A real Supervisor on this host, for `doctor`: how it is, and the words by which its own client reaches it.
pub(crate) fn beside() -> Option<(Reach, String)> {
    let real = Real::find(&Place::of_this_host())?;
    Some((real.reach(), real.by_hand()))
}

impl Real {
    /// Looks whether there is one.
    pub(super) fn find(place: &Place) -> Option<Self> {
        let program = fs::metadata(&place.program).ok()?;
        if !program.is_file() || program.permissions().mode() & 0o111 == 0 || is_us(&program) {
            return None;
        }
        let reach = match config::server_url(&place.config) {
            Ok(url) => match config::socket(&url) {
                Some(socket) => ask(&socket)?,
                // Our agent serves no port.
                None => Reach::Answers,
            },
            Err(config::ConfigError::Io(_)) => Reach::Away,
            Err(config::ConfigError::Missing | config::ConfigError::NoSection) => return None,
        };
        Some(Self {
            place: place.clone(),
            reach,
        })
    }

    pub(super) fn reach(&self) -> Reach {
        self.reach
    }

    /// How a person reaches it past us.
    pub(super) fn by_hand(&self) -> String {
        let Place { program, config } = &self.place;
        format!("{} -c {}", program.display(), config.display())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.place.program);
        command
            .arg("-c")
            .arg(&self.place.config)
            .args(args)
            .env_clear()
            .envs([("PATH", PATH), ("LANG", "C.UTF-8"), (HANDED_ON, "1")])
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs its client to the end.
    pub(super) fn output(&self, args: &[&str]) -> io::Result<Output> {
        self.command(args).output()
    }

    /// Runs its client, passes on what it prints as it comes and returns its exit status.
    pub(super) fn pass(
        &self,
        args: &[&str],
        stdin: Stdio,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<u8> {
        let mut child = self
            .command(args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (copied, complaints) = std::thread::scope(|scope| {
            let complaints = scope.spawn(|| {
                let mut bytes = Vec::new();
                let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut bytes));
                bytes
            });
            // The pipe is closed before the other is waited for: a client nobody listens to ends at its next word.
            let copied = stdout.map_or(Ok(()), |stdout| copy(stdout, out));
            (copied, complaints.join().unwrap_or_default())
        });
        let status = child.wait()?;
        copied?;
        err.write_all(&complaints)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.unwrap_or(exit::GENERIC))
    }
}

fn copy(mut from: impl Read, to: &mut dyn Write) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                to.write_all(&bytes[..read])?;
                to.flush()?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_us(program: &fs::Metadata) -> bool {
    fs::metadata("/proc/self/exe")
        .is_ok_and(|us| (us.dev(), us.ino()) == (program.dev(), program.ino()))
}

/// Who is behind this socket; `None` if it is our own agent.
fn ask(socket: &Path) -> Option<Reach> {
    let stream = match connect(socket) {
        Ok(stream) => stream,
        // Its queue is full: it takes nobody.
        Err(Errno::AGAIN) => return Some(Reach::Hangs),
        Err(_) => return Some(Reach::Away),
    };
    let url = format!("unix://{}", socket.display());
    match Connection::over(stream, url).call("supervisor.getIdentification", &[]) {
        Ok(Value::String(name)) if name == AGENT => None,
        Err(CallError::Io { error, .. })
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
        {
            Some(Reach::Hangs)
        }
        // Whatever else it says, also that it wants a password: it is somebody, and its own client knows it better.
        _ => Some(Reach::Answers),
    }
}

/// Connects without waiting, since a server that is stuck would be waited for for ever.
fn connect(socket: &Path) -> rustix::io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&fd, &SocketAddrUnix::new(socket)?)?;
    rustix::io::ioctl_fionbio(&fd, false)?;
    let stream = UnixStream::from(fd);
    let limited = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
    match limited {
        Ok(()) => Ok(stream),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}
