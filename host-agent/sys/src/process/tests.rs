use std::os::fd::AsRawFd;

use rustix::io::{dup, fcntl_dupfd_cloexec};
use rustix::process::getpid;

use super::*;
use crate::older_kernel::without;

#[test]
fn the_start_time_is_found_whatever_the_process_calls_itself() {
    let rest = "S 1 2 3 0 -1 4194560 9 0 0 0 1 2 3 4 20 0 1 0 987654 5 6 7";
    for name in ["cat", "a b", ")", "x) R 1 1 1", "(((", "\n"] {
        let text = format!("42 ({name}) {rest}");
        let stat = parse_stat(text.as_bytes()).unwrap();
        let expected = Stat {
            state: 'S',
            parent: Pid::from_raw(1),
            session: Pid::from_raw(3),
            start_time: 987_654,
        };
        assert_eq!(stat, expected, "{name:?}");
    }
    for bad in [
        "",
        "42 (cat",
        "42 (cat) S 1 2",
        "42 (cat) S -1 2 3 0 -1 4 9 0 0 0 1 2 3 4 20 0 1 0 5",
        "42 (cat) S 1 2 4294967296 0 -1 4 9 0 0 0 1 2 3 4 20 0 1 0 5",
        "42 (cat) S 1 2 3 0 -1 4 9 0 0 0 1 2 3 4 20 0 1 0 x",
    ] {
        assert!(parse_stat(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn a_parent_and_a_session_of_another_pid_namespace_are_none_of_ours() {
    let stat = parse_stat(b"42 (cat) S 0 0 0 0 -1 4 9 0 0 0 1 2 3 4 20 0 1 0 5").unwrap();
    assert_eq!((stat.parent, stat.session), (None, None));
}

#[test]
fn a_process_knows_its_own_start_and_another_one_starts_later() {
    let own = start_time(getpid()).unwrap();
    assert_eq!(own, start_time(getpid()).unwrap());
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    assert!(start_time(pid).unwrap() >= own);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(start_time(pid).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn the_boot_has_a_name() {
    assert_eq!(boot_id().unwrap().len(), 36);
}

#[test]
fn only_open_descriptors_are_inherited_and_none_is_passed_on() {
    for closed in [-1, 999_999] {
        let error = inherited_fd(closed).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
    let passed = dup(std::io::stderr()).unwrap();
    assert!(!fcntl_getfd(&passed).unwrap().contains(FdFlags::CLOEXEC));
    let number = passed.as_raw_fd();
    std::mem::forget(passed);
    let owned = inherited_fd(number).unwrap();
    assert!(fcntl_getfd(&owned).unwrap().contains(FdFlags::CLOEXEC));
}

#[test]
fn no_descriptor_from_the_given_one_up_is_passed_on() {
    let no_descriptor_is = || {
        let low = fcntl_dupfd_cloexec(std::io::stderr(), 300).unwrap();
        let high = fcntl_dupfd_cloexec(std::io::stderr(), 400).unwrap();
        for fd in [&low, &high] {
            fcntl_setfd(fd, FdFlags::empty()).unwrap();
        }
        close_on_exec_from(high.as_raw_fd()).unwrap();
        assert!(!fcntl_getfd(&low).unwrap().contains(FdFlags::CLOEXEC));
        assert!(fcntl_getfd(&high).unwrap().contains(FdFlags::CLOEXEC));
    };
    no_descriptor_is();
    // Before Linux 5.9, and before 5.11, which does not know the flag.
    for errno in [libc::ENOSYS, libc::EINVAL, libc::EPERM] {
        without(&[libc::SYS_close_range], errno, no_descriptor_is);
    }
}
