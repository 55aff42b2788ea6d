//! Kills at any moment: no daemon's pid changes, none runs twice, no end is missed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::agent::{Agent, Daemon, lines, runs, signal, until};

/// Kills of the worker while everything is quiet.
const QUIET_KILLS: usize = 12;
/// Kills of the worker, each some other number of milliseconds after the last, while daemons end and start all the time.
const BUSY_KILLS: u64 = 25;
/// Kills of keeper and worker together.
const BOTH_KILLS: usize = 5;

/// Appends the pid of every start to a file.
fn counted(starts: &Path) -> Daemon {
    Daemon::shell(&format!("echo $$ >> {}; exec sleep 1000", starts.display()))
}

#[test]
fn a_killed_worker_is_not_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let daemon = counted(&starts).with("processes", 4);
    let agent = Agent::with(&[&daemon]);
    let pids: Vec<i32> = (0..4).map(|index| agent.pid(&daemon, index)).collect();
    until("all have begun", || {
        (lines(&starts).len() == 4).then_some(())
    });
    for kill in 0..QUIET_KILLS {
        agent.kill_worker();
        agent.wait_ready();
        let found: Vec<i32> = (0..4).map(|index| agent.pid(&daemon, index)).collect();
        assert_eq!(found, pids, "after kill {kill}");
    }
    assert_eq!(lines(&starts).len(), 4, "none was started twice");
    // The one that is there now still keeps them alive.
    signal(pids[2], Signal::KILL);
    until("a respawn", || (lines(&starts).len() == 5).then_some(()));
    assert_ne!(agent.pid(&daemon, 2), pids[2]);
}

#[test]
fn none_runs_twice_however_the_worker_is_killed_while_it_starts_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display();
    // Each run takes a lock that only its own slot uses, for as long as it lives; what finds it taken runs twice.
    let script = format!(
        "exec 9>> {at}/lock.$SUPERVISOR_PROCESS_NAME; \
         flock -n 9 || {{ echo $$ >> {at}/twice; exit 1; }}; echo $$ >> {at}/starts; sleep 0.03"
    );
    let daemon = Daemon::shell(&script)
        .with("processes", 4)
        .with("start_seconds", 0);
    let agent = Agent::with(&[&daemon]);
    let starts = dir.path().join("starts");
    let mut before = 0;
    for kill in 0..BUSY_KILLS {
        let moment = Duration::from_millis(kill * 7 % 40);
        // The kill must hit a worker that starts things: it waits for new starts, then for a moment of its own.
        until("new starts", || {
            (lines(&starts).len() > before).then_some(())
        });
        std::thread::sleep(moment);
        agent.kill_worker();
        before = lines(&starts).len();
        assert_eq!(
            lines(&dir.path().join("twice")),
            Vec::<String>::new(),
            "after kill {kill}"
        );
    }
    until("starts go on", || {
        (lines(&starts).len() > before + 4).then_some(())
    });
    assert_eq!(lines(&dir.path().join("twice")), Vec::<String>::new());
}

#[test]
fn an_end_while_no_worker_lives_is_known_by_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let (starts, gate) = (dir.path().join("starts"), dir.path().join("gate"));
    let script = format!(
        "echo $$ >> {}; until test -e {}; do sleep 0.02; done; exit 0",
        starts.display(),
        gate.display()
    );
    // Started again after every end but one by code 0: also after one that nobody knows.
    let daemon = Daemon::shell(&script).with("restart_policy", "ON_FAILURE");
    let agent = Agent::with(&[&daemon]);
    let pid = agent.pid(&daemon, 0);
    until("it has begun", || (lines(&starts).len() == 1).then_some(()));
    let (keeper, worker) = (agent.keeper_pid(), agent.worker_pid());
    signal(keeper, Signal::STOP);
    signal(worker, Signal::KILL);
    until("no worker", || (!runs(worker)).then_some(()));
    fs::write(&gate, "").unwrap();
    until("its end", || (!runs(pid)).then_some(()));
    signal(keeper, Signal::CONT);
    until("another worker", || {
        (agent.worker_pid() != worker).then_some(())
    });
    agent.wait_ready();
    agent.wait_for(&daemon, 0, "EXITED");
    assert_eq!(lines(&starts).len(), 1);
}

#[test]
fn daemons_outlive_keeper_and_worker_together() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let daemon = counted(&starts).with("processes", 3);
    let mut agent = Agent::with(&[&daemon]);
    let pids: Vec<i32> = (0..3).map(|index| agent.pid(&daemon, index)).collect();
    until("all have begun", || {
        (lines(&starts).len() == 3).then_some(())
    });
    for kill in 0..BOTH_KILLS {
        agent.kill_all();
        assert!(pids.iter().all(|pid| runs(*pid)), "kill {kill}");
        agent.start();
        let found: Vec<i32> = (0..3).map(|index| agent.pid(&daemon, index)).collect();
        assert_eq!(found, pids, "after kill {kill}");
    }
    assert_eq!(lines(&starts).len(), 3, "none was started twice");
    // Init is their parent now: the end is not known, but seen.
    signal(pids[0], Signal::KILL);
    until("a respawn", || (lines(&starts).len() == 4).then_some(()));
    assert_ne!(agent.pid(&daemon, 0), pids[0]);
    // One that ends while nobody is there is started again, once.
    agent.kill_all();
    signal(pids[1], Signal::KILL);
    until("its end", || (!runs(pids[1])).then_some(()));
    agent.start();
    until("a respawn", || (lines(&starts).len() == 5).then_some(()));
    assert_ne!(agent.pid(&daemon, 1), pids[1]);
    assert_eq!(agent.pid(&daemon, 2), pids[2]);
}

#[test]
fn a_torn_ledger_stops_nothing() {
    let daemon = Daemon::new("sleep 1000");
    let mut agent = Agent::with(&[&daemon]);
    let pid = agent.pid(&daemon, 0);
    let path = agent.path("state/ledger/desired.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    agent.kill_worker();
    agent.wait_ready();
    assert!(runs(pid), "what runs is left alone");
    assert!(
        agent.log().contains("the ledger is not usable"),
        "and the log says why"
    );
    agent.kill_all();
    fs::write(&path, &whole).unwrap();
    agent.start();
    assert_eq!(agent.pid(&daemon, 0), pid);
}

#[test]
fn a_daemon_that_is_no_longer_desired_is_stopped_by_its_own_rules() {
    let dir = tempfile::tempdir().unwrap();
    let said = dir.path().join("said");
    let script = format!(
        "trap \"echo quit >> {0}; exit 0\" QUIT; echo up >> {0}; while true; do sleep 0.05; done",
        said.display()
    );
    let gone = Daemon::shell(&script).with("stop_signal", "QUIT");
    let stays = Daemon::new("sleep 1000");
    let mut agent = Agent::with(&[&gone, &stays]);
    let (pid, other) = (agent.pid(&gone, 0), agent.pid(&stays, 0));
    until("its trap", || (lines(&said) == ["up"]).then_some(()));
    agent.kill_all();
    agent.write_ledger(&[&stays]);
    agent.start();
    until("its end", || (!runs(pid)).then_some(()));
    until("its last word", || {
        (lines(&said) == ["up", "quit"]).then_some(())
    });
    assert_eq!(agent.pid(&stays, 0), other);
}

#[test]
fn a_start_that_was_cut_off_before_its_record_is_removed() {
    let daemon = Daemon::new("sleep 1000");
    let mut agent = Agent::with(&[&daemon]);
    let pid = agent.pid(&daemon, 0);
    let record = fs::read_to_string(agent.path(&format!("run/records/{pid}"))).unwrap();
    let leaf = record.lines().find_map(|line| line.strip_prefix("cgroup="));
    let Some(leaf) = leaf.filter(|leaf| !leaf.is_empty()) else {
        let _ = std::io::Write::write_all(
            &mut std::io::stdout(),
            b"\nSKIPPED a_start_that_was_cut_off_before_its_record_is_removed: no cgroup v2 here\n",
        );
        return;
    };
    agent.kill_all();
    // As it would look if everything was killed between clone and record.
    let cut_off = Path::new(leaf).with_file_name("0.7");
    fs::create_dir(&cut_off).unwrap();
    let mut stray = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(cut_off.join("cgroup.procs"), stray.id().to_string()).unwrap();
    let fifo = agent.path(&format!("run/fifo/{}.0.7", daemon.id.bare()));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    agent.start();
    let ended = until("the end of the stray", || stray.try_wait().unwrap());
    assert!(!ended.success());
    until("nothing of it is left", || {
        (!fifo.exists() && !cut_off.exists()).then_some(())
    });
    assert_eq!(
        agent.pid(&daemon, 0),
        pid,
        "what has a record is not touched"
    );
}
