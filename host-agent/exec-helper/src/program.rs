//! Finding and executing the daemon's program, as execvp does, but in the daemon's own PATH and without a shell.

use std::ffi::{CStr, CString};
use std::io;

use host_agent_sys::exec::execve;
use rustix::io::Errno;

/// Where to look when the daemon has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// Returns only if no program was started: the system's answer for the last candidate, or "permission denied" if one was
/// found that may not be executed.
pub(crate) fn execute(argv: &[CString], env: &[CString]) -> io::Error {
    let Some(program) = argv.first() else {
        return Errno::INVAL.into();
    };
    if program.is_empty() {
        return Errno::NOENT.into();
    }
    if program.as_bytes().contains(&b'/') {
        return execve(program, argv, env);
    }
    let path = env.iter().find_map(|e| e.as_bytes().strip_prefix(b"PATH="));
    let mut denied = false;
    for directory in path.unwrap_or(DEFAULT_PATH).split(|b| *b == b':') {
        let Ok(candidate) = join(directory, program) else {
            continue;
        };
        let error = execve(&candidate, argv, env);
        match Errno::from_io_error(&error) {
            Some(Errno::ACCESS) => denied = true,
            Some(Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT) => {}
            _ => return error,
        }
    }
    if denied {
        Errno::ACCESS.into()
    } else {
        Errno::NOENT.into()
    }
}

/// An empty directory means the current one.
fn join(directory: &[u8], program: &CStr) -> Result<CString, std::ffi::NulError> {
    let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
    CString::new([directory, slash, program.to_bytes()].concat())
}
