//! Starting a program by `clone3(CLONE_VM | CLONE_VFORK)` and `execveat`; by `clone` where clone3 is not to be had.
//!
//! Costs the same however large the caller is, gives a pidfd from the first instant, and puts the child into its
//! cgroup without a write to `cgroup.procs`. Between the two calls the child borrows the caller's memory, so it runs
//! bare system calls only. It must never change ids there: a process of that user could stop it and, with it, the
//! caller (`zhylon-exec` does that later, in memory of its own).

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::exec::pointers;
use crate::signals::AllBlocked;

mod arch;
mod image;
mod seats;
mod stack;

use image::{Image, Move};
pub use seats::{Seats, can_copy_part_of_a_table};
use stack::Stack;

/// Most descriptors one program can be given. Ours get five; more is refused with EINVAL.
pub const MAX_FDS: usize = 16;
/// What the child shares with the caller, and that a pidfd is wanted (Linux 5.2).
const SHARED: i32 = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
/// Largest number a descriptor can be given. More is refused with EINVAL.
pub const MAX_TARGET: RawFd = 255;

/// How to start the exec helper. There is no place for an environment: it is exactly empty.
#[derive(Debug, Clone, Copy)]
pub struct Spawn<'a> {
    /// The opened program.
    pub exe: BorrowedFd<'a>,
    /// Its only argument.
    pub argv0: &'a CStr,
    /// An opened cgroup v2 directory in which it begins its life; `None`: the caller's own. Only where
    /// [`can_spawn_into_cgroup`].
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Descriptors and the numbers they get there. The numbers may overlap with those of the sources.
    pub fds: &'a [(BorrowedFd<'a>, RawFd)],
}

/// How the keeper starts the worker: the agent's own program with the agent's own words.
#[derive(Debug, Clone, Copy)]
pub struct SpawnWorker<'a> {
    /// The opened program.
    pub exe: BorrowedFd<'a>,
    /// Its arguments, its own name first.
    pub argv: &'a [CString],
    /// Its environment, `KEY=VALUE`.
    pub env: &'a [CString],
    /// See [`Spawn::fds`].
    pub fds: &'a [(BorrowedFd<'a>, RawFd)],
}

/// A child just started.
#[derive(Debug)]
pub struct Child {
    /// Its process id.
    pub pid: Pid,
    /// Its pidfd, close-on-exec.
    pub pidfd: OwnedFd,
}

/// Starts the exec helper. It begins with every signal blocked and no handler set; SIGCHLD tells of its end.
/// Descriptors not named in `fds` reach it unless they are close-on-exec.
///
/// # Errors
/// What clone3 or clone, duplicating the descriptors, or execveat said; then no child is left. EINVAL for `fds` out of bounds.
pub fn spawn(order: &Spawn<'_>) -> io::Result<Child> {
    launch(Launch {
        exe: order.exe.as_raw_fd(),
        argv: &[order.argv0.as_ptr(), ptr::null()],
        env: &[ptr::null()],
        cgroup: order.cgroup,
        moves: moves(order.fds)?,
        table: Table::Copied,
        old_way: order.cgroup.is_none(),
    })
}

/// As [`spawn`], with the same outcome, for a caller with many descriptors: the child copies those below the end of
/// `seats` only.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_with(seats: &mut Seats, order: &Spawn<'_>) -> io::Result<Child> {
    let mut moves = moves(order.fds)?;
    if !seats.suffice(moves.iter().map(|m| m.target)) {
        return spawn(order);
    }
    let below = seats.end();
    let sources = order.fds.iter().map(|(fd, _)| *fd);
    let seated = seats.seat(sources.chain([order.exe]))?;
    for (index, m) in moves.iter_mut().enumerate() {
        m.source = seated.number(index);
    }
    launch(Launch {
        exe: seated.number(moves.len()),
        argv: &[order.argv0.as_ptr(), ptr::null()],
        env: &[ptr::null()],
        cgroup: order.cgroup,
        moves,
        table: Table::Below(below),
        old_way: order.cgroup.is_none(),
    })
}

/// Starts the worker, as [`spawn`] does.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_worker(order: &SpawnWorker<'_>) -> io::Result<Child> {
    launch(Launch {
        exe: order.exe.as_raw_fd(),
        argv: &pointers(order.argv),
        env: &pointers(order.env),
        cgroup: None,
        moves: moves(order.fds)?,
        table: Table::Copied,
        old_way: true,
    })
}

/// What all three come down to.
struct Launch<'a> {
    exe: RawFd,
    /// Ends with a null pointer, as `env`; both point to strings that outlive the call.
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    cgroup: Option<BorrowedFd<'a>>,
    moves: Vec<Move>,
    table: Table,
    /// By `clone` where clone3 is unknown.
    old_way: bool,
}

/// The child's descriptor table.
#[derive(Clone, Copy)]
enum Table {
    /// A copy of the caller's.
    Copied,
    /// The caller's own, until the child takes a copy of what lies below this number.
    Below(RawFd),
}

impl Table {
    fn flag(self) -> i32 {
        match self {
            Self::Copied => 0,
            Self::Below(_) => libc::CLONE_FILES,
        }
    }

    fn below(self) -> RawFd {
        match self {
            Self::Copied => -1,
            Self::Below(number) => number,
        }
    }
}

fn launch(mut order: Launch<'_>) -> io::Result<Child> {
    let moves = &mut order.moves;
    let stack = Stack::take()?;
    let image = UnsafeCell::new(Image {
        exe: order.exe,
        copy_below: order.table.below(),
        floor: moves.iter().map(|m| m.target).max().unwrap_or(-1) + 1,
        moves: moves.as_mut_ptr(),
        moves_len: moves.len(),
        argv: order.argv.as_ptr(),
        env: order.env.as_ptr(),
        errno: 0,
    });
    let shared = SHARED | order.table.flag();

    let mut pidfd: RawFd = -1;
    let blocked = AllBlocked::new()?;
    // SAFETY: both ask for CLONE_VM | CLONE_VFORK with a stack of its own that nothing else uses, so this thread sleeps
    // until the child has exec'd or ended; until then `image` and all it points to stay alive. The child runs
    // `image::become_program` only, which never returns. No handler can run in it: every signal is blocked. Where it
    // shares the descriptor table (CLONE_FILES) its first call gives it one of its own.
    let pid = unsafe {
        match clone3(shared, order.cgroup, &stack, &mut pidfd, &image) {
            refused if order.old_way && is_unknown(refused) => {
                clone(shared, &stack, &mut pidfd, &image)
            }
            pid => pid,
        }
    };
    drop(blocked);
    stack.keep();
    if pid < 0 {
        return Err(io::Error::from_raw_os_error(-pid as i32));
    }
    // SAFETY: clone3 succeeded, so the kernel stored a new descriptor that nobody else knows.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: the child is gone from this memory (CLONE_VFORK); it may have written the field, hence volatile.
    let errno = unsafe { ptr::read_volatile(&raw const (*image.get()).errno) };
    if errno != 0 {
        // It ended by itself already; an error here would only hide the real one.
        let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        return Err(io::Error::from_raw_os_error(errno));
    }
    let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Child { pid, pidfd })
}

/// The way of today's kernels. Returns the child's pid or the negated errno.
///
/// # Safety
/// `stack` and `image` must be used by nobody else until this returns; every signal must be blocked.
unsafe fn clone3(
    shared: i32,
    cgroup: Option<BorrowedFd<'_>>,
    stack: &Stack,
    pidfd: &mut RawFd,
    image: &UnsafeCell<Image>,
) -> isize {
    let mut flags = shared as u64 | arch::CLONE_CLEAR_SIGHAND;
    if cgroup.is_some() {
        flags |= arch::CLONE_INTO_CGROUP;
    }
    let args = arch::CloneArgs {
        flags,
        pidfd: ptr::from_mut(pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.lowest() as u64,
        stack_size: stack.size() as u64,
        cgroup: cgroup.map_or(0, |dir| dir.as_raw_fd() as u64),
        ..arch::CloneArgs::default()
    };
    let words = [
        ptr::from_ref(&args) as usize,
        size_of::<arch::CloneArgs>(),
        0,
    ];
    // SAFETY: the caller's promise; `args` lives until the call returns.
    unsafe { arch::clone(libc::SYS_clone3, words, image::become_program, image.get()) }
}

/// The way of older kernels (before 5.5: no CLONE_CLEAR_SIGHAND) and of containers that forbid clone3. Nothing is lost by
/// it: with every signal blocked no handler can run in the child, and `execve` resets them.
///
/// # Safety
/// As [`clone3`].
unsafe fn clone(shared: i32, stack: &Stack, pidfd: &mut RawFd, image: &UnsafeCell<Image>) -> isize {
    let flags = shared | libc::SIGCHLD;
    let top = stack.lowest() + stack.size();
    let words = [flags as usize, top, ptr::from_mut(pidfd) as usize];
    // SAFETY: the caller's promise. With CLONE_PIDFD the third word is where the pidfd goes.
    unsafe { arch::clone(libc::SYS_clone, words, image::become_program, image.get()) }
}

/// Whether a negated errno may mean that the kernel (or a seccomp filter before it) does not know the call or its flags.
fn is_unknown(result: isize) -> bool {
    let unknown = [libc::ENOSYS, libc::EINVAL, libc::E2BIG, libc::EPERM];
    unknown.iter().any(|errno| result == -(*errno as isize))
}

/// Whether [`Spawn::cgroup`] works here: Linux 5.7, and clone3 not forbidden. Starts nothing.
///
/// # Errors
/// When that can not be found out.
pub fn can_spawn_into_cgroup() -> io::Result<bool> {
    // It is no cgroup: who knows the flag says so.
    refuses_null(true, libc::EBADF)
}

/// Whether clone3 works here with all we ask of it but a cgroup: Linux 5.5, and clone3 not forbidden. The child it makes
/// ends before it is a program.
///
/// # Errors
/// When that can not be found out.
pub fn can_clone3() -> io::Result<bool> {
    // It is no program: the child says so.
    refuses_null(false, libc::EACCES)
}

/// Whether clone3 with `/dev/null` as the program (and as the cgroup) fails with `errno`, and not as an unknown call does.
fn refuses_null(in_cgroup: bool, errno: i32) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let null = rustix::fs::open(c"/dev/null", flags, Mode::empty())?;
    let tried = launch(Launch {
        exe: null.as_raw_fd(),
        argv: &[ptr::null()],
        env: &[ptr::null()],
        cgroup: in_cgroup.then_some(null.as_fd()),
        moves: Vec::new(),
        table: Table::Copied,
        old_way: false,
    });
    match tried {
        Ok(_) => Ok(false),
        Err(error) => match error.raw_os_error() {
            Some(found) if found == errno => Ok(true),
            Some(found) if is_unknown(-(found as isize)) => Ok(false),
            _ => Err(error),
        },
    }
}

fn moves(fds: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<Vec<Move>> {
    let refused = || io::Error::from_raw_os_error(libc::EINVAL);
    if fds.len() > MAX_FDS {
        return Err(refused());
    }
    let mut moves: Vec<Move> = Vec::with_capacity(fds.len());
    for (source, target) in fds {
        let taken = moves.iter().any(|m| m.target == *target);
        if taken || !(0..=MAX_TARGET).contains(target) {
            return Err(refused());
        }
        moves.push(Move {
            source: source.as_raw_fd(),
            target: *target,
        });
    }
    Ok(moves)
}

#[cfg(test)]
mod tests;
