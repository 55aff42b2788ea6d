//! Trees of every shape: when "stopped" is said, nothing of them lives, and nothing of their siblings was touched.
//!
//! The witness is the kernel's: every process of a tree inherits one open file that is locked, and the lock is free when
//! the last of them is gone, whoever it was and wherever it went.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::agent::{Agent, Daemon, until};

/// Opens and locks the witness of this instance, then becomes the shape. Perl, as it is on every Debian.
const PRELUDE: &str = r#"
use strict; use POSIX ();
my ($dir, $name) = @ARGV;
if ($name) { $^F = 255; open(our $w, ">>", "$dir/$name") or die; flock($w, 2) or die; }
sub tell_all { open(my $t, ">", "$dir/$name.up.tmp"); print $t "up"; close $t; rename "$dir/$name.up.tmp", "$dir/$name.up"; }
sub forever { sleep 1000 while 1 }
"#;

/// Name, and what the main process does once it holds the witness.
type Shape = (&'static str, &'static str);

const SHAPES: [Shape; 6] = [
    (
        "double_fork",
        r#"if (!fork) { POSIX::setsid(); if (!fork) { $SIG{TERM} = "IGNORE"; tell_all; forever } exit 0 } wait; forever"#,
    ),
    (
        "own_session_without_environment",
        r#"if (!fork) { POSIX::setsid(); $SIG{TERM} = "IGNORE";
           exec "/usr/bin/env", "-i", "/bin/sh", "-c", "echo > $dir/$name.up; sleep 1000; sleep 1000" } forever"#,
    ),
    (
        "ignores_the_signal",
        r#"$SIG{TERM} = "IGNORE"; if (!fork) { forever } tell_all; forever"#,
    ),
    (
        // Two chains of processes, each of which forks its successor and ends. They end by themselves: what is left
        // of a test that was cut off must not keep the machine busy.
        "fork_storm",
        r#"for (1 .. 2) { if (!fork) { $SIG{TERM} = "IGNORE"; $SIG{CHLD} = "IGNORE"; POSIX::setsid();
           while (time - $^T < 30) { exit 0 if fork; select(undef, undef, undef, 0.02) } exit 0 } } tell_all; forever"#,
    ),
    (
        "shell_wrapper",
        r#"if (system("/bin/sh", "-c", "echo > $dir/$name.up; sleep 1000; true")) { } forever"#,
    ),
    (
        // Leaves the foreground, as a program without its `--nodaemon` does. Its main process ends well.
        "daemonises",
        r#"exit 0 if fork; POSIX::setsid(); exit 0 if fork; $SIG{TERM} = "IGNORE"; tell_all; forever"#,
    ),
];

/// Stops of each shape, with cgroups and without: each look without them walks through all processes of the machine.
const ROUNDS: usize = 9;
const ROUNDS_WITHOUT: usize = 3;

/// One daemon of each shape, two instances each.
fn daemons(dir: &Path, shapes: &[Shape], user: Option<&str>) -> Vec<Daemon> {
    shapes
        .iter()
        .map(|(name, shape)| {
            let script = dir.join(format!("{name}.pl"));
            fs::write(&script, format!("{PRELUDE}{shape}\n")).unwrap();
            let run = format!(
                "exec perl {} {} {name}.${{SUPERVISOR_PROCESS_NAME#*_}}",
                script.display(),
                dir.display()
            );
            let daemon = Daemon::shell(&run)
                .with("processes", 2)
                .with("start_seconds", 0)
                .with("stop_seconds", 0);
            match user {
                Some(user) => daemon.with("user", user).with("directory", "/"),
                None => daemon,
            }
        })
        .collect()
}

/// Whether anything of the tree lives.
fn lives(witness: &Path) -> bool {
    // A tree that is only being born holds no lock yet: callers wait until it has said that it is up.
    let file = File::options().append(true).open(witness).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

fn stops_leave_nothing(
    agent: &Agent,
    dir: &Path,
    shapes: &[Shape],
    daemons: &[Daemon],
    rounds: usize,
) {
    let all = || shapes.iter().zip(daemons);
    for ((name, _), _) in all() {
        for index in ["00", "01"] {
            until(&format!("{name} {index} is up"), || {
                dir.join(format!("{name}.{index}.up"))
                    .exists()
                    .then_some(())
            });
        }
    }
    let mut stops = 0;
    for round in 0..rounds {
        for ((name, _), daemon) in all() {
            let (own, sibling) = (
                dir.join(format!("{name}.00")),
                dir.join(format!("{name}.01")),
            );
            let up = dir.join(format!("{name}.00.up"));
            // A daemonising one is started again and again: it may just be between two of its trees.
            until("it lives", || lives(&own).then_some(()));
            let before = agent.instance(daemon, 1).unwrap();
            let process = format!("{0}:{0}_00", daemon.group());
            let said = agent.say(&["stop", &process]);
            assert!(
                !lives(&own),
                "{name}, round {round}: something lives after {said:?}"
            );
            assert_eq!(
                agent.instance(daemon, 0).unwrap().state,
                "STOPPED",
                "{said}"
            );
            if *name != "daemonises" {
                assert!(lives(&sibling), "{name}: the sibling's tree");
                assert_eq!(agent.instance(daemon, 1).unwrap().pid, before.pid, "{name}");
            }
            stops += 1;
            fs::remove_file(&up).unwrap();
            agent.say(&["start", &process]);
            until(&format!("{name} is up again"), || up.exists().then_some(()));
        }
    }
    assert_eq!(stops, shapes.len() * rounds);
}

fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(dir.path(), open).unwrap();
    dir
}

/// Where the tests run as root on a host with cgroup v2, each run has a cgroup; else this is as the next test.
#[test]
fn nothing_lives_when_stopped_is_said() {
    let dir = open_dir();
    let daemons = daemons(dir.path(), &SHAPES, None);
    let agent = Agent::with(&daemons.iter().collect::<Vec<_>>());
    stops_leave_nothing(&agent, dir.path(), &SHAPES, &daemons, ROUNDS);
}

/// An agent without root has no cgroups anywhere.
#[test]
fn nothing_lives_when_stopped_is_said_without_cgroups() {
    if !nix::unistd::geteuid().is_root() {
        let skipped = b"\nSKIPPED nothing_lives_when_stopped_is_said_without_cgroups: needs root to run the agent as another user\n";
        let _ = std::io::Write::write_all(&mut std::io::stdout(), skipped);
        return;
    }
    let dir = open_dir();
    // Chains that run away are not promised to be met without a cgroup.
    let shapes: Vec<Shape> = (SHAPES.into_iter())
        .filter(|(name, _)| *name != "fork_storm")
        .collect();
    let daemons = daemons(dir.path(), &shapes, Some("nobody"));
    let agent = Agent::unprivileged(&daemons.iter().collect::<Vec<_>>(), 65534);
    assert!(agent.log().contains("no cgroups"), "{}", agent.log());
    stops_leave_nothing(&agent, dir.path(), &shapes, &daemons, ROUNDS_WITHOUT);
}

/// The witness itself: a process that inherited it and left everything else still holds it.
#[test]
fn the_witness_sees_a_process_that_left_everything() {
    let dir = open_dir();
    let script = dir.path().join("w.pl");
    let shape = r#"exit 0 if fork; POSIX::setsid(); close STDOUT; close STDERR; tell_all;
           select(undef, undef, undef, 0.01) until -e "$dir/go"; exit 0"#;
    fs::write(&script, format!("{PRELUDE}{shape}\n")).unwrap();
    let ended = std::process::Command::new("perl")
        .arg(&script)
        .args([dir.path().as_os_str(), "w".as_ref()])
        .status()
        .unwrap();
    assert!(ended.success());
    until("it is up", || {
        dir.path().join("w.up").exists().then_some(())
    });
    assert!(lives(&dir.path().join("w")));
    fs::write(dir.path().join("go"), "").unwrap();
    until("it ends", || (!lives(&dir.path().join("w"))).then_some(()));
}
