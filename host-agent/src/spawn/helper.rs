//! The exec helper that lies beside this program: opened once, so that an upgrade on disk can not mix versions.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};

use host_agent_sys::orders::{HELPER_NAME, VERSION};
use rustix::fs::OFlags;

/// The opened helper. It understands our orders.
#[derive(Debug)]
pub(crate) struct Helper {
    program: OwnedFd,
}

impl Helper {
    /// Opens it and asks for its version.
    ///
    /// # Errors
    /// Where it was looked for and what is wrong with it.
    pub(crate) fn open() -> io::Result<Self> {
        let name = HELPER_NAME.to_string_lossy();
        let path = std::env::current_exe()?.with_file_name(&*name);
        let told =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let program: OwnedFd = File::options()
            .read(true)
            .custom_flags((OFlags::PATH | OFlags::CLOEXEC).bits().cast_signed())
            .open(&path)
            .map_err(told)?
            .into();
        let output = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg("--version")
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .map_err(told)?;
        let version = String::from_utf8_lossy(&output.stdout);
        if version.trim_end().ends_with(&format!(" orders {VERSION}")) {
            return Ok(Self { program });
        }
        Err(told(io::Error::other(format!(
            "says {:?}, this agent needs one that understands orders {VERSION}; install both from one package",
            version.trim_end()
        ))))
    }
}

impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}
