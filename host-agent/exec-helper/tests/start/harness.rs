//! Starts the helper with orders and collects all it says.

use std::ffi::CString;
use std::fs::{File, Permissions, set_permissions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use host_agent_sys::orders::{
    HELPER_NAME, ORDERS_FD, Orders, RECORDS_FD, STATUS_FD, StartFailure, StartStep, to_sealed_memfd,
};
use host_agent_sys::spawn::{Child, Spawn, spawn};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, getegid, geteuid, getgroups, waitid};
use tempfile::TempDir;

/// The kernel's overflow user: has no rights anywhere.
pub(crate) const NOBODY: u32 = 65_534;

/// What came of one start.
pub(crate) struct Outcome {
    pub(crate) pid: i32,
    pub(crate) failure: Option<(StartStep, i32)>,
    pub(crate) output: String,
    pub(crate) exit_code: Option<i32>,
    pub(crate) records: TempDir,
}

/// Orders to run these arguments as whoever runs the test.
pub(crate) fn orders(argv: &[&str]) -> Orders {
    let groups = getgroups().unwrap();
    Orders {
        record: "version=1\nfifo=x.0.1\n".to_owned(),
        join_cgroup: false,
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
        groups: groups.iter().map(|group| group.as_raw()).collect(),
        umask: 0o022,
        nofile: None,
        directory: c"/".to_owned(),
        argv: strings(argv),
        env: strings(&["PATH=/usr/bin:/bin"]),
    }
}

pub(crate) fn strings(words: &[&str]) -> Vec<CString> {
    words.iter().map(|w| CString::new(*w).unwrap()).collect()
}

/// A directory that every user may enter.
pub(crate) fn open_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    dir
}

/// Puts a program somewhere, by a process of its own: a descriptor open for writing that some other test's child inherits
/// makes a file no program.
pub(crate) fn install(from: &Path, to: &Path, mode: &str) {
    let mut install = Command::new("install");
    let installed = install.args(["-m", mode]).args([from, to]).status();
    assert!(installed.unwrap().success());
}

/// Says so and returns true when this does not run as root.
pub(crate) fn skipped(name: &str) -> bool {
    let needed = !geteuid().is_root();
    if needed {
        skip(name, "needs root");
    }
    needed
}

/// Says past the capture that a test is skipped, and why.
pub(crate) fn skip(name: &str, why: &str) {
    let line = format!("\nSKIPPED {name}: {why}\n");
    let _ = std::io::stdout().write_all(line.as_bytes());
}

pub(crate) fn run(orders: &Orders) -> Outcome {
    run_memfd(&to_sealed_memfd(orders).unwrap())
}

pub(crate) fn run_memfd(orders: &OwnedFd) -> Outcome {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let path = env!("CARGO_BIN_EXE_zhylon-exec");
    let exe = rustix::fs::open(path, flags, Mode::empty()).unwrap();
    let records = tempfile::tempdir().unwrap();
    let records_dir = File::open(records.path()).unwrap();
    // The agent's own input must not become the daemon's.
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(b"the agent's").unwrap();
    input.rewind().unwrap();
    let (mut from_program, output) = pipe();
    let (mut from_helper, status) = pipe();
    let child = spawn(&Spawn {
        exe: exe.as_fd(),
        argv0: HELPER_NAME,
        cgroup: None,
        fds: &[
            (input.as_fd(), 0),
            (output.as_fd(), 1),
            (output.as_fd(), 2),
            (orders.as_fd(), ORDERS_FD),
            (status.as_fd(), STATUS_FD),
            (records_dir.as_fd(), RECORDS_FD),
        ],
    });
    let child = child.unwrap();
    drop((output, status));
    let mut said = Vec::new();
    from_helper.read_to_end(&mut said).unwrap();
    let failure = StartFailure::decode(&said).map(|f| (f.step, f.errno));
    assert_eq!(failure.is_none(), said.is_empty(), "{said:?}");
    let mut output = String::new();
    from_program.read_to_string(&mut output).unwrap();
    Outcome {
        pid: child.pid.as_raw_nonzero().get(),
        failure,
        output,
        exit_code: exit_code(&child),
        records,
    }
}

/// The value of a line `Name:\tvalue` of `/proc/PID/status`.
pub(crate) fn field<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let line = lines.find(|(key, _)| *key == name);
    line.unwrap_or_else(|| panic!("no {name} in {status}"))
        .1
        .split_whitespace()
        .collect()
}

fn pipe() -> (File, File) {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    (read.into(), write.into())
}

fn exit_code(child: &Child) -> Option<i32> {
    let end = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
    end.unwrap().unwrap().exit_status()
}
