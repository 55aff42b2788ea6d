//! Root's program becomes the user's: exactly its ids, nothing of root's.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use host_agent_sys::orders::StartStep;
use rustix::io::Errno;

use crate::harness::{NOBODY, field, install, open_dir, orders, run, skipped, strings};

#[test]
fn ids_groups_and_capabilities_are_the_users_alone() {
    if skipped("ids_groups_and_capabilities_are_the_users_alone") {
        return;
    }
    let mut orders = orders(&["cat", "/proc/self/status"]);
    (orders.uid, orders.gid) = (NOBODY, 4242);
    for groups in [vec![], vec![7, 100, 77_777], vec![4242]] {
        orders.groups = groups.clone();
        let status = run(&orders).output;
        assert_eq!(field(&status, "Uid"), ["65534"; 4]);
        assert_eq!(field(&status, "Gid"), ["4242"; 4]);
        let real: Vec<u32> = field(&status, "Groups")
            .iter()
            .map(|g| g.parse().unwrap())
            .collect();
        assert_eq!(real, groups);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(&status, set), ["0000000000000000"], "{set}");
        }
    }
}

#[test]
fn a_root_daemon_stays_root() {
    if skipped("a_root_daemon_stays_root") {
        return;
    }
    let mut orders = orders(&["cat", "/proc/self/status"]);
    (orders.uid, orders.gid, orders.groups) = (0, 0, vec![]);
    let status = run(&orders).output;
    assert_eq!(field(&status, "Uid"), ["0"; 4]);
    assert_ne!(field(&status, "CapEff"), ["0000000000000000"]);
    assert_eq!(field(&status, "CapInh"), ["0000000000000000"]);
}

#[test]
fn an_environment_that_commands_the_loader_does_so_only_as_the_user() {
    if skipped("an_environment_that_commands_the_loader_does_so_only_as_the_user") {
        return;
    }
    let dir = open_dir();
    let trace = dir.path().join("trace");
    let mut orders = orders(&["/bin/true"]);
    (orders.uid, orders.gid, orders.groups) = (NOBODY, NOBODY, vec![]);
    orders.env = strings(&[
        "LD_DEBUG=files",
        &format!("LD_DEBUG_OUTPUT={}", trace.display()),
    ]);
    let outcome = run(&orders);
    let made = trace.with_extension(outcome.pid.to_string());
    let owners: Vec<u32> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().uid())
        .collect();
    if !made.exists() {
        let name = "an_environment_that_commands_the_loader_does_so_only_as_the_user";
        let _ = std::io::Write::write_all(
            &mut std::io::stdout(),
            format!("\nSKIPPED {name}: this C library does not trace its loader\n").as_bytes(),
        );
        return;
    }
    assert_eq!(owners, [NOBODY]);
}

/// Writes the uid it runs with into the file `WITNESS` names, in every process it is loaded into.
const PRELOADED: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void witness(void) {
    FILE *file = fopen(getenv("WITNESS"), "a");
    if (file) { fprintf(file, "%d %d\n", (int)getuid(), (int)geteuid()); fclose(file); }
}
"#;

#[test]
fn a_preloaded_library_never_runs_as_root() {
    let name = "a_preloaded_library_never_runs_as_root";
    if skipped(name) {
        return;
    }
    let dir = open_dir();
    let (source, library) = (dir.path().join("w.c"), dir.path().join("w.so"));
    std::fs::write(&source, PRELOADED).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return crate::harness::skip(name, "no C compiler");
    }
    let witness = dir.path().join("witness");
    let mut orders = orders(&["sh", "-c", "cat /dev/null; echo $GLIBC_TUNABLES"]);
    orders.env = strings(&[
        "PATH=/usr/bin:/bin",
        "GLIBC_TUNABLES=glibc.malloc.check=3",
        &format!("LD_PRELOAD={}", library.display()),
        &format!("WITNESS={}", witness.display()),
    ]);
    // The test itself: as a root daemon's it does run as root, in both programs.
    (orders.uid, orders.gid, orders.groups) = (0, 0, vec![]);
    assert_eq!(run(&orders).failure, None);
    assert_eq!(std::fs::read_to_string(&witness).unwrap(), "0 0\n0 0\n");
    std::fs::remove_file(&witness).unwrap();

    (orders.uid, orders.gid, orders.groups) = (NOBODY, NOBODY, vec![]);
    assert_eq!(run(&orders).output, "glibc.malloc.check=3\n");
    let told = std::fs::read_to_string(&witness).unwrap();
    assert_eq!(told, "65534 65534\n65534 65534\n");
    assert_eq!(witness.metadata().unwrap().uid(), NOBODY);
}

#[test]
fn the_directory_is_entered_with_the_users_rights() {
    if skipped("the_directory_is_entered_with_the_users_rights") {
        return;
    }
    let private = tempfile::tempdir().unwrap();
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(private.path(), mode).unwrap();
    let mut orders = orders(&["true"]);
    orders.directory = strings(&[private.path().to_str().unwrap()]).remove(0);
    assert_eq!(run(&orders).failure, None);
    (orders.uid, orders.gid, orders.groups) = (NOBODY, NOBODY, vec![]);
    let denied = (StartStep::Chdir, Errno::ACCESS.raw_os_error());
    assert_eq!(run(&orders).failure, Some(denied));
}

#[test]
fn a_program_only_root_may_run_is_refused_to_the_user() {
    if skipped("a_program_only_root_may_run_is_refused_to_the_user") {
        return;
    }
    let dir = open_dir();
    let program = dir.path().join("mine");
    install(Path::new("/bin/true"), &program, "700");
    let mut orders = orders(&[program.to_str().unwrap()]);
    assert_eq!(run(&orders).failure, None);
    (orders.uid, orders.gid, orders.groups) = (NOBODY, NOBODY, vec![]);
    let denied = (StartStep::Exec, Errno::ACCESS.raw_os_error());
    assert_eq!(run(&orders).failure, Some(denied));
}
