//! How the kernel treats this process when it shares CPU, disk and timers out: back to what a program begins with.

use std::io;
use std::num::NonZeroU64;

use rustix::process::setpriority_process;
use rustix::thread::set_current_timer_slack;

/// What the kernel gives the first process: timers may fire this many nanoseconds late.
const TIMER_SLACK: NonZeroU64 = NonZeroU64::new(50_000).expect("not zero");
/// Class "none": the priority at the disk follows the niceness.
const IOPRIO_NONE: libc::c_int = 0;
const IOPRIO_WHO_PROCESS: libc::c_int = 1;

/// Gives the calling thread the default scheduler, niceness 0, no own priority at the disk and the usual timer slack.
///
/// What the kernel does not let an unprivileged process better stays as it is: a niceness above 0, an idle scheduler.
///
/// # Errors
/// Anything but "not permitted".
pub fn ordinary() -> io::Result<()> {
    // The kernel's `struct sched_param`. By number: musl's function of that name refuses to do it.
    let priority: libc::c_int = 0;
    // SAFETY: the parameter lives through the call; 0 is the calling thread.
    permitted(unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_OTHER,
            &raw const priority,
        )
    })?;
    match setpriority_process(None, 0) {
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {}
        result => result?,
    }
    // SAFETY: plain numbers; 0 is the calling thread.
    permitted(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_NONE) })?;
    Ok(set_current_timer_slack(Some(TIMER_SLACK))?)
}

/// Lets the calling thread wait for its turn behind whatever runs: it gets its fair share, and interrupts nobody when it
/// wakes. For what nobody waits for; what it starts begins as [`ordinary`] again.
///
/// # Errors
/// What the system said; then the thread goes on as before.
pub fn in_background() -> io::Result<()> {
    let priority: libc::c_int = 0;
    let batch = libc::SCHED_BATCH;
    // SAFETY: the parameter lives through the call; 0 is the calling thread.
    permitted(unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, batch, &raw const priority) })
}

fn permitted(result: libc::c_long) -> io::Result<()> {
    if result >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        // A kernel built without priorities at the disk has none to give back.
        error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_goes_to_the_background_and_comes_back() {
        let worker = std::thread::spawn(|| {
            // SAFETY: a plain number; 0 is the calling thread.
            let policy = || unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
            in_background().unwrap();
            let background = policy();
            ordinary().unwrap();
            (background, policy())
        });
        let expected = (libc::SCHED_BATCH.into(), libc::SCHED_OTHER.into());
        assert_eq!(worker.join().unwrap(), expected);
    }
}
