//! The same life on an older kernel: everything of ours, and every daemon, runs behind a seccomp filter that answers as
//! Linux 5.4 (Ubuntu 20.04) does to calls it does not know. All of them at once, then each one alone.

use std::path::Path;

use rustix::process::Signal;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use zhylon_proto::daemons::v1::InstanceState;
use zhylon_tests::daemons::{Watched, draft_of};
use zhylon_tests::machine::{Machine, Said};
use zhylon_tests::namespace::story;
use zhylon_tests::world::programs;
use zhylon_tests::{World, eventually};

/// `clone3` is in Linux 5.4, but knows neither CLONE_INTO_CGROUP (5.7) nor CLONE_CLEAR_SIGHAND (5.5). A filter can not see
/// its flags, so here it is not there at all, as in older containers.
const CLONE3: i64 = 435;
const CLOSE_RANGE: i64 = 436;
const OPENAT2: i64 = 437;
/// Numbers from here on came later, on every architecture alike; the last one of today.
const LATER: std::ops::RangeInclusive<i64> = CLOSE_RANGE..=470;
#[cfg(target_arch = "x86_64")]
const MEMFD_CREATE: i64 = 319;
#[cfg(target_arch = "x86_64")]
const GETSOCKOPT: i64 = 55;
#[cfg(target_arch = "aarch64")]
const MEMFD_CREATE: i64 = 279;
#[cfg(target_arch = "aarch64")]
const GETSOCKOPT: i64 = 209;
/// `MFD_NOEXEC_SEAL`: Linux 6.3.
const NOEXEC_SEAL: u64 = 8;
/// `SO_PEERPIDFD`: Linux 6.5.
const PEERPIDFD: u64 = 77;

/// Something that a kernel does not know.
#[derive(Debug, Clone, Copy)]
enum Unknown {
    /// A call.
    Call(i64),
    /// A flag of `memfd_create`.
    NoexecSeal,
    /// A socket option.
    PeerPidfd,
}

impl Unknown {
    fn filter(self) -> BpfProgram {
        let condition = |argument, operator, value| {
            let is_it = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
            vec![SeccompRule::new(vec![is_it.expect("a condition")]).expect("a rule")]
        };
        // ENOSYS, EINVAL, ENOPROTOOPT: what Linux says of each.
        let (call, rules, errno) = match self {
            Self::Call(call) => (call, Vec::new(), 38),
            Self::NoexecSeal => {
                let has_it = SeccompCmpOp::MaskedEq(NOEXEC_SEAL);
                (MEMFD_CREATE, condition(1, has_it, NOEXEC_SEAL), 22)
            }
            Self::PeerPidfd => (GETSOCKOPT, condition(2, SeccompCmpOp::Eq, PEERPIDFD), 92),
        };
        let arch = std::env::consts::ARCH
            .try_into()
            .expect("x86_64 or aarch64");
        SeccompFilter::new(
            [(call, rules)].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(errno),
            arch,
        )
        .and_then(BpfProgram::try_from)
        .expect("a filter")
    }
}

/// What Linux 5.4 does not know of what came since.
fn linux_5_4() -> Vec<Unknown> {
    let later = std::iter::once(CLONE3).chain(LATER).map(Unknown::Call);
    later
        .chain([Unknown::NoexecSeal, Unknown::PeerPidfd])
        .collect()
}

/// Runs `body` on a thread to which none of these is known, nor to what it starts.
fn without<T: Send>(unknown: &[Unknown], body: impl FnOnce() -> T + Send) -> T {
    let filters: Vec<BpfProgram> = unknown.iter().map(|unknown| unknown.filter()).collect();
    let limited = || {
        for filter in &filters {
            apply_filter(filter).expect("the filter");
        }
        body()
    };
    std::thread::scope(|scope| {
        scope
            .spawn(limited)
            .join()
            .expect("the older kernel's life")
    })
}

/// How many filters a process is under.
fn filters(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp_filters:"));
    line.expect("Linux 5.9 or later")
        .trim()
        .parse()
        .expect("a number")
}

fn has_cgroups() -> bool {
    std::fs::read_to_string("/proc/self/mountinfo")
        .expect("/proc")
        .contains(" - cgroup2 ")
}

/// A wrapper whose children are in sessions of their own and ignore TERM: only a cgroup, or the mark, finds them.
const TREE: &str = r#"/bin/bash -c 'for i in 1 2 3; do setsid /bin/sh -c "trap : TERM; while :; do sleep 0.1; done" & done; echo tree of $USER; wait'"#;

#[test]
fn on_linux_5_4_daemons_live_as_on_any() {
    story(async |machine: Machine| {
        let unknown = linux_5_4();
        let world = without(&unknown, || World::installed(&machine));
        for name in ["ZHYLON_KEEPER_PID", "ZHYLON_WORKER_PID"] {
            let pid = world.env(name).parse().expect("a pid");
            assert_eq!(filters(pid), unknown.len(), "{name}");
        }
        let said = without(&unknown, || {
            let mut doctor = world.command(programs().path("host-agent"));
            let config = world.dir().join("host-agent.toml");
            Said::from(
                doctor
                    .arg("doctor")
                    .arg("--config")
                    .arg(config)
                    .output()
                    .expect("start it"),
            )
        });
        for call in ["clone3", "openat2"] {
            let told = said.out.lines().any(|line| {
                line.starts_with("warn kernel ") && line.contains(&format!(" has no {call}"))
            });
            assert!(told, "{call}: {said:?}");
        }
        // A planted link where the log directory goes: nothing is written behind it.
        std::os::unix::fs::symlink("/root", machine.home("site2").join(".zhylon")).expect("plant");
        let root_before = names("/root");

        let mut tree = draft_of("site1", TREE);
        tree.stop_seconds = Some(1);
        let tree = world.create(tree).await.id;
        let planted = world
            .create(draft_of(
                "site2",
                "/bin/sh -c 'echo secret; exec sleep 1000'",
            ))
            .await
            .id;
        let before = Watched::new(&world, &tree).await;
        let others = Watched::new(&world, &planted).await;
        world.log_until(&tree, "tree of site1").await;
        let main = world.running(&tree).await[0];
        assert_eq!(filters(main), unknown.len());
        if has_cgroups() {
            let own = std::fs::read_to_string(format!("/proc/{main}/cgroup")).expect("it lives");
            let bare = tree.trim_start_matches("h:");
            assert!(own.contains(&format!("/d-{bare}/0.")), "it joined: {own}");
        }

        // A worker's death, and the next one's adoption.
        let worker = eventually("a worker", || world.process("ZHYLON_WORKER_PID"));
        worker.signal(Signal::KILL).expect("kill it");
        world.comes_back("ZHYLON_WORKER_PID", worker);
        assert_eq!(world.running(&tree).await, [main]);
        others.untouched();
        is_seen(&machine);

        // The local door: the peer is known without SO_PEERPIDFD, and moves its own only.
        let said = without(&unknown, || {
            machine.shell("site1", &format!("supervisorctl restart daemon-{tree}:*"))
        });
        assert_eq!(said.code, 0, "{said:?}\n{}", world.log());
        let now = before.restarted(&world).await;
        nothing_left_of_trees(3);
        let said = machine.shell("site1", &format!("supervisorctl stop daemon-{planted}:*"));
        assert_ne!(said.code, 0, "{said:?}");

        // Killed from outside: it is back.
        for pid in world.running(&tree).await {
            let process = xtask::up::processes::Process::find(pid).expect("it lives");
            process.signal(Signal::KILL).expect("kill it");
            eventually("it is gone", || (!process.lives()).then_some(()));
        }
        let now = now.restarted(&world).await;
        others.untouched();
        let stopped = world.ctl(&["daemon", "stop", &tree, "--wait"]);
        assert!(stopped.status.success(), "{stopped:?}");
        now.gone();
        nothing_left_of_trees(0);
        assert_eq!(names("/root"), root_before, "nothing went through the link");
        let log = world.log();
        assert!(log.contains("/home/site2/.zhylon"), "it is told: {log}");
    });
}

#[test]
fn without_any_one_newer_call_daemons_live_as_on_any() {
    story(async |machine: Machine| {
        for unknown in [
            Unknown::Call(CLONE3),
            Unknown::Call(CLOSE_RANGE),
            Unknown::Call(OPENAT2),
            Unknown::NoexecSeal,
            Unknown::PeerPidfd,
        ] {
            let world = without(&[unknown], || World::installed(&machine));
            let id = world
                .create(draft_of("site1", "/bin/sh -c 'echo here; exec sleep 1000'"))
                .await
                .id;
            let before = Watched::new(&world, &id).await;
            world.log_until(&id, "here").await;
            let main = world.running(&id).await[0];
            assert_eq!(filters(main), 1, "{unknown:?}");
            let worker = eventually("a worker", || world.process("ZHYLON_WORKER_PID"));
            worker.signal(Signal::KILL).expect("kill it");
            world.comes_back("ZHYLON_WORKER_PID", worker);
            is_seen(&machine);
            let said = machine.shell("site1", &format!("supervisorctl restart daemon-{id}:*"));
            assert_eq!(said.code, 0, "{unknown:?}: {said:?}\n{}", world.log());
            before.restarted(&world).await;
            let said = machine.shell("site1", &format!("supervisorctl stop daemon-{id}:*"));
            assert_eq!(said.code, 0, "{unknown:?}: {said:?}");
            world
                .status(&id, "stopped", |s| s.state() == InstanceState::Stopped)
                .await;
        }
    });
}

/// A new worker knows whose the daemons are once it has looked their users up; until then nobody but root sees them.
fn is_seen(machine: &Machine) {
    eventually("site1 sees its daemon", || {
        let said = machine.shell("site1", "supervisorctl status");
        said.out.contains(" RUNNING ").then_some(())
    });
}

/// Names of all that lies in a directory.
fn names(dir: impl AsRef<Path>) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    names
}

/// As many children of [`TREE`] live as given, in this story's PID namespace.
fn nothing_left_of_trees(living: usize) {
    let count = || {
        let entries = std::fs::read_dir("/proc").expect("/proc");
        entries
            .flatten()
            .filter(|entry| {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                line.starts_with(b"/bin/sh\0-c\0trap : TERM")
            })
            .count()
    };
    eventually(&format!("{living} children of trees"), || {
        (count() == living).then_some(())
    });
}
