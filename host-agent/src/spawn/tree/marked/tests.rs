use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

fn slot() -> Slot {
    let daemon = zhylon_shared::id::DaemonId::random().unwrap();
    Slot { daemon, index: 0 }
}

fn program(slot: &Slot, shell: &str) -> Child {
    Command::new("setsid")
        .args(["sh", "-c", shell])
        .env(MARKER, name::instance(&slot.daemon, slot.index))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !look() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Ends the main process as the tree would be met then: an orphan whose parent tells nothing.
fn end(mut main: Child) {
    main.kill().unwrap();
    main.wait().unwrap();
}

fn killed(tree: &mut Marked) {
    tree.kill();
    until("all are killed", || tree.is_gone());
}

#[test]
fn what_left_the_session_is_found_by_its_mark() {
    let slot = slot();
    let main = program(&slot, "setsid sleep 1000 & exec sleep 1000");
    let mut tree = Marked::new(Pid::from_child(&main), None, &slot, "x");
    until("both", || {
        tree.remember();
        tree.known.len() == 2
    });
    end(main);
    tree.known.clear();
    assert!(!tree.is_gone());
    killed(&mut tree);
    let stranger = self::slot();
    let mut none = Marked::new(Pid::from_raw(i32::MAX).unwrap(), None, &stranger, "x");
    assert!(!none.is_gone(), "one look is not enough");
    assert!(none.is_gone());
}

#[test]
fn what_also_cleared_its_environment_is_found_by_its_log_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    std::fs::create_dir(&fifo).unwrap();
    for name in ["x", "another"] {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            fifo.join(name),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
    }
    let slot = slot();
    let script = |name: &str| format!("exec env -i /bin/sleep 1000 1<>{0}/{name}", fifo.display());
    let (own, other) = (
        program(&slot, &script("x")),
        program(&self::slot(), &script("another")),
    );
    // Nobody's session, nobody's child.
    let mut tree = Marked::new(Pid::from_raw(i32::MAX).unwrap(), None, &slot, "x");
    until("it by its pipe", || {
        tree.remember();
        tree.known.contains_key(&Pid::from_child(&own))
            && environ_is_empty(&own)
            && environ_is_empty(&other)
    });
    tree.remember();
    assert_eq!(tree.known.len(), 1, "the other's pipe is not its");
    killed(&mut tree);
    assert!(process(Pid::from_child(&other)).is_some());
    end(other);
    end(own);
}

fn environ_is_empty(child: &Child) -> bool {
    read(format!("/proc/{}/environ", child.id())).is_ok_and(|environ| environ.is_empty())
}

#[test]
fn what_shed_all_that_but_its_parent_is_remembered_when_the_parent_ends() {
    let slot = slot();
    let main = program(&slot, "env -i setsid sleep 1000 & exec sleep 1000");
    let pid = Pid::from_child(&main);
    let child = || {
        let mut all = pids().into_iter().filter_map(process);
        all.find(|one| one.parent == Some(pid) && one.session == Some(one.pid))
    };
    until("the child without mark", || {
        child().is_some_and(|one| {
            read(format!("/proc/{}/environ", one.pid)).is_ok_and(|environ| environ.is_empty())
        })
    });
    let child = child().unwrap().pid;
    let mut tree = Marked::new(pid, None, &slot, "x");
    tree.remember();
    end(main);
    assert!(
        !tree.is_gone(),
        "an orphan in a session of its own, without mark"
    );
    killed(&mut tree);
    until("the child", || process(child).is_none());
}

#[test]
fn a_number_that_became_a_strangers_is_left_alone() {
    let stranger = program(&slot(), "exec sleep 1000");
    let pid = Pid::from_child(&stranger);
    let mut tree = Marked::new(Pid::from_raw(i32::MAX).unwrap(), None, &slot(), "of-no-one");
    until("it", || process(pid).is_some());
    tree.known.insert(pid, process(pid).unwrap().start_time + 1);
    send((&pid, &tree.known[&pid]), Signal::KILL);
    assert!(!tree.is_gone());
    assert!(tree.is_gone());
    assert!(process(pid).is_some());
    end(stranger);
}

#[test]
fn who_was_there_before_the_main_process_is_none_of_its_tree() {
    let slot = slot();
    let before = program(&slot, "exec sleep 1000");
    let (old, mut main) = (Pid::from_child(&before), None);
    // The kernel counts start times in hundredths of a second.
    until("a younger one", || {
        if let Some(same) = main.replace(program(&slot, "setsid sleep 1000 & exec sleep 1000")) {
            end(same);
        }
        let now = start_time(Pid::from_child(main.as_ref().unwrap()));
        now.unwrap() > start_time(old).unwrap()
    });
    let main = main.unwrap();
    let began = start_time(Pid::from_child(&main)).unwrap();
    let mut tree = Marked::new(Pid::from_child(&main), Some(began), &slot, "x");
    until("both of them", || {
        tree.remember();
        tree.known.len() >= 2
    });
    assert!(!tree.known.contains_key(&old), "though it has their mark");
    end(main);
    killed(&mut tree);
    assert!(process(old).is_some());
    end(before);
}
