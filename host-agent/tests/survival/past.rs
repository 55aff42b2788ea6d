//! What the next worker knows of what had ended, and what a restored database leaves running.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::agent::{Agent, Daemon, lines, runs, signal, until};

/// Kills of the worker right after an end.
const KILLS: usize = 5;

#[test]
fn what_ended_for_good_is_not_started_again_however_soon_the_worker_dies() {
    let home = tempfile::tempdir().unwrap();
    let (starts, go) = (home.path().join("starts"), home.path().join("go"));
    let script = format!(
        "echo up >> {}; while ! test -e {}; do sleep 0.01; done; exit 7",
        starts.display(),
        go.display()
    );
    let once = Daemon::shell(&script)
        .with("restart_policy", "NEVER")
        .with("start_seconds", 0);
    let fails = Daemon::new("/nonexistent/program").with("max_retries", 1);
    let agent = Agent::with(&[&once, &fails]);
    agent.pid(&once, 0);
    agent.wait_for(&fails, 0, "FATAL");
    fs::write(&go, "").unwrap();
    // Not before its end, but however soon after it.
    agent.wait_for(&once, 0, "EXITED");
    let gave_up = agent.instance(&fails, 0).unwrap();
    for _ in 0..KILLS {
        agent.kill_worker();
        agent.wait_ready();
        let found = agent.wait_for(&once, 0, "EXITED");
        assert_eq!(
            agent.instance(&fails, 0),
            Some(gave_up.clone()),
            "{found:?}"
        );
    }
    assert_eq!(lines(&starts), ["up"], "it ran once");
    // Who asks for it gets it.
    fs::remove_file(&go).unwrap();
    let said = agent.say(&["start", &format!("{}:*", once.group())]);
    assert!(said.contains("started"), "{said}");
    // That it is started is said before its first word.
    until("its second life", || {
        (lines(&starts) == ["up", "up"]).then_some(())
    });
}

#[test]
fn a_record_goes_only_once_the_note_of_its_end_is_there() {
    let home = tempfile::tempdir().unwrap();
    let (starts, go) = (home.path().join("starts"), home.path().join("go"));
    let script = format!(
        "echo up >> {}; while ! test -e {}; do sleep 0.01; done; exit 7",
        starts.display(),
        go.display()
    );
    let once = Daemon::shell(&script).with("restart_policy", "NEVER");
    let agent = Agent::with(&[&once]);
    let pid = agent.pid(&once, 0);
    // No note can be written from now on.
    fs::create_dir(agent.path("run/ended.tmp")).unwrap();
    fs::write(&go, "").unwrap();
    for _ in 0..2 {
        agent.wait_for(&once, 0, "EXITED");
        assert!(agent.path(&format!("run/records/{pid}")).exists());
        agent.kill_worker();
        agent.wait_ready();
    }
    agent.wait_for(&once, 0, "EXITED");
    fs::remove_dir(agent.path("run/ended.tmp")).unwrap();
    until("the note, and then no record", || {
        (!agent.path(&format!("run/records/{pid}")).exists()).then_some(())
    });
    assert!(agent.path("run/ended").exists());
    agent.kill_worker();
    agent.wait_ready();
    agent.wait_for(&once, 0, "EXITED");
    assert_eq!(lines(&starts), ["up"], "it ran once");
}

#[test]
fn another_boot_starts_it_again() {
    let once = Daemon::shell("exit 7").with("restart_policy", "NEVER");
    let mut agent = Agent::with(&[&once]);
    agent.wait_for(&once, 0, "EXITED");
    let notes = agent.path("run/ended");
    let noted: Value = until("the note", || {
        let noted = serde_json::from_slice(&fs::read(&notes).ok()?).ok()?;
        Some(noted).filter(|noted: &Value| noted["notes"][0]["rest"]["kind"] == "exited")
    });
    // A record that is still there would tell the next worker of an end under this boot.
    until("no record", || {
        let mut records = fs::read_dir(agent.path("run/records")).unwrap();
        records.next().is_none().then_some(())
    });
    agent.terminate();
    let mut other = noted.clone();
    other["boot_id"] = json!("another");
    other["notes"][0]["rest"]["since"] = json!({"secs": 1, "nanos": 0});
    fs::write(&notes, other.to_string()).unwrap();
    agent.start();
    // It runs, ends anew, and that is noted for this boot.
    until("a note of this boot", || {
        let now: Value = serde_json::from_slice(&fs::read(&notes).ok()?).ok()?;
        let anew = now["boot_id"] == noted["boot_id"]
            && now["notes"][0]["generation"].as_u64() > noted["notes"][0]["generation"].as_u64();
        anew.then_some(())
    });
}

#[test]
fn what_a_restored_configuration_says_otherwise_or_not_at_all_runs_on() {
    let same = Daemon::shell("exec sleep 1000");
    let differs = Daemon::shell("exec sleep 1001").with("processes", 2);
    let absent = Daemon::shell("exec sleep 1002");
    let mut agent = Agent::with(&[&same, &differs, &absent]);
    let pids = [
        agent.pid(&same, 0),
        agent.pid(&differs, 0),
        agent.pid(&differs, 1),
        agent.pid(&absent, 0),
    ];
    agent.terminate();
    // What merging a snapshot of a new epoch makes of it; see `link/desired`.
    let path = agent.path("state/ledger/desired.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut ledger: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    let mut set = ledger["daemons"].as_array().unwrap().clone();
    ledger["unclaimed"] = json!([set.pop().unwrap()]);
    for daemon in &mut set {
        daemon["adopted"] = json!(true);
        (daemon["restart_generation"], daemon["intent_generation"]) = (json!(5), json!(9));
    }
    set[1]["runs_on"] = json!({"spec": set[1]["spec"], "state": "RUNNING"});
    set[1]["spec"]["command"] = json!("sleep 5");
    set[1]["state"] = json!("STOPPED");
    ledger["daemons"] = json!(set);
    ledger["config_epoch"] = json!("restored");
    let json = ledger.to_string();
    let head = format!(
        "zhylon-ledger 1 {} {:x}\n",
        json.len(),
        Sha256::digest(&json)
    );
    fs::write(&path, head + &json).unwrap();
    agent.start();
    let now = |agent: &Agent| {
        [
            agent.pid(&same, 0),
            agent.pid(&differs, 0),
            agent.pid(&differs, 1),
            agent.pid(&absent, 0),
        ]
    };
    assert_eq!(now(&agent), pids);
    agent.kill_worker();
    agent.wait_ready();
    assert_eq!(now(&agent), pids);
    // It is kept alive as it was.
    signal(pids[3], Signal::KILL);
    let another = until("another process", || {
        let pid = agent.instance(&absent, 0)?.pid?;
        (pid != pids[3]).then_some(pid)
    });
    // A person decides: stopped, and with the next worker forgotten.
    agent.say(&["stop", &format!("{}:*", absent.group())]);
    assert!(!runs(another));
    agent.kill_worker();
    agent.wait_ready();
    until("the others are known", || {
        agent.instance(&same, 0).map(|_| ())
    });
    assert_eq!(agent.instance(&absent, 0), None);
    assert_eq!(agent.pid(&same, 0), pids[0]);
}
