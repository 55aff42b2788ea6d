use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use zhylon_shared::spec::{DaemonSpec, SpecDraft};

use super::*;

fn limits(memory_max: Option<i64>, cpu_max: Option<i64>) -> Limits {
    let mut draft = SpecDraft {
        command: "true".to_owned(),
        ..SpecDraft::default()
    };
    (draft.limits.memory_max, draft.limits.cpu_max) = (memory_max, cpu_max);
    DaemonSpec::check(draft).unwrap().limits()
}

/// Plain files where the kernel would have its own.
fn host(controllers: &str) -> (tempfile::TempDir, Cgroups) {
    let own = tempfile::tempdir().unwrap();
    let base = own.path().join("zhylon-agent.0");
    fs::create_dir(&base).unwrap();
    fs::write(own.path().join("cgroup.controllers"), controllers).unwrap();
    for directory in [own.path(), &base] {
        fs::write(directory.join("cgroup.subtree_control"), "").unwrap();
    }
    let cgroups = Cgroups::at(base);
    (own, cgroups)
}

#[test]
fn a_controller_is_handed_down_to_our_directory_and_by_it() {
    let (own, cgroups) = host("cpuset cpu io memory pids\n");
    cgroups.enable_beside(Controller::Memory, &[]).unwrap();
    for directory in [own.path(), &cgroups.base] {
        let handed = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap();
        assert_eq!(handed, "+memory", "{}", directory.display());
    }
    // What the kernel says then: nothing is written again.
    fs::write(cgroups.base.join("cgroup.subtree_control"), "memory pids\n").unwrap();
    fs::remove_dir_all(own.path().join("cgroup.controllers")).unwrap_err();
    cgroups.enable_beside(Controller::Memory, &[]).unwrap();
    let kept = fs::read_to_string(cgroups.base.join("cgroup.subtree_control")).unwrap();
    assert_eq!(kept, "memory pids\n");
}

#[test]
fn a_host_without_the_controller_says_so() {
    let (own, cgroups) = host("cpuset memory_hotplug\n");
    let refused = cgroups.enable_beside(Controller::Memory, &[]).unwrap_err();
    assert_eq!(
        refused,
        format!("{} has no memory controller", own.path().display())
    );
}

#[test]
fn limits_are_set_changed_and_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let set = |limits| keep(dir.path(), limits);
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    // No controllers: nothing to take away, but nothing can be kept either.
    set(limits(None, None)).unwrap();
    let refused = set(limits(Some(1 << 30), None)).unwrap_err().to_string();
    assert!(refused.contains("memory.max"), "{refused}");

    for name in ["memory.max", "cpu.max"] {
        fs::write(dir.path().join(name), "max").unwrap();
    }
    set(limits(Some(64 << 20), Some(1500))).unwrap();
    assert_eq!(
        (read("memory.max"), read("cpu.max")),
        ("67108864".into(), "150000 100000".into())
    );
    // The least: the kernel's smallest quota is a millisecond.
    set(limits(None, Some(10))).unwrap();
    assert_eq!(
        (read("memory.max"), read("cpu.max")),
        ("max".into(), "1000 100000".into())
    );
    set(limits(None, None)).unwrap();
    assert_eq!(read("cpu.max"), "max 100000");
}

/// A cgroup of the real kernel, removed with what lives in it.
struct Real {
    path: PathBuf,
    children: Vec<Child>,
    /// Handed down by this test alone.
    given: bool,
}

impl Drop for Real {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in ["zhylon-agent.t", "zhylon-agent.t.self"] {
            let _ = fs::remove_dir(self.path.join(name));
        }
        let _ = fs::remove_dir(&self.path);
        if let Some(own) = self.path.parent().filter(|_| self.given) {
            let _ = set(&own.join("cgroup.subtree_control"), "-hugetlb");
        }
    }
}

impl Real {
    /// `None` where the real kernel's v2 tree has no free controller for us, or this is not root.
    fn new() -> Option<Self> {
        let own = super::super::Cgroups::place(Path::new("/any")).ok()?;
        let own = own.parent()?;
        has(own, "cgroup.controllers", Controller::Hugetlb).then_some(())?;
        let given = !has(own, "cgroup.subtree_control", Controller::Hugetlb);
        hand_down(own, Controller::Hugetlb).ok()?;
        let path = own.join(format!("zhylon-test.{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let children = Vec::new();
        Some(Self {
            path,
            children,
            given,
        })
    }

    fn inhabit(&mut self) -> Pid {
        let child = Command::new("sleep")
            .arg("1000")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        self.children.push(child);
        set(
            &self.path.join("cgroup.procs"),
            &pid.as_raw_nonzero().to_string(),
        )
        .unwrap();
        pid
    }
}

#[test]
fn the_real_kernel_hands_down_once_the_agents_own_processes_stepped_aside() {
    let Some(mut real) = Real::new() else {
        let line = "\nSKIPPED the_real_kernel_hands_down_once_the_agents_own_processes_stepped_aside: no free controller\n";
        return std::io::stdout().write_all(line.as_bytes()).unwrap();
    };
    let base = real.path.join("zhylon-agent.t");
    fs::create_dir(&base).unwrap();
    let cgroups = Cgroups::at(base.clone());
    let (agent, stranger) = (real.inhabit(), real.inhabit());
    let refused = cgroups
        .enable_beside(Controller::Hugetlb, &[agent])
        .unwrap_err();
    assert!(
        refused.ends_with("holds processes that are not the agent's"),
        "{refused}"
    );
    cgroups
        .enable_beside(Controller::Hugetlb, &[agent, stranger])
        .unwrap();
    assert!(has(&base, "cgroup.subtree_control", Controller::Hugetlb));
    let aside = fs::read_to_string(real.path.join("zhylon-agent.t.self/cgroup.procs")).unwrap();
    assert_eq!(aside.lines().count(), 2);
}
