//! Another boot, and nobody to ask: everything starts from the ledger.

use std::fs;

use zhylon_tests::machine::Machine;
use zhylon_tests::namespace::{reboot, story};
use zhylon_tests::promises::agent::{Agent, Daemon};

use crate::{built, running, until};

#[test]
fn after_a_reboot_without_a_link_everything_is_as_the_ledger_says() {
    story(async |_: Machine| {
        let (runs, held) = (Daemon::new("sleep 1000"), Daemon::new("sleep 1001"));
        let mut agent = Agent::started(&built(), &[runs.clone(), held.clone()]);
        running(&agent, &runs);
        running(&agent, &held);
        let stopped = agent.call("supervisor.stopProcess", &held.full_name());
        assert!(stopped.is_some_and(|answer| !answer.contains("fault")));
        until(&agent, &held, "it is held", |info| info.state == "STOPPED");
        agent.wait_for_records(1);
        let old = fs::read_dir(agent.path("run/records"))
            .expect("records")
            .next();
        let old = fs::read_to_string(old.expect("one").expect("one").path()).expect("it");

        // The records stay, as they would on a disk: they are another boot's. Their pids are anybody's.
        reboot();
        agent.keeper_gone();
        agent.start();
        running(&agent, &runs);
        let still = until(&agent, &held, "the hold is there", |info| {
            info.state == "STOPPED"
        });
        assert_eq!(still.pid, 0);
        agent.wait_for_records(1);
        let new = fs::read_dir(agent.path("run/records")).expect("records");
        let new: Vec<String> = new
            .map(|entry| fs::read_to_string(entry.expect("one").path()).expect("it"))
            .collect();
        assert_eq!(new.len(), 1, "{new:?}");
        let boot = |text: &str| {
            text.lines()
                .find(|l| l.starts_with("boot_id="))
                .map(str::to_owned)
        };
        assert!(boot(&new[0]).is_some() && boot(&new[0]) != boot(&old));
    });
}
