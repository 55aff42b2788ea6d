//! Commands whose words are ours: what the agent has no such thing of, and the shell's own.

use zhylon_shared::state::InstanceState::{Running, Stopped};

use super::{BARE, H, said};
use crate::socket::tests::clients::{has_debians_client, ours, ours_with};
use crate::socket::tests::served::Served;
use crate::socket::tests::supervisord::Supervisord;

#[test]
fn a_log_is_cleared_in_both_spellings() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    let one = format!("{BARE}:{BARE}_00");
    for name in [format!("{H}:*"), H.into(), format!("{BARE}:*"), one] {
        served
            .fake
            .edit(id, |one| one.log = Some(b"hello\n".to_vec()));
        let shown = name.replace("web000000000000000", "WEB");
        assert_eq!(
            said(&served, &["clear", &name]),
            (format!("{shown}: cleared\n"), 0)
        );
        assert_eq!(said(&served, &["tail", &name]), ("\n".into(), 0));
    }
}

#[test]
fn the_foreground_shows_and_says_that_nothing_reads() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served
        .fake
        .edit(id, |one| one.log = Some(b"hello\n".to_vec()));
    let fg = |input| {
        let (out, code) = ours_with(&served.socket, None, input, &["fg", &format!("{H}:*")]);
        // What is shown until the first line is read depends on who is faster.
        (String::from_utf8(out).unwrap().replace("hello\n", ""), code)
    };
    let head = "==> Press Ctrl-C to exit <==\n(the output only: a Zhylon daemon's standard input is /dev/null)\n";
    assert_eq!(fg(""), (format!("{head}Exiting foreground\n"), 0));
    let (text, code) = fg("typed\nnever read\n");
    let refusal = text.strip_prefix(head).unwrap();
    assert!(refusal.starts_with("ERROR: FAILED: "), "{text}");
    assert_eq!(refusal.lines().nth(1), Some("Exiting foreground"));
    assert_eq!((refusal.lines().count(), code), (2, 0));
    served
        .fake
        .edit(id, |one| one.entry.view.instances[0].state = Stopped);
    assert_eq!(fg(""), ("ERROR: process not running\n".into(), 1));
}

#[test]
fn the_foreground_of_a_supervisor_passes_lines_on() {
    if !has_debians_client("the_foreground_of_a_supervisor_passes_lines_on") {
        return;
    }
    let programs = |dir: &std::path::Path| {
        format!(
            "[program:echo]\ncommand=sh -c 'read -r one; echo $one > {0}/one; read -r two; echo $two > {0}/two; exec sleep 3600'\nstartsecs=0\n",
            dir.display()
        )
    };
    let real = Supervisord::start(programs, |status| status.contains("RUNNING"));
    let (out, code) = ours_with(&real.socket(), None, "first\nsecond\n", &["fg", "echo"]);
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.ends_with("Exiting foreground\n") && code == 0,
        "{text}"
    );
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    let read = |name: &str| std::fs::read_to_string(real.dir.path().join(name));
    while read("two").ok().as_deref() != Some("second\n") {
        assert!(std::time::Instant::now() < deadline, "{:?}", read("two"));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(read("one").unwrap(), "first\n");
}

#[test]
fn what_is_configured_is_listed() {
    let served = Served::start();
    served.fake.add("web", 2, Running);
    let (text, code) = said(&served, &["avail"]);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!((lines.len(), code), (2, 0));
    assert_eq!(
        lines[1],
        ["daemon-WEB:daemon-WEB_01", "in", "use", "auto", "999:999"]
    );
}

#[test]
fn a_shell_turns_to_another_server_and_to_it_alone() {
    let (first, second) = (Served::start(), Served::start());
    first.fake.add("web", 1, Running);
    second.fake.add("api", 1, Stopped);
    let shell = |input: &str| {
        let (out, code) = ours_with(&first.socket, None, input, &[]);
        (String::from_utf8(out).unwrap(), code)
    };
    let (text, code) = shell(&format!("open {}\npid all\n", second.url()));
    let rest = text.split("supervisor> ").collect::<Vec<_>>();
    assert!(rest[0].starts_with("daemon-web"), "{text}");
    assert!(rest[1].starts_with("daemon-api"), "{text}");
    assert_eq!((rest[2], rest[3], code), ("0\n", "\n", 0));
    let (text, _) = shell("open http://localhost:9001\n");
    assert!(text.contains("Supervisor's own client"), "{text}");
}

#[test]
fn a_person_is_asked_before_a_supervisor_is_ended_and_not_before_a_refusal() {
    if !has_debians_client(
        "a_person_is_asked_before_a_supervisor_is_ended_and_not_before_a_refusal",
    ) {
        return;
    }
    let shell = |socket: &std::path::Path, input: &str| {
        let (out, _) = ours_with(socket, None, input, &[]);
        String::from_utf8(out).unwrap()
    };
    let real = Supervisord::start(|_| String::new(), |status| status.is_empty());
    let text = shell(&real.socket(), "shutdown\nno\nversion\n");
    assert!(
        text.ends_with("supervisor> Really shut the remote supervisord process down y/N? supervisor> 4.2.5\nsupervisor> \n"),
        "{text}"
    );
    let text = shell(&real.socket(), "reload\n\nversion\n");
    assert!(text.contains("process y/N? supervisor> 4.2.5"), "{text}");
    assert_eq!(ours(&real.socket(), &["shutdown"]).out, "Shut down\n");
    let text = shell(&Served::start().socket, "shutdown\n");
    assert!(!text.contains("y/N") && text.contains("FAILED: "), "{text}");
}
