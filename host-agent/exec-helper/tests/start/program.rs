//! What the daemon's program finds when it begins.

use std::os::fd::AsRawFd;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

use crate::harness::{field, open_dir, orders, run, strings};

#[test]
fn it_has_its_arguments_directory_umask_and_environment_and_no_other() {
    let dir = open_dir();
    let mut orders = orders(&[
        "sh",
        "-c",
        "printf '[%s]' \"$@\"; pwd; umask",
        "sh",
        "a b",
        "",
        "*",
    ]);
    orders.directory = strings(&[dir.path().to_str().unwrap()]).remove(0);
    orders.umask = 0o027;
    let outcome = run(&orders);
    let expected = format!("[a b][][*]{}\n0027\n", dir.path().display());
    assert_eq!((outcome.failure, outcome.output), (None, expected));
    assert_eq!(outcome.exit_code, Some(0));

    orders.argv = strings(&["env"]);
    orders.env = strings(&["PATH=/usr/bin:/bin", "A=b=c", "EMPTY=", "UMLAUT=ä ö"]);
    assert_eq!(
        run(&orders).output,
        "PATH=/usr/bin:/bin\nA=b=c\nEMPTY=\nUMLAUT=ä ö\n"
    );
}

#[test]
fn its_record_is_there_before_it_and_names_exactly_it() {
    let outcome = run(&orders(&["cut", "-d ", "-f1,6,22", "/proc/self/stat"]));
    let fields: Vec<&str> = outcome.output.split_whitespace().collect();
    let [pid, session, start_time] = fields[..] else {
        panic!("{}", outcome.output);
    };
    assert_eq!(pid, outcome.pid.to_string());
    assert_eq!(session, pid, "a session of its own");
    let record = outcome.records.path().join(pid);
    let text = std::fs::read_to_string(&record).unwrap();
    let expected = format!("pid={pid}\nstart_time={start_time}\nversion=1\nfifo=x.0.1\n");
    assert_eq!(text, expected);
    assert_eq!(
        std::fs::read_dir(outcome.records.path()).unwrap().count(),
        1
    );

    // It comes before all else: a start that fails early leaves it too.
    let mut early = orders(&["true"]);
    early.nofile = Some((1, u64::MAX));
    let outcome = run(&early);
    assert!(outcome.failure.is_some());
    assert!(
        outcome
            .records
            .path()
            .join(outcome.pid.to_string())
            .exists()
    );
}

#[test]
fn it_gets_three_descriptors_and_no_input() {
    // What somebody forgot to mark in the agent must not get through.
    let leak = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 60).unwrap();
    fcntl_setfd(&leak, FdFlags::empty()).unwrap();
    let outcome = run(&orders(&[
        "sh",
        "-c",
        "cat; ls /proc/$$/fd; readlink /proc/$$/fd/0",
    ]));
    drop(leak);
    assert_eq!(outcome.output, "0\n1\n2\n/dev/null\n");
}

#[test]
fn the_test_above_would_see_a_leak() {
    let leak = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 61).unwrap();
    fcntl_setfd(&leak, FdFlags::empty()).unwrap();
    let seen = Command::new("sh")
        .args(["-c", "ls /proc/$$/fd"])
        .output()
        .unwrap();
    let seen = String::from_utf8(seen.stdout).unwrap();
    assert!(seen.lines().any(|fd| fd == leak.as_raw_fd().to_string()));
}

#[test]
fn no_signal_is_blocked_ignored_or_handled() {
    // The helper begins with all blocked, and the Rust runtime ignores SIGPIPE.
    let outcome = run(&orders(&["cat", "/proc/self/status"]));
    for name in ["SigBlk", "SigIgn", "SigCgt", "SigPnd"] {
        assert_eq!(field(&outcome.output, name), ["0000000000000000"], "{name}");
    }
}

#[test]
fn its_limit_of_open_files_is_as_ordered() {
    let mut orders = orders(&["sh", "-c", "ulimit -Sn; ulimit -Hn"]);
    orders.nofile = Some((97, 101));
    assert_eq!(run(&orders).output, "97\n101\n");
}

#[test]
fn it_is_looked_for_in_its_own_path() {
    let (first, second) = (open_dir(), open_dir());
    let name = "only-here-for-this-test";
    std::os::unix::fs::symlink("/bin/echo", second.path().join(name)).unwrap();
    let (first, second) = (first.path().display(), second.path().display());
    let mut orders = orders(&[name, "found"]);
    orders.env = strings(&[&format!("PATH=/nowhere:{first}:/etc/passwd:{second}")]);
    assert_eq!(run(&orders).output, "found\n");
    // An empty part of PATH is the daemon's directory.
    orders.env = strings(&["PATH=/nowhere::"]);
    orders.directory = strings(&[&second.to_string()]).remove(0);
    assert_eq!(run(&orders).output, "found\n");
}

#[test]
fn by_hand_the_helper_tells_its_version_and_does_nothing_else() {
    let helper = env!("CARGO_BIN_EXE_zhylon-exec");
    let version = Command::new(helper).arg("--version").output().unwrap();
    let expected = format!("zhylon-exec {} orders 2\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), expected);
    let bare = Command::new(helper).output().unwrap();
    assert_eq!(bare.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bare.stderr).contains("host-agent"));
}
