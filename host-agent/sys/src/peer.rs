//! Who is at the other end of a local socket, held fast: a pid alone may be somebody else's a moment later.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, pidfd_open};

/// `SO_PEERPIDFD` of `asm-generic/socket.h`; x86-64 and arm64 agree. Linux 6.5.
const SO_PEERPIDFD: libc::c_int = 77;

/// A pidfd of the process that connected; newer kernels give it of one that has ended, too (see [`has_ended`]). Before
/// Linux 6.5 it is opened by number, so it is that process unless that ended, and was reaped, before this call.
///
/// # Errors
/// When the process is gone, or lies in a pid namespace that is not visible from here.
pub fn peer_pidfd(socket: impl AsFd) -> io::Result<OwnedFd> {
    match by_kernel(&socket) {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => by_number(&socket),
        result => result,
    }
}

/// Whether a process has ended. As long as it has not, its pid is nobody else's.
///
/// # Errors
/// What the system said.
pub fn has_ended(pidfd: impl AsFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let now = Timespec::default();
    Ok(poll(&mut fds, Some(&now))? > 0)
}

pub(crate) fn by_kernel(socket: &impl AsFd) -> io::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals of the size that is told.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us (close-on-exec, as all pidfds).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn by_number(socket: &impl AsFd) -> io::Result<OwnedFd> {
    let pid = socket_peercred(socket)?.pid;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

    use super::*;
    use crate::older_kernel::with_rules;

    fn holds_this_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let pidfd = peer_pidfd(&ours).unwrap();
        let info = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
        let info = std::fs::read_to_string(info).unwrap();
        let own = format!("Pid:\t{}\n", std::process::id());
        assert!(info.contains(&own), "{info}");
        assert!(!has_ended(&pidfd).unwrap());
    }

    /// As on a kernel that does not know the socket option.
    fn before_6_5<T: Send>(body: impl FnOnce() -> T + Send) -> T {
        let is_it = SeccompCondition::new(
            2,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Eq,
            SO_PEERPIDFD.try_into().unwrap(),
        );
        let rule = SeccompRule::new(vec![is_it.unwrap()]).unwrap();
        let rules = [(libc::SYS_getsockopt, vec![rule])].into();
        with_rules(rules, libc::ENOPROTOOPT, body)
    }

    #[test]
    fn both_ways_hold_the_process_that_connected() {
        holds_this_process();
        before_6_5(holds_this_process);
    }

    #[test]
    fn a_peer_that_ended_is_no_peer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])";
        let mut client = std::process::Command::new("python3");
        let status = client.args(["-c", script]).arg(&path).status();
        assert!(status.unwrap().success());
        let (stream, _) = listener.accept().unwrap();
        assert!(before_6_5(|| peer_pidfd(&stream)).is_err());
        assert!(peer_pidfd(&stream).is_err() || has_ended(peer_pidfd(&stream).unwrap()).unwrap());
    }
}
