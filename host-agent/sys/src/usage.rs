//! What a process has used, asked of the kernel without opening a file.

use std::io;
use std::time::Duration;

use rustix::process::Pid;

/// CPU time of all threads of a process, the ended ones too, without that of its children.
///
/// The caller must know that `pid` is still the process it means: an unreaped child, or one whose pidfd says that it
/// lives.
///
/// # Errors
/// EINVAL when there is no such process.
pub fn cpu_time(pid: Pid) -> io::Result<Duration> {
    /// The clock of a process, not of a thread, that counts what the scheduler counts.
    const PROCESS_SCHED: libc::clockid_t = 2;
    let clock = (!pid.as_raw_nonzero().get() << 3) | PROCESS_SCHED;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a writable timespec; any clock number is allowed.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Ok(Duration::new(
        seconds,
        u32::try_from(time.tv_nsec).unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_uses_time_and_one_that_is_gone_has_no_clock() {
        let mut busy = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&busy);
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while cpu_time(pid).unwrap() < Duration::from_millis(50) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(cpu_time(pid).is_err());
    }
}
