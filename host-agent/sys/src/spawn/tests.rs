use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;
use crate::older_kernel::without;

mod seats;

fn open(path: impl AsRef<Path>) -> OwnedFd {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::open(path.as_ref(), flags, Mode::empty()).unwrap()
}

fn pipe() -> (File, File) {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (read.into(), write.into())
}

fn wait(child: &Child) -> i32 {
    let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
    let status = status.unwrap().unwrap();
    status.exit_status().unwrap_or(-1)
}

/// Runs a script in a shell that was spawned with the script as its standard input; returns what it wrote.
fn run(script: &str, more: &[(BorrowedFd<'_>, RawFd)], cgroup: Option<BorrowedFd<'_>>) -> String {
    run_by(spawn, script, more, cgroup)
}

/// As [`run`], started by `start`.
fn run_by(
    start: impl FnOnce(&Spawn<'_>) -> io::Result<Child>,
    script: &str,
    more: &[(BorrowedFd<'_>, RawFd)],
    cgroup: Option<BorrowedFd<'_>>,
) -> String {
    let (input, mut to_input) = pipe();
    let (mut from_output, output) = pipe();
    to_input.write_all(script.as_bytes()).unwrap();
    drop(to_input);
    let mut fds = vec![(input.as_fd(), 0), (output.as_fd(), 1)];
    fds.extend(more);
    let child = start(&Spawn {
        exe: open("/bin/sh").as_fd(),
        argv0: c"the-name",
        cgroup,
        fds: &fds,
    });
    let child = child.unwrap();
    drop(output);
    let mut text = String::new();
    from_output.read_to_string(&mut text).unwrap();
    wait(&child);
    text
}

#[test]
fn a_program_begins_with_its_name_and_nothing_else() {
    let said = run(
        "tr '\\0' '\\n' < /proc/$$/cmdline; wc -c < /proc/$$/environ",
        &[],
        None,
    );
    assert_eq!(said, "the-name\n0\n");
}

#[test]
fn descriptors_reach_their_numbers_even_when_numbers_cross() {
    let (mut a, mut b) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    a.write_all(b"A").unwrap();
    b.write_all(b"B").unwrap();
    let crossed = [(a.as_fd(), b.as_raw_fd()), (b.as_fd(), a.as_raw_fd())];
    let (to_a, to_b) = (crossed[0].1, crossed[1].1);
    let said = run(
        &format!("cat /proc/$$/fd/{to_a} /proc/$$/fd/{to_b}"),
        &crossed,
        None,
    );
    assert_eq!(said, "AB");
    // A source that already has its number must lose close-on-exec all the same.
    let same = [(a.as_fd(), a.as_raw_fd())];
    assert_eq!(run(&format!("cat /proc/$$/fd/{to_b}"), &same, None), "A");
}

#[test]
fn the_descriptor_of_the_program_may_lie_where_another_one_goes() {
    let exe = open("/bin/true");
    let (_read, write) = pipe();
    let child = spawn(&Spawn {
        exe: exe.as_fd(),
        argv0: c"true",
        cgroup: None,
        fds: &[(write.as_fd(), exe.as_raw_fd())],
    });
    assert_eq!(wait(&child.unwrap()), 0);
}

#[test]
fn what_can_not_be_executed_is_an_error_and_leaves_no_child() {
    let text = tempfile::NamedTempFile::new().unwrap();
    let exe = open(text.path());
    let order = Spawn {
        exe: exe.as_fd(),
        argv0: c"text",
        cgroup: None,
        fds: &[],
    };
    let errno = spawn(&order).unwrap_err().raw_os_error();
    assert_eq!(errno, Some(libc::EACCES));
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children, "");
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    let null = open("/dev/null");
    let fd = null.as_fd();
    let many: Vec<_> = (0..=MAX_FDS as RawFd).map(|n| (fd, n)).collect();
    for fds in [
        &[(fd, -1)][..],
        &[(fd, MAX_TARGET + 1)],
        &[(fd, 3), (fd, 3)],
        &many,
    ] {
        let order = Spawn {
            exe: fd,
            argv0: c"x",
            cgroup: None,
            fds,
        };
        let errno = spawn(&order).unwrap_err().raw_os_error();
        assert_eq!(errno, Some(libc::EINVAL));
    }
}

#[test]
fn the_caller_keeps_its_signal_mask_and_the_child_begins_with_all_blocked() {
    let mask = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("SigBlk"));
        line.unwrap().to_owned()
    };
    crate::signals::block(&[rustix::process::Signal::USR2]).unwrap();
    let before = mask();
    // Not by a shell: shells unblock all.
    let (mut from_output, output) = pipe();
    let child = spawn_worker(&SpawnWorker {
        exe: open("/bin/cat").as_fd(),
        argv: &[c"cat".to_owned(), c"/proc/self/status".to_owned()],
        env: &[],
        fds: &[(output.as_fd(), 1)],
    });
    drop(output);
    let mut said = String::new();
    from_output.read_to_string(&mut said).unwrap();
    wait(&child.unwrap());
    assert_eq!(mask(), before);
    // All but SIGKILL and SIGSTOP.
    assert!(said.contains("SigBlk:\tfffffffffffbfeff"), "{said}");
}

#[test]
fn the_worker_gets_its_words_and_its_environment() {
    let (mut from_output, output) = pipe();
    let argv = [c"sh", c"-c", c"echo $0 $1 $COLOUR; exit 7", c"a", c"b"].map(CStr::to_owned);
    let child = spawn_worker(&SpawnWorker {
        exe: open("/bin/sh").as_fd(),
        argv: &argv,
        env: &[c"COLOUR=green".to_owned()],
        fds: &[(output.as_fd(), 1)],
    });
    let child = child.unwrap();
    drop(output);
    let mut text = String::new();
    from_output.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), wait(&child)), ("a b green\n", 7));
}

#[test]
fn many_threads_may_spawn_at_once() {
    const EACH: usize = 100;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let exe = open("/bin/true");
                for _ in 0..EACH {
                    let child = spawn(&Spawn {
                        exe: exe.as_fd(),
                        argv0: c"true",
                        cgroup: None,
                        fds: &[],
                    });
                    assert_eq!(wait(&child.unwrap()), 0);
                }
            });
        }
    });
}

/// What a kernel that knows no clone3, or not these flags of it, or a filter that forbids it answers.
const UNKNOWN: [i32; 4] = [libc::ENOSYS, libc::EINVAL, libc::E2BIG, libc::EPERM];

#[test]
fn where_clone3_is_not_to_be_had_clone_does_the_same() {
    for errno in UNKNOWN {
        without(&[libc::SYS_clone3], errno, || {
            let said = run(
                "tr '\\0' '\\n' < /proc/$$/cmdline; wc -c < /proc/$$/environ",
                &[],
                None,
            );
            assert_eq!(said, "the-name\n0\n", "errno {errno}");
            let text = tempfile::NamedTempFile::new().unwrap();
            let error = spawn(&Spawn {
                exe: open(text.path()).as_fd(),
                argv0: c"text",
                cgroup: None,
                fds: &[],
            })
            .unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EACCES), "errno {errno}");
        });
    }
}

#[test]
fn a_pidfd_of_clone_is_of_the_child() {
    let child = without(&[libc::SYS_clone3], libc::ENOSYS, || {
        spawn(&Spawn {
            exe: open("/bin/cat").as_fd(),
            argv0: c"cat",
            cgroup: None,
            fds: &[(pipe().0.as_fd(), 0)],
        })
        .unwrap()
    });
    let info = format!("/proc/self/fdinfo/{}", child.pidfd.as_raw_fd());
    let info = std::fs::read_to_string(info).unwrap();
    let pid = format!("Pid:\t{}\n", child.pid.as_raw_nonzero());
    assert!(info.contains(&pid), "{info}");
    assert_eq!(wait(&child), 0);
}

#[test]
fn another_error_of_clone3_is_told_and_not_worked_around() {
    let error = without(&[libc::SYS_clone3], libc::EAGAIN, || {
        spawn(&Spawn {
            exe: open("/bin/true").as_fd(),
            argv0: c"true",
            cgroup: None,
            fds: &[],
        })
        .unwrap_err()
    });
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
}

#[test]
fn whether_a_child_can_be_born_in_a_cgroup_is_found_out_by_the_call_itself() {
    assert!(
        can_spawn_into_cgroup().unwrap(),
        "the tests run on Linux 5.7 or later"
    );
    for errno in UNKNOWN {
        let can = without(&[libc::SYS_clone3], errno, || {
            can_spawn_into_cgroup().unwrap()
        });
        assert!(!can, "errno {errno}");
    }
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children, "");
}

/// The directory of this process's own cgroup v2, also where v1 lies beside it.
fn own_cgroup() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(mount.split(' ').nth(4)?).join(own))
}

#[test]
fn a_child_is_born_in_its_cgroup() {
    let name = format!("zhylon-spawn-test-{}", std::process::id());
    let made = own_cgroup().map(|own| own.join(name));
    let Some(leaf) = made.filter(|leaf| std::fs::create_dir(leaf).is_ok()) else {
        let _ = std::io::Write::write_all(
            &mut std::io::stdout(),
            b"\nSKIPPED a_child_is_born_in_its_cgroup: needs a cgroup v2 that may be written\n",
        );
        return;
    };
    let dir = open(&leaf);
    let said = run("grep ^0:: /proc/$$/cgroup", &[], Some(dir.as_fd()));
    std::fs::remove_dir(&leaf).unwrap();
    assert!(
        said.trim_end()
            .ends_with(leaf.file_name().unwrap().to_str().unwrap()),
        "{said}"
    );
}
