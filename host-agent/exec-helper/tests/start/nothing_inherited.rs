//! Nothing of the agent's own state reaches the program: each test makes one part of this thread's state unusual, sees
//! that a plain child would have it, and that the helper's program does not.

use std::ffi::c_long;
use std::num::NonZeroU64;
use std::process::Command;

use rustix::process::{Resource, geteuid, getrlimit, setpriority_process};
use rustix::thread::{
    CapabilitySet, Gid, Uid, capabilities, configure_capability_in_ambient_set, set_capabilities,
    set_current_timer_slack, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::harness::{NOBODY, field, orders, run, skipped};

const PRIORITIES: &str =
    "cut -d' ' -f19,41 /proc/self/stat; cat /proc/self/timerslack_ns; ionice -p $$";

/// Niceness, ids, capabilities and the like are a thread's: what a test changes ends with it.
fn in_a_thread<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(test).join()).unwrap()
}

fn plain(shell: &str) -> String {
    let output = Command::new("sh").args(["-c", shell]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn tool(args: &[&str]) {
    // The shell is this thread's child; the tool acts on its parent's parent, by the thread's own number.
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let (name, rest) = args.split_first().unwrap();
    let done = Command::new(name).args(rest).arg(&thread).status().unwrap();
    assert!(done.success(), "{args:?}");
}

#[test]
fn scheduler_niceness_disk_priority_and_timer_slack_are_a_new_programs() {
    if skipped("scheduler_niceness_disk_priority_and_timer_slack_are_a_new_programs") {
        return;
    }
    let (before, after) = in_a_thread(|| {
        setpriority_process(None, -5).unwrap();
        set_current_timer_slack(NonZeroU64::new(7_000_000)).unwrap();
        tool(&["ionice", "-c", "3", "-p"]);
        tool(&["chrt", "--batch", "-p", "0"]);
        (
            plain(PRIORITIES),
            run(&orders(&["sh", "-c", PRIORITIES])).output,
        )
    });
    assert_eq!(before, "-5 3\n7000000\nidle\n", "the test itself");
    // Kernels differ in the number they show for "none".
    assert!(after.starts_with("0 0\n50000\nnone: "), "{after}");
}

#[test]
fn what_a_user_may_not_better_stops_no_start() {
    if skipped("what_a_user_may_not_better_stops_no_start") {
        return;
    }
    let (before, outcome) = in_a_thread(|| {
        setpriority_process(None, 7).unwrap();
        become_nobody();
        let before = plain(PRIORITIES);
        (before, run(&as_nobody(&["sh", "-c", PRIORITIES])))
    });
    assert_eq!(outcome.failure, None);
    // The scheduler is that of whoever runs the tests.
    let own = before.split_once('\n').unwrap().0;
    assert!(own.starts_with("7 "), "the test itself: {own}");
    assert!(
        outcome.output.starts_with(&format!("{own}\n50000\n")),
        "{}",
        outcome.output
    );
}

#[test]
fn the_agents_out_of_memory_score_is_its_own() {
    let score = "/proc/self/oom_score_adj";
    let own = std::fs::read_to_string(score).unwrap();
    // Of the whole process, but raised only, and nothing else here looks at it.
    std::fs::write(score, "321").unwrap();
    let before = plain("cat /proc/self/oom_score_adj");
    let after = run(&orders(&["cat", score])).output;
    std::fs::write(score, own.trim()).unwrap();
    assert_eq!((before.as_str(), after.as_str()), ("321\n", "0\n"));
}

#[test]
fn no_capability_of_the_agent_is_handed_on() {
    if skipped("no_capability_of_the_agent_is_handed_on") {
        return;
    }
    let mut status = orders(&["cat", "/proc/self/status"]);
    (status.uid, status.gid, status.groups) = (NOBODY, NOBODY, vec![]);
    let mut root = orders(&["cat", "/proc/self/status"]);
    (root.uid, root.gid, root.groups) = (0, 0, vec![]);
    let (before, user, root) = in_a_thread(|| {
        give_on(CapabilitySet::NET_BIND_SERVICE);
        (
            plain("cat /proc/self/status"),
            run(&status).output,
            run(&root).output,
        )
    });
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(
            field(&before, set),
            ["0000000000000400"],
            "the test itself: {set}"
        );
        assert_eq!(field(&user, set), ["0000000000000000"], "{set}");
        assert_eq!(field(&root, set), ["0000000000000000"], "{set}");
    }
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(field(&user, set), ["0000000000000000"], "{set}");
    }
}

#[test]
fn nor_is_one_of_an_agent_without_root() {
    if skipped("nor_is_one_of_an_agent_without_root") {
        return;
    }
    let (before, after) = in_a_thread(|| {
        set_keep_capabilities(true).unwrap();
        become_nobody();
        give_on(CapabilitySet::NET_BIND_SERVICE);
        let after = run(&as_nobody(&["cat", "/proc/self/status"]));
        assert_eq!(after.failure, None);
        (plain("cat /proc/self/status"), after.output)
    });
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_ne!(
            field(&before, set),
            ["0000000000000000"],
            "the test itself: {set}"
        );
        assert_eq!(field(&after, set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field(&after, "Uid"), ["65534"; 4]);
}

#[test]
fn the_session_keyring_is_its_own() {
    // KEYCTL_GET_KEYRING_ID of the session keyring, without making one.
    let number = |arch| match arch {
        "x86_64" => Some(250),
        "aarch64" => Some(219),
        _ => None,
    };
    let Some(keyctl) = number(std::env::consts::ARCH) else {
        return crate::harness::skip("the_session_keyring_is_its_own", "unknown architecture");
    };
    let ask = format!("import ctypes; print(ctypes.CDLL(None).syscall({keyctl}, 0, -3, 0))");
    let id = |text: String| text.trim().parse::<c_long>().unwrap();
    let python = format!("python3 -c '{ask}'");
    let (first, second) = in_a_thread(|| (id(plain(&python)), id(plain(&python))));
    if first < 0 {
        return crate::harness::skip("the_session_keyring_is_its_own", "no keyrings here");
    }
    assert_eq!(first, second, "the test itself: children share it");
    let path = std::env::var("PATH").unwrap();
    let mut orders = orders(&["sh", "-c", &python]);
    orders.env = crate::harness::strings(&[&format!("PATH={path}")]);
    let own = id(run(&orders).output);
    assert!(own > 0 && own != first, "{own} {first}");
}

#[test]
fn a_limit_above_the_hard_one_is_refused_only_without_the_right_to_raise_it() {
    let Some(hard) = getrlimit(Resource::Nofile).maximum else {
        return crate::harness::skip("a_limit_above_the_hard_one", "there is no hard limit");
    };
    let mut orders = orders(&["sh", "-c", "ulimit -Sn; ulimit -Hn"]);
    orders.nofile = Some((hard, hard));
    assert_eq!(run(&orders).output, format!("{hard}\n{hard}\n"));
    let may_raise = geteuid().is_root()
        && (capabilities(None).unwrap().effective).contains(CapabilitySet::SYS_RESOURCE);
    let most: u64 = plain("cat /proc/sys/fs/nr_open").trim().parse().unwrap();
    orders.nofile = Some((hard + 1, hard + 1));
    let outcome = run(&orders);
    if may_raise && hard < most {
        assert_eq!(outcome.output, format!("{0}\n{0}\n", hard + 1));
    } else {
        let refused = (
            host_agent_sys::orders::StartStep::Nofile,
            rustix::io::Errno::PERM.raw_os_error(),
        );
        assert_eq!(outcome.failure, Some(refused));
    }
}

fn as_nobody(argv: &[&str]) -> host_agent_sys::orders::Orders {
    let mut orders = orders(argv);
    (orders.uid, orders.gid, orders.groups) = (NOBODY, NOBODY, vec![]);
    orders
}

fn become_nobody() {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    set_thread_groups(&[]).unwrap();
    set_thread_res_gid(gid, gid, gid).unwrap();
    set_thread_res_uid(uid, uid, uid).unwrap();
}

/// Makes every program this thread starts keep a capability, whoever runs it.
fn give_on(capability: CapabilitySet) {
    let mut sets = capabilities(None).unwrap();
    sets.effective |= capability;
    sets.inheritable = capability;
    set_capabilities(None, sets).unwrap();
    configure_capability_in_ambient_set(capability, true).unwrap();
}
