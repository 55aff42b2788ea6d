//! Every start that fails says at which step and why, and ends with 127.

use host_agent_sys::orders::{Orders, StartFailure, StartStep, to_sealed_memfd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use crate::harness::{install, open_dir, orders, run, run_memfd, strings};

fn fails(orders: &Orders, step: StartStep, errno: Errno) {
    let outcome = run(orders);
    assert_eq!(outcome.failure, Some((step, errno.raw_os_error())));
    assert_eq!(
        (outcome.exit_code, outcome.output.as_str()),
        (Some(127), "")
    );
}

#[test]
fn a_cgroup_to_join_that_is_not_there() {
    let mut orders = orders(&["true"]);
    orders.join_cgroup = true;
    fails(&orders, StartStep::Cgroup, Errno::BADF);
}

#[test]
fn no_such_program() {
    for name in ["/does/not/exist", "does-not-exist-anywhere", "./x"] {
        fails(&orders(&[name]), StartStep::Exec, Errno::NOENT);
    }
    fails(&orders(&["/etc/passwd/x"]), StartStep::Exec, Errno::NOTDIR);
    fails(&orders(&[""]), StartStep::Exec, Errno::NOENT);
}

#[test]
fn not_a_program() {
    fails(&orders(&["/etc/passwd"]), StartStep::Exec, Errno::ACCESS);
    fails(&orders(&["/etc"]), StartStep::Exec, Errno::ACCESS);

    let dir = open_dir();
    let (words, text) = (dir.path().join("words"), dir.path().join("text"));
    std::fs::write(&words, "just words\n").unwrap();
    install(&words, &text, "755");
    // No shell takes it over.
    fails(
        &orders(&[text.to_str().unwrap()]),
        StartStep::Exec,
        Errno::NOEXEC,
    );
}

#[test]
fn one_that_may_not_be_executed_is_remembered_over_those_that_are_not_there() {
    let dir = open_dir();
    std::fs::write(dir.path().join("tool"), "").unwrap();
    let mut orders = orders(&["tool"]);
    orders.env = strings(&[&format!("PATH={}:/nowhere", dir.path().display())]);
    fails(&orders, StartStep::Exec, Errno::ACCESS);
}

#[test]
fn no_such_directory() {
    let mut orders = orders(&["true"]);
    orders.directory = c"/does/not/exist".to_owned();
    fails(&orders, StartStep::Chdir, Errno::NOENT);
    orders.directory = c"/etc/passwd".to_owned();
    fails(&orders, StartStep::Chdir, Errno::NOTDIR);
}

#[test]
fn a_limit_above_what_the_kernel_allows_anyone() {
    let mut orders = orders(&["true"]);
    orders.nofile = Some((1024, u64::MAX));
    fails(&orders, StartStep::Nofile, Errno::PERM);
}

#[test]
fn orders_that_are_open_or_nonsense() {
    let invalid = Some((StartStep::Orders, Errno::INVAL.raw_os_error()));
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let open = memfd_create("open", flags).unwrap();
    rustix::io::write(&open, &orders(&["true"]).encode().unwrap()).unwrap();
    let outcome = run_memfd(&open);
    assert_eq!(outcome.failure, invalid);
    assert_eq!(
        std::fs::read_dir(outcome.records.path()).unwrap().count(),
        0
    );

    let file = tempfile::tempfile().unwrap();
    assert_eq!(run_memfd(&file.into()).failure, invalid);
    // Sealed, but the same memory read twice must not go to the end of the file first.
    let sealed = to_sealed_memfd(&orders(&["true"])).unwrap();
    assert_eq!(run_memfd(&sealed).failure, None);
    assert_eq!(run_memfd(&sealed).failure, None);
}

#[test]
fn failures_are_told_in_words() {
    let failure = StartFailure {
        step: StartStep::Chdir,
        errno: Errno::NOENT.raw_os_error(),
    };
    let words = "chdir: No such file or directory (os error 2)";
    assert_eq!(failure.to_string(), words);
}
