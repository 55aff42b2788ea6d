//! P16: N−1 → N → N−1, and no daemon's pid changes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::agent::{Agent, Daemon};
use super::{Programs, Tally, daemon, word};
use crate::random::Random;

/// Upgrades of one round: half of them are downgrades.
pub(super) const UPGRADES: u64 = 20;
/// Instances that run meanwhile.
const INSTANCES: usize = 50;

pub(super) fn round(programs: &Programs, _: &mut Random) -> Tally {
    let notes = tempfile::tempdir().expect("a temporary directory");
    let command = format!("{} sleeper {}", word(&programs.daemon), word(notes.path()));
    let sleepers = Daemon::new(&command).with("processes", INSTANCES);
    let versions = Versions::new(programs, notes.path());
    let mut agent = Agent::new(programs, std::slice::from_ref(&sleepers));
    versions.install(0);
    agent.set_program(&versions.place.join("host-agent"));
    agent.start();
    let (before, keeper) = (agent.pids(INSTANCES), agent.keeper());
    for upgrade in 1..=UPGRADES {
        versions.install(upgrade as usize % 2);
        let worker = agent.worker();
        let output = agent.run(&["upgrade"]);
        assert!(output.status.success(), "upgrade {upgrade}: {output:?}");
        assert_eq!(
            agent.keeper(),
            keeper,
            "the keeper's pid, upgrade {upgrade}"
        );
        assert_ne!(agent.worker(), worker, "another worker, upgrade {upgrade}");
        assert_eq!(agent.pids(INSTANCES), before, "pids, upgrade {upgrade}");
        assert!(versions.is_running(agent.keeper().pid), "upgrade {upgrade}");
    }
    daemon::assert_alone(notes.path());
    assert_eq!(
        daemon::notes(notes.path(), "starts").len(),
        INSTANCES,
        "starts"
    );
    Tally {
        trials: UPGRADES,
        lines: 0,
        runs: INSTANCES as u64,
    }
}

/// The two versions, and where one of them lies at a time, as a package manager puts it there.
struct Versions {
    /// Directories of programs: N−1, N.
    from: [PathBuf; 2],
    place: PathBuf,
}

impl Versions {
    fn new(programs: &Programs, dir: &Path) -> Self {
        let newer = programs.agent.parent().expect("its directory").to_owned();
        let older = programs.previous.clone().unwrap_or_else(|| newer.clone());
        let place = dir.join("bin");
        fs::create_dir(&place).expect("a place for programs");
        Self {
            from: [older, newer],
            place,
        }
    }

    fn install(&self, version: usize) {
        for name in ["host-agent", "zhylon-exec"] {
            let new = self.place.join(format!("{name}.new"));
            // A process of its own: a descriptor open for writing that a child of another thread inherits makes a file
            // no program.
            let mut copy = Command::new("cp");
            let copied = copy.arg(self.from[version].join(name)).arg(&new).status();
            assert!(copied.expect("start cp").success());
            fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("its mode");
            fs::rename(new, self.place.join(name)).expect("put it in place");
        }
    }

    /// Whether a process runs the program that lies there now.
    fn is_running(&self, pid: i32) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let running = fs::metadata(format!("/proc/{pid}/exe")).expect("its program");
        let placed = fs::metadata(self.place.join("host-agent")).expect("the program");
        (running.dev(), running.ino()) == (placed.dev(), placed.ino())
    }
}
