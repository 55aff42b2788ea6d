//! The keeper becomes a newer program: pid, children, locks, socket and FIFOs stay.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::ends::held;
use crate::harness::{Agent, lives, look, until};

/// Puts another file in the program's place, as a package manager does.
fn replace(agent: &Agent, by: &Path, mode: u32) {
    let new = agent.dir.path().join("program.new");
    // A process of its own: a descriptor open for writing that some other test's child inherits makes a file no program.
    let copied = Command::new("cp").arg(by).arg(&new).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(new, agent.program_file()).unwrap();
}

fn replace_by_itself(agent: &Agent) {
    replace(agent, &agent.program_file(), 0o755);
}

/// Becomes what lies there; returns when another worker answers.
fn upgrade(agent: &Agent) {
    let before = agent.worker();
    agent.signal_keeper(Signal::USR2);
    until("another worker answers", || {
        (agent.worker() != before).then_some(())
    });
}

fn runs_the_file(agent: &Agent) -> bool {
    let running = fs::metadata(format!("/proc/{}/exe", agent.keeper_pid())).unwrap();
    running.ino() == fs::metadata(agent.program_file()).unwrap().ino()
}

/// What a process has open, as the kernel names it, but for numbers.
fn open_files(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = entries.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let digits = |c: char| c.is_ascii_digit();
    let mut links: Vec<String> = links
        .map(|link| link.to_string_lossy().replace(digits, ""))
        .collect();
    links.sort();
    links
}

/// The same of a process that has nothing to do: what it opens for a moment is not in it.
fn open_at_rest(pid: i32) -> Option<Vec<String>> {
    let rests = || look(pid).is_some_and(|stat| stat.state == 'S');
    let open = rests().then(|| open_files(pid))?;
    (rests() && open_files(pid) == open).then_some(open)
}

#[test]
fn nothing_but_the_program_changes() {
    let agent = Agent::start_from_a_copy();
    let program = agent.program("start one exec sleep 1000");
    let quits = agent.program("start two echo last words; exit 42");
    let (keeper, worker) = (agent.keeper_pid(), agent.worker());
    // The worker answers once it has sent the FIFOs; the keeper takes them in when it comes to it.
    let of_keeper = until("both FIFOs are held", || {
        let open = open_at_rest(keeper)?;
        let fifos = open.iter().filter(|file| file.contains("/fifo/")).count();
        (fifos == 2).then_some(open)
    });
    let of_worker = until("it rests", || open_at_rest(worker));
    until("it has ended", || {
        look(quits)
            .is_none_or(|stat| stat.state == 'Z')
            .then_some(())
    });
    replace_by_itself(&agent);
    assert!(!runs_the_file(&agent));
    upgrade(&agent);

    assert!(runs_the_file(&agent));
    // Killed it would have had no time to say goodbye.
    assert!(agent.dir.path().join("told-to-end").exists());
    assert_eq!(agent.keeper_pid(), keeper);
    assert!(lives(program));
    held(&agent, "2");
    assert_eq!(agent.ask("exits"), format!("{quits} code 42\n"));
    // Nobody but the keeper held what it said last.
    let mut fifo = File::options();
    fifo.read(true);
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut fifo, flags);
    let mut words = String::new();
    let mut fifo = fifo.open(agent.run("fifo/two")).unwrap();
    fifo.read_to_string(&mut words).unwrap();
    assert_eq!(words, "last words\n");
    // The list went, and nothing of it reached the worker.
    let rests = |pid| until("it rests", || open_at_rest(pid));
    assert_eq!(rests(keeper), of_keeper);
    assert_eq!(rests(agent.worker()), of_worker);
    let environment = fs::read(format!("/proc/{}/environ", agent.worker())).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("HANDOVER"));

    let said = agent.second_keeper("state");
    assert!(said.contains("another host-agent is running"), "{said}");
    agent.signal_keeper(Signal::TERM);
    assert_eq!(agent.keeper_ended(), Some(0));
    assert!(lives(program) && !agent.run("supervisor.sock").exists());
}

#[test]
fn who_connects_meanwhile_is_served_by_the_next() {
    let agent = Agent::start_from_a_copy();
    let worker = agent.worker();
    let gate = agent.dir.path().join("no-worker");
    File::create(&gate).unwrap();
    agent.signal_keeper(Signal::USR2);
    until("the old worker is gone", || {
        look(worker).is_none().then_some(())
    });
    let mut waiting = UnixStream::connect(agent.run("supervisor.sock")).unwrap();
    waiting.write_all(b"pid").unwrap();
    waiting.shutdown(Shutdown::Write).unwrap();
    until("it took its own place", || {
        agent.log().contains("took the place").then_some(())
    });
    fs::remove_file(gate).unwrap();
    let mut reply = String::new();
    waiting.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, agent.ask("pid"));
}

#[test]
fn what_is_no_program_leaves_everything_as_it_was() {
    let agent = Agent::start_from_a_copy();
    let program = agent.program("start one exec sleep 1000");
    let rests = |pid| until("it rests", || open_at_rest(pid));
    let of_worker = rests(agent.worker());
    let other = agent.dir.path().join("other");
    for (text, mode) in [("no program", 0o755), ("", 0o755), ("x", 0o644)] {
        fs::write(&other, text).unwrap();
        replace(&agent, &other, mode);
        upgrade(&agent);
        assert!(
            agent.log().contains("the old program goes on"),
            "{}",
            agent.log()
        );
        assert!(lives(program));
        held(&agent, "1");
        assert_eq!(rests(agent.worker()), of_worker);
    }
}

#[test]
fn a_list_that_is_none_is_a_beginning_like_any_other() {
    let agent = Agent::start_from_a_copy();
    agent.signal_keeper(Signal::TERM);
    assert_eq!(agent.keeper_ended(), Some(0));
    for number in ["0", "77", "x"] {
        agent.start_keeper_with("ZHYLON_KEEPER_HANDOVER", number);
        agent.worker();
        assert!(agent.log().contains("is not understood"), "{}", agent.log());
        agent.signal_keeper(Signal::TERM);
        assert_eq!(agent.keeper_ended(), Some(0));
    }
}

#[test]
fn other_directories_are_another_house() {
    let agent = Agent::start_from_a_copy();
    let program = agent.program("start one exec sleep 1000");
    fs::write(agent.dir.path().join("state-name"), "other").unwrap();
    upgrade(&agent);
    assert!(agent.log().contains("is left alone"), "{}", agent.log());
    assert!(agent.dir.path().join("other/lock").exists());
    assert!(lives(program));
    held(&agent, "0");
    // The old house is free again.
    let old = File::open(agent.dir.path().join("state/lock")).unwrap();
    let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    assert!(rustix::fs::flock(&old, lock).is_ok());
}

#[test]
fn again_and_again() {
    let agent = Agent::start_from_a_copy();
    let start = |n| agent.program(&format!("start p{n} exec sleep 1000"));
    let programs: Vec<i32> = (0..10).map(start).collect();
    let mut upgrades = 0;
    for _ in 0..20 {
        replace_by_itself(&agent);
        upgrade(&agent);
        assert!(runs_the_file(&agent));
        held(&agent, "10");
        assert!(programs.iter().all(|pid| lives(*pid)));
        upgrades += 1;
    }
    assert_eq!(upgrades, 20);
}
