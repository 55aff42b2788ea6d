use std::process::Command;

use super::*;

/// A child of this thread that has ended with this code and is not reaped.
fn zombie(code: i32) -> Pid {
    let child = Command::new("sh")
        .args(["-c", &format!("exit {code}")])
        .spawn();
    let pid = Pid::from_child(&child.unwrap());
    waitid(
        WaitId::Pid(pid),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    )
    .unwrap();
    pid
}

fn record(children: &Children, pid: Pid, start_time: u64) {
    let text = format!("pid={pid}\nstart_time={start_time}\nversion=1\n");
    std::fs::write(children.records.join(pid.to_string()), text).unwrap();
}

fn is_zombie(pid: Pid) -> bool {
    list().unwrap().contains(&pid)
}

#[test]
fn what_nobody_knows_is_reaped_and_what_is_recorded_waits_for_its_acknowledgement() {
    let dir = tempfile::tempdir().unwrap();
    let mut children = Children::new(dir.path().to_owned(), MAX_KEPT);
    let (known, unknown, reused) = (zombie(7), zombie(1), zombie(2));
    let started = start_time(known).unwrap();
    record(&children, known, started);
    // A record of an earlier process with this pid.
    record(&children, reused, start_time(reused).unwrap() + 1);

    assert_eq!(children.scan(None).unwrap(), None);
    assert_eq!(
        [known, unknown, reused].map(is_zombie),
        [true, false, false]
    );
    let (pid, kept) = children.untold().unwrap();
    assert_eq!(
        (pid, kept.status),
        (known.as_raw_nonzero().get(), ExitStatus::Code(7))
    );
    kept.told = true;
    assert!(children.untold().is_none());
    children.forget_told();
    assert!(children.untold().is_some());

    children.acknowledge(pid, started + 1);
    assert!(is_zombie(known), "another process's acknowledgement");
    children.acknowledge(pid, started);
    assert!(!is_zombie(known));
    assert!(children.untold().is_none());
}

#[test]
fn the_worker_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut children = Children::new(dir.path().to_owned(), MAX_KEPT);
    let worker = zombie(0);
    children.scan(Some(worker)).unwrap();
    assert!(is_zombie(worker));
    children.scan(None).unwrap();
    assert!(!is_zombie(worker));
}

#[test]
fn when_too_many_wait_the_oldest_is_given_up_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut children = Children::new(dir.path().to_owned(), 2);
    let mut ended = Vec::new();
    for (code, lost) in [(1, None), (2, None), (3, Some(1)), (4, Some(2))] {
        let pid = zombie(code);
        record(&children, pid, start_time(pid).unwrap());
        ended.push(pid);
        assert_eq!(children.scan(None).unwrap(), lost);
    }
    let left: Vec<bool> = ended.iter().map(|pid| is_zombie(*pid)).collect();
    assert_eq!(left, [false, false, true, true]);
}
