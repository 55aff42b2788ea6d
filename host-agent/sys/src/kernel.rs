//! What this kernel (or a filter before it) knows of the newer calls we use: each one is tried, none is judged by a version.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags, memfd_create, openat2};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitId, WaitIdOptions, getpid, pidfd_open, waitid};

use crate::peer;
use crate::spawn::{can_clone3, can_copy_part_of_a_table, can_spawn_into_cgroup};

/// A call, or an option of one, with the Linux it came with and what is done without it.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// The first Linux that knows it.
    pub since: &'static str,
    /// What the agent does where it is missing; `None`: it can not be done without.
    pub without: Option<&'static str>,
    try_it: fn() -> io::Result<bool>,
}

impl Feature {
    /// Tries it. Leaves nothing behind.
    ///
    /// # Errors
    /// When the answer says nothing about the kernel (no descriptors left, no `/dev/null`).
    pub fn is_known(&self) -> io::Result<bool> {
        (self.try_it)()
    }
}

/// All of them, oldest first.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: "pidfd_open",
        since: "5.3",
        without: None,
        try_it: || known(pidfd_open(getpid(), PidfdFlags::empty())),
    },
    Feature {
        name: "waitid(P_PIDFD)",
        since: "5.4",
        without: None,
        try_it: wait_by_pidfd,
    },
    Feature {
        name: "clone3(CLONE_CLEAR_SIGHAND)",
        since: "5.5",
        without: Some("processes are started by clone, with every signal blocked"),
        try_it: can_clone3,
    },
    Feature {
        name: "openat2",
        since: "5.6",
        without: Some("log files are opened part by part with O_NOFOLLOW, as their user"),
        try_it: || {
            let (flags, resolve) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::BENEATH);
            known(openat2(CWD, c".", flags, Mode::empty(), resolve))
        },
    },
    Feature {
        name: "clone3(CLONE_INTO_CGROUP)",
        since: "5.7",
        without: Some(
            "each process joins its cgroup by itself: a start takes tens of milliseconds more",
        ),
        try_it: can_spawn_into_cgroup,
    },
    Feature {
        name: "close_range(CLOSE_RANGE_UNSHARE)",
        since: "5.9",
        without: Some(
            "each start copies all of the agent's descriptors: a thousand daemons take longer to start",
        ),
        try_it: can_copy_part_of_a_table,
    },
    Feature {
        name: "close_range(CLOSE_RANGE_CLOEXEC)",
        since: "5.11",
        without: Some("descriptors are kept from daemons one by one"),
        try_it: close_range,
    },
    Feature {
        name: "memfd_create(MFD_NOEXEC_SEAL)",
        since: "6.3",
        without: Some(
            "orders travel in a sealed memory file that is not marked as never to be executed",
        ),
        try_it: || {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
            known(memfd_create("zhylon-try", flags))
        },
    },
    Feature {
        name: "SO_PEERPIDFD",
        since: "6.5",
        without: Some("who is at the local socket is looked up by pid, right after connecting"),
        try_it: || {
            let (ours, _theirs) = UnixStream::pair()?;
            known_by(peer::by_kernel(&ours).map(drop))
        },
    },
];

fn known<T>(result: rustix::io::Result<T>) -> io::Result<bool> {
    known_by(result.map(drop).map_err(io::Error::from))
}

fn known_by(result: io::Result<()>) -> io::Result<bool> {
    let unknown = [
        libc::ENOSYS,
        libc::EINVAL,
        libc::E2BIG,
        libc::EPERM,
        libc::ENOPROTOOPT,
    ];
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error().is_some_and(|e| unknown.contains(&e)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// This process is no child of its own, which a kernel that knows the question says.
fn wait_by_pidfd() -> io::Result<bool> {
    let own = match pidfd_open(getpid(), PidfdFlags::empty()) {
        Err(Errno::NOSYS | Errno::PERM) => return Ok(false),
        result => result?,
    };
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::PidFd(own.as_fd()), look) {
        Err(Errno::CHILD) => Ok(true),
        result => known(result),
    }
}

/// Marks descriptors that are never open.
fn close_range() -> io::Result<bool> {
    let cloexec = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: closes nothing, sets a flag only, and there is no such descriptor.
    let done = unsafe { libc::syscall(libc::SYS_close_range, u32::MAX, u32::MAX, cloexec) };
    known_by(if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::older_kernel::without;

    fn unknown() -> Vec<&'static str> {
        let unknown = FEATURES
            .iter()
            .filter(|feature| !feature.is_known().unwrap());
        unknown.map(|feature| feature.name).collect()
    }

    #[test]
    fn what_the_kernel_does_not_know_is_found_out_by_trying() {
        let here = unknown();
        for (calls, names) in [
            (
                &[libc::SYS_pidfd_open][..],
                &["pidfd_open", "waitid(P_PIDFD)"][..],
            ),
            (&[libc::SYS_waitid], &["waitid(P_PIDFD)"]),
            (
                &[libc::SYS_clone3],
                &["clone3(CLONE_CLEAR_SIGHAND)", "clone3(CLONE_INTO_CGROUP)"],
            ),
            (&[libc::SYS_openat2], &["openat2"]),
            (
                &[libc::SYS_close_range],
                &[
                    "close_range(CLOSE_RANGE_UNSHARE)",
                    "close_range(CLOSE_RANGE_CLOEXEC)",
                ],
            ),
            (
                &[libc::SYS_memfd_create],
                &["memfd_create(MFD_NOEXEC_SEAL)"],
            ),
            (&[libc::SYS_getsockopt], &["SO_PEERPIDFD"]),
        ] {
            for errno in [libc::ENOSYS, libc::EINVAL] {
                // What pidfd_open says with EINVAL is about its arguments.
                if calls == [libc::SYS_pidfd_open] && errno == libc::EINVAL {
                    continue;
                }
                let found = without(calls, errno, unknown);
                let more: Vec<_> = found.iter().filter(|name| !here.contains(name)).collect();
                assert_eq!(more, names.iter().collect::<Vec<_>>(), "errno {errno}");
            }
        }
    }
}
