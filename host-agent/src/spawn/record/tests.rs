use super::*;

fn facts() -> RunFacts {
    RunFacts {
        run: Run {
            slot: Slot {
                daemon: "h:H3hxDfKZE0mHsxTqwN".parse().unwrap(),
                index: 3,
            },
            generation: 5_000_000_007,
        },
        boot_id: "b".repeat(36),
        spec_hash: "0f".repeat(32),
        restart_generation: 2,
        stop_signal: StopSignal::Quit,
        stop_seconds: 86_400,
        uid: 1001,
        cgroup: Some("/sys/fs/cgroup/zhylon-agent.0/d-x/3.5".into()),
        fifo: "H3hxDfKZE0mHsxTqwN.3.5000000007".to_owned(),
    }
}

#[test]
fn a_record_reads_back_as_written() {
    let text = format!("pid=4711\nstart_time=99\n{}", facts().template());
    let record = RunRecord::parse(&text).unwrap();
    assert_eq!(record.pid.as_raw_nonzero().get(), 4711);
    assert_eq!(record.start_time, 99);
    assert_eq!(record.facts, facts());
    let without = RunFacts {
        cgroup: None,
        ..facts()
    };
    let text = format!("pid=4711\nstart_time=99\n{}", without.template());
    assert_eq!(RunRecord::parse(&text).unwrap().facts, without);
}

#[test]
fn every_cut_and_every_strange_value_is_refused() {
    let text = format!("pid=4711\nstart_time=99\n{}", facts().template());
    for cut in 0..text.len() {
        assert!(RunRecord::parse(&text[..cut]).is_err(), "{cut}");
    }
    for (from, to) in [
        ("version=1", "version=2"),
        ("pid=4711", "pid=0"),
        ("pid=4711", "pid=-1"),
        ("pid=4711", "pid=4711\npid=1"),
        ("stop_signal=3", "stop_signal=19"),
        ("fifo=H3", "fifo=../H3"),
        ("cgroup=/sys", "cgroup=sys"),
        ("daemon=H3", "daemon=H/"),
        ("index=3", "index=x"),
    ] {
        let strange = text.replacen(from, to, 1);
        assert_ne!(strange, text);
        assert!(RunRecord::parse(&strange).is_err(), "{to}");
    }
}

#[test]
fn a_process_is_known_by_pid_start_time_and_home_together() {
    let mut child = std::process::Command::new("setsid")
        .args(["sleep", "1000"])
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while host_agent_sys::process::stat(pid).unwrap().session != Some(pid) {
        assert!(std::time::Instant::now() < deadline, "a session of its own");
        std::thread::yield_now();
    }
    let here = RunRecord {
        pid,
        start_time: start_time(pid).unwrap(),
        facts: RunFacts {
            cgroup: None,
            ..facts()
        },
    };
    let mut earlier = here.clone();
    earlier.start_time -= 1;
    let mut elsewhere = here.clone();
    elsewhere.facts = facts();
    let known = [&here, &earlier, &elsewhere].map(|record| record.open_process().is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        known,
        [true, false, false],
        "same, another start, another cgroup"
    );
}

#[test]
fn exits_read_back_and_go_with_their_record() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path().to_owned()).unwrap();
    let pid = rustix::process::getpid();
    assert_eq!(records.read_exit(pid), None);
    for exit in [Exit::Code(7), Exit::Signal(9)] {
        records.write_exit(pid, exit).unwrap();
        assert_eq!(records.read_exit(pid), Some(exit));
    }
    std::fs::write(dir.path().join("77"), "pid=77\n").unwrap();
    std::fs::write(dir.path().join("78.tmp"), "x").unwrap();
    let found = records.read_all().unwrap();
    assert!(
        matches!(&found[..], [Found::Unreadable(name, why)] if name == "77" && why.contains("missing")),
        "{found:?}"
    );
    records.remove(pid);
    assert_eq!(records.read_exit(pid), None);
}

#[test]
fn records_of_every_version_so_far_are_read_and_of_newer_ones_are_not() {
    let recorded = include_str!("fixtures/v1");
    let expected = RunRecord {
        pid: Pid::from_raw(4711).unwrap(),
        start_time: 987_654,
        facts: facts(),
    };
    assert_eq!(RunRecord::parse(recorded), Ok(expected.clone()));
    let with_more = format!("{recorded}a_key_of_later=x\n");
    assert_eq!(RunRecord::parse(&with_more), Ok(expected));

    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path().to_owned()).unwrap();
    std::fs::write(dir.path().join("4711"), recorded).unwrap();
    assert!(matches!(
        &records.read_all().unwrap()[..],
        [Found::Record(_)]
    ));
    let newer = recorded.replace("version=1", "version=2");
    std::fs::write(dir.path().join("4712"), &newer).unwrap();
    let refused = records.read_all().unwrap_err().to_string();
    assert!(
        refused.contains("format version 2") && refused.contains("4712"),
        "{refused}"
    );
    // Torn it says nothing, not even a version.
    std::fs::write(dir.path().join("4712"), &newer[..newer.len() - 1]).unwrap();
    assert_eq!(records.read_all().unwrap().len(), 2);
}
