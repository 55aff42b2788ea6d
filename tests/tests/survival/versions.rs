//! State that another version wrote: older is understood, newer is refused with a text, and what runs is left alone.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zhylon_tests::eventually;
use zhylon_tests::promises::agent::{Agent, Daemon};

use crate::{built, lives, running};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    fs::read_to_string(path).expect("a fixture")
}

/// The daemon that the recorded ledgers have.
fn recorded() -> Daemon {
    let mut daemon = Daemon::new("sleep 1000");
    daemon.id = "h:H3hxDfKZE0mHsxTqwN".parse().expect("an id");
    daemon
}

/// A recorded ledger, for the user who runs the tests: only the user's name and what follows from it are another.
fn place(agent: &Agent, name: &str, recorded: &str) {
    let (head, json) = recorded.split_once('\n').expect("a head");
    let user = zhylon_tests::daemons::me();
    let json = json
        .trim_end()
        .replace("\"recorded-user\"", &format!("\"{user}\""));
    let version = head.split(' ').nth(1).expect("a version");
    let text = format!(
        "zhylon-ledger {version} {} {:x}\n{json}",
        json.len(),
        Sha256::digest(&json)
    );
    fs::write(ledger(agent, name), text).expect("place it");
}

fn ledger(agent: &Agent, name: &str) -> PathBuf {
    agent.path(&format!("state/ledger/{name}"))
}

#[test]
fn ledgers_of_older_agents_are_understood() {
    for local in ["local-v1.json", "local-v1-before-instance-holds.json"] {
        let daemon = recorded();
        let mut agent = Agent::new(&built(), std::slice::from_ref(&daemon));
        place(&agent, "desired.json", &fixture("desired-v1.json"));
        place(&agent, "local.json", &fixture(local));
        agent.start();
        running(&agent, &daemon);
        let infos = agent.infos().expect("all");
        let held: Vec<&str> = infos
            .iter()
            .filter(|(_, info)| info.state == "STOPPED")
            .map(|(name, _)| name.as_str())
            .collect();
        let expected: &[&str] = match local {
            "local-v1.json" => &["daemon-H3hxDfKZE0mHsxTqwN_01"],
            _ => &[],
        };
        assert_eq!(held, expected, "{local}");
    }
}

#[test]
fn a_newer_ledger_is_refused_and_nothing_is_touched() {
    let daemon = Daemon::new("sleep 1000");
    let mut agent = Agent::started(&built(), std::slice::from_ref(&daemon));
    let pid = running(&agent, &daemon);
    let newer = fs::read_to_string(ledger(&agent, "desired.json")).expect("the ledger");
    agent.kill_keeper();
    fs::write(
        ledger(&agent, "desired.json"),
        newer.replacen("ledger 1", "ledger 2", 1),
    )
    .expect("it");
    agent.start();
    assert!(
        agent
            .own_log()
            .contains("has format version 2, this agent knows 1")
    );
    assert!(lives(pid));
    let left = fs::read_to_string(ledger(&agent, "desired.json")).expect("the ledger");
    assert!(left.starts_with("zhylon-ledger 2 "), "it is left as it is");
    agent.kill_keeper();
    fs::write(ledger(&agent, "desired.json"), newer).expect("the old one");
    agent.start();
    assert_eq!(running(&agent, &daemon), pid);
}

#[test]
fn a_newer_run_record_is_refused_and_nothing_is_touched() {
    let daemon = Daemon::new("sleep 1000");
    let mut agent = Agent::started(&built(), std::slice::from_ref(&daemon));
    let pid = running(&agent, &daemon);
    agent.kill_keeper();
    let record = agent.path(&format!("run/records/{pid}"));
    let text = fs::read_to_string(&record).expect("the record");
    fs::write(&record, text.replace("version=1\n", "version=2\n")).expect("a newer one");
    agent.start_keeper();
    eventually("it says why it does not begin", || {
        agent.own_log().contains("format version 2").then_some(())
    });
    assert!(lives(pid) && record.exists());
    // Whole at once: workers begin and look at it all the time.
    let known = agent.path("known");
    fs::write(&known, text).expect("the one that it knows");
    fs::rename(known, &record).expect("put it in place");
    agent.ready();
    assert_eq!(running(&agent, &daemon), pid);
}
