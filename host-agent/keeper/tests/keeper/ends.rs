//! How programs ended, and what they said last, survives the worker.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::process::Signal;

use crate::harness::{Agent, look, signal_process, until};

/// A program that speaks and ends once the file exists.
fn when(agent: &Agent, file: &str, then: &str) -> String {
    let file = agent.dir.path().join(file);
    format!(
        "until [ -e {} ]; do sleep 0.01; done; {then}",
        file.display()
    )
}

fn touch(agent: &Agent, file: &str) {
    File::create(agent.dir.path().join(file)).unwrap();
}

fn is_zombie(pid: i32) -> bool {
    look(pid).is_some_and(|stat| stat.state == 'Z')
}

/// All that lies in a FIFO now.
fn contents(agent: &Agent, name: &str) -> String {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32);
    let mut fifo = options.open(agent.run("fifo").join(name)).unwrap();
    let mut text = String::new();
    fifo.read_to_string(&mut text).unwrap();
    text
}

/// The worker has been told all that was kept, and how many FIFOs are held.
pub(crate) fn held(agent: &Agent, count: &str) {
    let question = || Some(agent.ask("held")).filter(|held| held != "-");
    assert_eq!(until("all is told", question), count);
}

fn exits(agent: &Agent, count: usize) -> Vec<String> {
    let lines = || {
        let mut lines: Vec<String> = agent.ask("exits").lines().map(str::to_owned).collect();
        lines.sort();
        (lines.len() >= count).then_some(lines)
    };
    until("the ends are told", lines)
}

#[test]
fn ends_and_last_words_while_no_worker_lives_reach_the_next_one() {
    let agent = Agent::start();
    let quits = agent.program(&format!(
        "start one {}",
        when(&agent, "go", "echo last words; exit 42")
    ));
    let dies = agent.program(&format!("start two {}", when(&agent, "never", "true")));
    let lives = agent.program(&format!("start three {}", when(&agent, "never", "true")));
    agent.without_worker(|| {
        touch(&agent, "go");
        signal_process(dies, Signal::KILL);
        until("both ended", || {
            (is_zombie(quits) && is_zombie(dies)).then_some(())
        });
    });

    let mut expected = [format!("{quits} code 42"), format!("{dies} signal 9")];
    expected.sort();
    assert_eq!(exits(&agent, 2), expected);
    held(&agent, "3");
    assert_eq!(contents(&agent, "one"), "last words\n");
    assert!(look(lives).is_some_and(|stat| stat.state != 'Z'));

    assert!(is_zombie(quits), "not before it is acknowledged");
    agent.ask("ack");
    until("both are reaped", || {
        (look(quits).is_none() && look(dies).is_none()).then_some(())
    });
}

#[test]
fn an_end_nobody_recorded_is_told_to_every_worker() {
    let agent = Agent::start();
    let pid = agent.program(&format!("start one {}", when(&agent, "go", "exit 3")));
    agent.without_worker(|| touch(&agent, "go"));
    for _ in 0..3 {
        assert_eq!(exits(&agent, 1), [format!("{pid} code 3")]);
        held(&agent, "1");
        agent.without_worker(|| assert!(is_zombie(pid)));
    }
    assert_eq!(exits(&agent, 1), [format!("{pid} code 3")]);
    agent.ask("ack");
    until("it is reaped", || look(pid).is_none().then_some(()));
    agent.without_worker(|| ());
    agent.worker();
    assert_eq!(agent.ask("exits"), "");
}

#[test]
fn an_adopted_program_that_ends_later_is_told_at_once() {
    let agent = Agent::start();
    let pid = agent.program(&format!("start one {}", when(&agent, "go", "exit 9")));
    agent.without_worker(|| ());
    held(&agent, "1");
    assert_eq!(agent.ask("exits"), "");
    touch(&agent, "go");
    assert_eq!(exits(&agent, 1), [format!("{pid} code 9")]);
}

#[test]
fn strays_are_reaped_and_never_told() {
    let agent = Agent::start();
    let stray = agent.program(&format!("stray {}", when(&agent, "go", "exit 1")));
    let known = agent.program(&format!("start one {}", when(&agent, "go", "exit 2")));
    // Its record is of another process that had this pid before.
    let reused = agent.program(&format!("start two {}", when(&agent, "go", "exit 3")));
    let record = agent.run("records").join(reused.to_string());
    std::fs::write(record, format!("pid={reused}\nstart_time=1\n")).unwrap();
    agent.without_worker(|| {
        touch(&agent, "go");
        until("strays are gone", || {
            (look(stray).is_none() && look(reused).is_none()).then_some(())
        });
    });
    assert_eq!(exits(&agent, 1), [format!("{known} code 2")]);
}

#[test]
fn what_a_worker_said_right_before_it_died_counts() {
    let agent = Agent::start();
    let worker = agent.worker();
    agent.signal_keeper(Signal::STOP);
    agent.ask("noise");
    let pid = agent.program(&format!(
        "start one {}",
        when(&agent, "go", "echo last words")
    ));
    signal_process(worker, Signal::KILL);
    until("it is dead", || is_zombie(worker).then_some(()));
    touch(&agent, "go");
    // The stopped keeper inherits it all the same.
    until("it ended", || is_zombie(pid).then_some(()));
    agent.signal_keeper(Signal::CONT);
    assert_eq!(exits(&agent, 1), [format!("{pid} code 0")]);
    held(&agent, "1");
    assert_eq!(contents(&agent, "one"), "last words\n");
}

#[test]
fn a_dropped_fifo_is_let_go() {
    let agent = Agent::start();
    let pid = agent.program(&format!("start one {}", when(&agent, "go", "echo gone")));
    agent.ask("drop one");
    agent.without_worker(|| {
        touch(&agent, "go");
        until("it ended", || is_zombie(pid).then_some(()));
    });
    held(&agent, "0");
    assert_eq!(contents(&agent, "one"), "");
}
