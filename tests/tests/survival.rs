//! What the agent goes through besides kills: ends between any two steps, graces of many at once, ledgers and records of
//! other versions, a reboot without a link, clocks that jump, full disks, too few descriptors. Real agents, real kernel.

#[path = "survival/disks.rs"]
mod disks;
#[path = "survival/ends.rs"]
mod ends;
#[path = "survival/reboot.rs"]
mod reboot;
#[path = "survival/time.rs"]
mod time;
#[path = "survival/versions.rs"]
mod versions;

use zhylon_tests::eventually;
use zhylon_tests::promises::Programs;
use zhylon_tests::promises::agent::{Agent, Daemon, Info};
use zhylon_tests::world::programs;

/// Cargo's own programs: they have fail points.
fn built() -> Programs {
    let built = programs().dir.parent().expect("where cargo builds to");
    Programs {
        agent: built.join("host-agent"),
        daemon: env!("CARGO_BIN_EXE_zhylon-soak").into(),
        previous: None,
    }
}

/// A shell script. Backslashes and double quotes are its own business, single quotes are ours.
fn shell(script: &str) -> Daemon {
    assert!(!script.contains('\''));
    Daemon::new(&format!("sh -c '{script}'"))
}

/// Waits until the first instance of a daemon is as it should be.
fn until(agent: &Agent, daemon: &Daemon, what: &str, is: impl Fn(&Info) -> bool) -> Info {
    let mut last = None;
    let look = || {
        last = agent.infos()?.remove(&daemon.instance(0));
        last.clone().filter(|info| is(info))
    };
    eventually(
        &format!("{what}\n{}", agent.path("agent.log").display()),
        look,
    )
}

fn running(agent: &Agent, daemon: &Daemon) -> i32 {
    until(agent, daemon, "it runs", |info| info.state == "RUNNING").pid
}

fn lives(pid: i32) -> bool {
    xtask::up::processes::Process::find(pid).is_some()
}
