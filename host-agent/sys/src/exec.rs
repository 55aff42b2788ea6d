//! Becoming another program.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::ptr;

/// Replaces this process by the program at `path`. Returns only if that failed, with the reason.
///
/// There is no search in a PATH and no interpretation of files that are not programs.
pub fn execve(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: path and arrays are null-terminated and live until the call returns, which it does only on failure.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// The null-terminated array the kernel wants. It borrows from `strings` without saying so.
pub(crate) fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    let end = std::iter::once(ptr::null());
    strings.iter().map(|s| s.as_ptr()).chain(end).collect()
}
