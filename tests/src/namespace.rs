//! Stories on a machine of their own: the same test function runs a second time, as root, inside private mount, PID,
//! IPC and host name namespaces, where `/etc`, `/home`, `/run`, `/tmp` and `/usr/local` are its own and paths are literal.
//! Owns how a story gets there and back. Must never change the machine itself: all it mounts or writes dies with the
//! namespace, and so does every process, whatever the test did.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xtask::up::processes::Process;

use crate::machine::Machine;

/// Set inside, to the mount namespace outside: what is mounted must never be mounted there.
const OUTSIDE: &str = "ZHYLON_STORY_OUTSIDE";
/// The directory cargo builds to, inside. Nobody keeps a repository under it, so nothing needed is covered.
const BUILD: &str = "/media/build";
/// The repository, inside; read-only.
const SOURCE: &str = "/media/source";
/// The longest a story may take. What is killed then says how far it came.
const LIMIT: Duration = Duration::from_secs(1200);
/// Where the kernel says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The first process of the namespace: waits for the test and reaps what others leave, as an init does.
const INIT: &str = r#""$@"; exit $?"#;
/// What a story must not share with the machine, whatever it may find there.
const OWN: &[&str] = &[
    "/usr/local",
    "/opt",
    "/srv",
    "/home",
    "/run",
    "/tmp",
    "/var/tmp",
    "/var/log",
    "/var/mail",
];

/// Runs `body` on a machine of its own. To be called by a plain `#[test]` function with a closure: it is by the
/// closure's name that the function finds itself again.
///
/// # Panics
/// When the story fails inside; its output is in the panic.
pub fn story<F: AsyncFnOnce(Machine)>(body: F) {
    let name = test_name::<F>();
    match std::env::var(OUTSIDE) {
        Ok(outside) => inside(&outside, body),
        Err(_) => outside(&name),
    }
}

/// The directory of `xtask`, with that of the programs in it, if we are inside a story.
#[must_use]
pub fn build_dir() -> Option<PathBuf> {
    std::env::var_os(OUTSIDE).map(|_| PathBuf::from(BUILD))
}

/// The repository as a story sees it.
#[must_use]
pub fn source() -> PathBuf {
    PathBuf::from(SOURCE)
}

/// What the test runner calls the function a closure stands in.
fn test_name<F>() -> String {
    let path = std::any::type_name::<F>();
    let path = path.trim_end_matches("::{{closure}}");
    path.split_once("::")
        .map_or(path, |(_, name)| name)
        .to_owned()
}

fn outside(name: &str) {
    if !crate::is_root(name) {
        return;
    }
    let build = crate::world::programs()
        .dir
        .parent()
        .expect("a target directory");
    let mut output = tempfile::tempfile().expect("a file for its output");
    let mut init = Command::new("/usr/bin/setpriv");
    // Should this test be killed, so is the namespace; should a terminal be there, no sudo finds it.
    init.args(["--pdeathsig", "KILL", "/usr/bin/setsid", "/usr/bin/unshare"])
        .args([
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["--propagation", "private", "/bin/sh", "-c", INIT, "init"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture"])
        .current_dir("/")
        .env(OUTSIDE, mount_namespace())
        .env("ZHYLON_STORY_BUILD", build)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("its output"))
        .stderr(output.try_clone().expect("its output"));
    let mut init = init.spawn().expect("start unshare");
    let end = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = init.try_wait().expect("wait") {
            break Some(status);
        }
        if Instant::now() > end {
            let _ = init.kill();
            let _ = init.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut text = String::new();
    output.rewind().expect("read its output");
    output.read_to_string(&mut text).expect("read its output");
    // Marked, so that nobody takes its result lines for those of the test run outside.
    let text: String = text.lines().map(|line| format!("| {line}\n")).collect();
    // A name that matches nothing would succeed, too.
    let passed = status.is_some_and(|status| status.success()) && text.contains("ok. 1 passed");
    assert!(
        passed,
        "{name}: {}\n{text}",
        match status {
            Some(status) => status.to_string(),
            None => format!("not done within {LIMIT:?}"),
        }
    );
    tell(&text);
}

/// Passes on what was said inside: skips past the test runner's capture, the rest into it.
#[expect(clippy::print_stdout, reason = "the test runner captures just this")]
fn tell(text: &str) {
    for line in text.lines() {
        if let Some((_, skipped)) = line.split_once("SKIPPED ") {
            let _ = writeln!(std::io::stdout().lock(), "\nSKIPPED {skipped}");
        } else {
            println!("{line}");
        }
    }
}

fn inside<F: AsyncFnOnce(Machine)>(outside: &str, body: F) {
    assert_ne!(
        mount_namespace(),
        outside,
        "this would mount on the machine itself"
    );
    assert_eq!(rustix::process::getppid(), Some(rustix::process::Pid::INIT));
    let build = std::env::var_os("ZHYLON_STORY_BUILD").expect("where the programs are");
    furnish(Path::new(&build));
    let machine = Machine::settle();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(body(machine));
}

/// The power goes: every process but init and this test is killed at once, `/run` is empty, and the kernel says that it
/// is another boot.
pub fn reboot() {
    let own = std::process::id();
    let others = || {
        let entries = std::fs::read_dir("/proc").expect("/proc");
        let numbers =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        numbers
            .filter(|pid| *pid != 1 && *pid != own)
            .filter_map(|pid| Process::find(pid.cast_signed()))
            .collect::<Vec<_>>()
    };
    crate::eventually("nothing lives", || {
        let living = others();
        for process in &living {
            process
                .signal(rustix::process::Signal::KILL)
                .expect("kill it");
        }
        living.is_empty().then_some(())
    });
    for entry in std::fs::read_dir("/run").expect("/run") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(&path).expect("remove it");
        } else {
            std::fs::remove_file(&path).expect("remove it");
        }
    }
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("another id");
    std::fs::write("/media/boot_id", uuid).expect("write it");
    run(Command::new("mount").args(["--bind", "/media/boot_id", BOOT_ID]));
}

fn mount_namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/mnt").expect("/proc");
    link.to_string_lossy().into_owned()
}

/// Mounts what is the story's own, over what the machine has there.
fn furnish(build: &Path) {
    tmpfs("/media");
    for (what, place) in [(build, BUILD), (&xtask::build::root(), SOURCE)] {
        std::fs::create_dir(place).expect("a place to mount on");
        run(Command::new("mount").arg("--bind").arg(what).arg(place));
    }
    run(Command::new("mount").args(["-o", "remount,bind,ro", SOURCE]));
    run(Command::new("cp").args(["-a", "/etc", "/media/etc"]));
    run(Command::new("mount").args(["--bind", "/media/etc", "/etc"]));
    for place in OWN {
        tmpfs(place);
    }
    for place in ["/tmp", "/var/tmp"] {
        run(Command::new("chmod").args(["1777", place]));
    }
    std::fs::create_dir("/usr/local/bin").expect("create /usr/local/bin");
}

fn tmpfs(place: &str) {
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=0755", "tmpfs", place]));
}

/// Runs what must succeed.
pub(crate) fn run(command: &mut Command) {
    // The story's own group, so that a signal to it reaches what it started.
    let output = command.process_group(0).output().expect("start it");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
