//! What the child does between clone3 and execveat: bare system calls in borrowed memory.
//!
//! It must never allocate, panic, take a lock, touch thread-local storage (`errno` is one) or return.

use std::ffi::c_char;
use std::os::fd::RawFd;

use super::arch::syscall;

/// One descriptor and the number it shall have.
pub(super) struct Move {
    pub(super) source: RawFd,
    pub(super) target: RawFd,
}

/// All the child needs, and the place where it leaves its error.
pub(super) struct Image {
    pub(super) exe: RawFd,
    /// It shares the caller's table and first takes a copy of what lies below this number; negative: it has one already.
    pub(super) copy_below: RawFd,
    /// Above every target number.
    pub(super) floor: RawFd,
    pub(super) moves: *mut Move,
    pub(super) moves_len: usize,
    pub(super) argv: *const *const c_char,
    pub(super) env: *const *const c_char,
    /// 0 as long as nothing failed.
    pub(super) errno: i32,
}

/// The child's only function.
///
/// # Safety
/// `image` and everything it points to must stay valid until the child has exec'd or ended, and nobody else may touch
/// it until then; `argv` and `env` are null-terminated arrays of C strings.
pub(super) unsafe extern "C" fn become_program(image: *mut Image) -> ! {
    // SAFETY: the caller's promise.
    let image = unsafe { &mut *image };
    // SAFETY: as above; the fields are passed on unchanged.
    image.errno = unsafe { exec(image) };
    loop {
        // SAFETY: ends this process, which owns nothing that must be cleaned up.
        unsafe { syscall(libc::SYS_exit_group, [127, 0, 0, 0, 0]) };
    }
}

/// Returns the errno of what failed.
///
/// # Safety
/// As [`become_program`].
unsafe fn exec(image: &mut Image) -> i32 {
    if image.copy_below >= 0 {
        let unshare = libc::CLOSE_RANGE_UNSHARE as usize;
        let args = [image.copy_below as usize, u32::MAX as usize, unshare, 0, 0];
        // SAFETY: plain numbers; what it closes is closed in this process's new table only.
        let done = unsafe { syscall(libc::SYS_close_range, args) };
        if done < 0 {
            return -done as i32;
        }
    }
    // SAFETY: `moves` is an array of `moves_len` items that only this child uses now.
    let moves = unsafe { std::slice::from_raw_parts_mut(image.moves, image.moves_len) };
    // First all sources go above every target, so that no step overwrites what a later one needs.
    for item in moves.iter_mut() {
        match lift(item.source, image.floor) {
            Ok(fd) => item.source = fd,
            Err(errno) => return errno,
        }
    }
    let exe = match lift(image.exe, image.floor) {
        Ok(fd) => fd,
        Err(errno) => return errno,
    };
    for item in moves.iter() {
        let args = [item.source as usize, item.target as usize, 0, 0, 0];
        // SAFETY: plain numbers; this process has a descriptor table of its own by now.
        let done = unsafe { syscall(libc::SYS_dup3, args) };
        if done < 0 {
            return -done as i32;
        }
    }
    let args = [
        exe as usize,
        c"".as_ptr() as usize,
        image.argv as usize,
        image.env as usize,
        libc::AT_EMPTY_PATH as usize,
    ];
    // SAFETY: the arrays are null-terminated C strings, by the caller's promise.
    let failed = unsafe { syscall(libc::SYS_execveat, args) };
    -failed as i32
}

/// A close-on-exec duplicate numbered `floor` or higher.
fn lift(fd: RawFd, floor: RawFd) -> Result<RawFd, i32> {
    let args = [
        fd as usize,
        libc::F_DUPFD_CLOEXEC as usize,
        floor as usize,
        0,
        0,
    ];
    // SAFETY: plain numbers; this process has a descriptor table of its own by now.
    let new = unsafe { syscall(libc::SYS_fcntl, args) };
    if new < 0 {
        Err(-new as i32)
    } else {
        Ok(new as RawFd)
    }
}
