//! The wall clock jumps by hours, for the agent alone (libfaketime): nothing starts, ends, or is forgiven because of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use zhylon_tests::eventually;
use zhylon_tests::promises::agent::{Agent, Daemon};

use crate::{built, lives, running, shell, until};

/// Where Debian has it.
fn library() -> Option<PathBuf> {
    let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
    let mut places = places
        .map(|arch| format!("/usr/lib/{arch}/faketime/libfaketime.so.1"))
        .into_iter();
    places
        .find(|path| Path::new(path).exists())
        .map(PathBuf::from)
}

/// Seconds since 1970, as the agent sees them.
fn agent_clock(agent: &Agent) -> Option<i64> {
    let answer = agent.call("supervisor.getAllProcessInfo", "")?;
    let (_, rest) = answer.split_once("<name>now</name>")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit());
    // `<i4>` has a digit of its own.
    digits
        .filter(|digits| digits.len() > 8)
        .find_map(|digits| digits.parse().ok())
}

/// The same, as they are.
fn own_clock() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(now.as_secs()).expect("seconds")
}

/// The most starts there can be in this time of one that ends at once: delays double from 1 s, less a fifth.
fn most_starts(elapsed: Duration) -> usize {
    let mut delays = (0..).map(|n| Duration::from_millis(800 << n.min(6)));
    let mut sum = Duration::ZERO;
    1 + std::iter::from_fn(|| {
        sum += delays.next()?;
        (sum <= elapsed).then_some(())
    })
    .count()
}

#[test]
fn a_clock_that_jumps_by_hours_moves_nothing() {
    let name = "a_clock_that_jumps_by_hours_moves_nothing";
    let Some(library) = library() else {
        return zhylon_tests::skip(name, "libfaketime is not installed");
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (clock, starts) = (dir.path().join("clock"), dir.path().join("starts"));
    let set = |shift: &str| {
        fs::write(dir.path().join("next"), format!("{shift}\n")).expect("the time");
        fs::rename(dir.path().join("next"), &clock).expect("the time");
    };
    set("+0");
    let steady = Daemon::new("sleep 1000");
    let fails = shell(&format!("echo x >> {}; exit 1", starts.display()));
    let told = dir.path().join("told");
    let script = format!(
        "trap \"echo > {}\" TERM; while :; do sleep 0.05; done",
        told.display()
    );
    let slow = shell(&script).with("stop_seconds", 3600);
    let mut agent = Agent::new(&built(), &[steady.clone(), fails.clone(), slow.clone()]);
    let preload = format!("LD_PRELOAD={}", library.display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", clock.display());
    agent = agent.wrapped(&[
        "env",
        &preload,
        &file,
        "FAKETIME_NO_CACHE=1",
        "DONT_FAKE_MONOTONIC=1",
    ]);
    let begun = Instant::now();
    agent.start();
    let [pid, stopping] = [&steady, &slow].map(|daemon| running(&agent, daemon));
    std::thread::scope(|scope| {
        // It answers when the daemon has stopped: at the test's end.
        scope.spawn(|| agent.call("supervisor.stopProcess", &slow.full_name()));
        eventually("it was told", || told.exists().then_some(()));
        let count = || {
            fs::read_to_string(&starts)
                .unwrap_or_default()
                .lines()
                .count()
        };
        const HOUR: i64 = 3600;
        for (shift, seconds) in [
            ("+2h", 2 * HOUR),
            ("-2h", -2 * HOUR),
            ("+0", 0),
            ("+40d", 40 * 24 * HOUR),
        ] {
            set(shift);
            let before = count();
            eventually("the agent sees the new time", || {
                (agent_clock(&agent)? - own_clock() - seconds)
                    .abs()
                    .lt(&HOUR)
                    .then_some(())
            });
            if before < 4 {
                eventually("a start that was due", || (count() > before).then_some(()));
            }
            let found = count();
            let most = most_starts(begun.elapsed());
            assert!(
                found <= most,
                "{shift}: {found} starts, at most {most} can be due"
            );
            assert!(lives(stopping), "{shift}: the grace is not over");
            let info = until(&agent, &steady, "it runs", |info| info.state == "RUNNING");
            assert_eq!(info.pid, pid, "{shift}");
        }
        let process = xtask::up::processes::Process::find(stopping).expect("it lives");
        process
            .signal(rustix::process::Signal::KILL)
            .expect("end it");
    });
}
