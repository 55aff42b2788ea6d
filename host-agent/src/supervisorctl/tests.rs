//! Our client where Debian's says something else, or nothing. Where both say the same: `socket/tests/golden.rs`.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zhylon_shared::state::InstanceState::{Backoff, Running, Stopped};

mod beside;
mod others;

use super::beside::Beside;
use super::calls::Server;
use super::interrupts::Interrupts;
use super::{Lines, Session};
use crate::socket::tests::clients::{ours, ours_raw};
use crate::socket::tests::served::Served;
use host_agent_engine::effect::CommandOutcome;
use host_agent_engine::input::Action;

const H: &str = "daemon-h:web000000000000000";
const BARE: &str = "daemon-web000000000000000";

fn said(served: &Served, args: &[&str]) -> (String, i32) {
    let said = ours(&served.socket, args);
    (said.out.replace("web000000000000000", "WEB"), said.code)
}

const BOTH_RESTARTED: &str = "daemon-WEB:daemon-WEB_00: stopped\ndaemon-WEB:daemon-WEB_01: stopped\ndaemon-WEB:daemon-WEB_00: started\ndaemon-WEB:daemon-WEB_01: started\n";

#[test]
fn restart_is_one_call_in_every_spelling() {
    let served = Served::start();
    served.fake.add("web", 2, Running);
    for name in [
        format!("{H}:*"),
        format!("{H}:"),
        H.into(),
        format!("{BARE}:*"),
        BARE.into(),
        "all".into(),
    ] {
        served.fake.world().asked.clear();
        assert_eq!(
            said(&served, &["restart", &name]),
            (BOTH_RESTARTED.into(), 0),
            "{name}"
        );
        let actions: Vec<Action> = served
            .fake
            .world()
            .asked
            .iter()
            .map(|one| one.0.clone())
            .collect();
        assert_eq!(actions, [Action::Restart], "{name}");
    }
    let one = format!("{H}:{BARE}_01");
    let text = "daemon-h:WEB:daemon-WEB_01: stopped\ndaemon-h:WEB:daemon-WEB_01: started\n";
    assert_eq!(said(&served, &["restart", &one]), (text.into(), 0));
}

#[test]
fn all_are_stopped_before_any_is_said_to_be_started() {
    let served = Served::start();
    served.fake.add("api", 1, Backoff);
    let web = served.fake.add("web", 1, Stopped);
    served
        .fake
        .edit(web, |one| one.fails = Some(CommandOutcome::SpawnError));
    let (text, code) = said(
        &served,
        &[
            "restart",
            H,
            "daemon-h:nope00000000000000:*",
            "daemon-api000000000000000:*",
        ],
    );
    assert_eq!(
        text,
        "daemon-h:nope00000000000000: ERROR (no such group)\n\
         daemon-api000000000000000:daemon-api000000000000000_00: stopped\n\
         daemon-WEB:daemon-WEB_00: ERROR (spawn error)\n\
         daemon-h:nope00000000000000: ERROR (no such group)\n\
         daemon-api000000000000000:daemon-api000000000000000_00: started\n"
    );
    assert_eq!(code, 2);
    assert_eq!(said(&served, &["restart", H]).1, 7);
}

#[test]
fn status_and_pid_know_both_spellings() {
    let served = Served::start();
    let id = served.fake.add("web", 2, Running);
    served.fake.add("api", 1, Running);
    let pids: Vec<String> = {
        let world = served.fake.world();
        let instances = &world.daemons[&id].entry.view.instances;
        instances.iter().map(|one| one.pid.to_string()).collect()
    };
    let (all, _) = said(&served, &["status", &format!("{BARE}:*")]);
    assert_eq!(all.lines().count(), 2);
    for name in [H.into(), format!("{H}:"), format!("{H}:*"), BARE.into()] {
        assert_eq!(
            said(&served, &["status", &name]),
            (all.clone(), 0),
            "{name}"
        );
        assert_eq!(
            said(&served, &["pid", &name]),
            (pids.join("\n") + "\n", 0),
            "{name}"
        );
    }
    let one = format!("{H}:{H}_01");
    let line = all.lines().nth(1).unwrap().to_owned() + "\n";
    assert_eq!(said(&served, &["status", &one]), (line, 0));
    assert_eq!(said(&served, &["pid", &one]), (format!("{}\n", pids[1]), 0));
    assert_eq!(
        said(&served, &["status", "daemon-h:nope00000000000000:*", "daemon-h:nope00000000000000"]),
        ("daemon-h:nope00000000000000: ERROR (no such group)\ndaemon-h:nope00000000000000: ERROR (no such process)\n".into(), 4)
    );
}

#[test]
fn tail_prints_the_very_bytes() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served
        .fake
        .edit(id, |one| one.log = Some(b"\xff\x1b[1mhello\r\n".to_vec()));
    let (bytes, code) = ours_raw(&served.socket, &["tail", &format!("{H}:*")]);
    assert_eq!(
        (bytes.as_slice(), code),
        (&b"\xff\x1b[1mhello\r\n\n"[..], 0)
    );
}

/// What a follower printed so far.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn shows(&self, expected: &[u8]) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while *self.0.lock().unwrap() != expected {
            let shown = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
            assert!(Instant::now() < deadline, "{shown}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A session over `socket` and the end that presses Ctrl-C.
fn session(socket: PathBuf, out: &mut dyn Write) -> (Session<'_>, UnixStream) {
    let (interrupts, told) = Interrupts::pair().unwrap();
    let session = Session {
        server: Server::new(vec![socket]),
        beside: Rc::new(Beside::new(None)),
        lines: Lines::new(std::io::pipe().unwrap().0.into()),
        terminal: false,
        to_terminal: false,
        interactive: false,
        history: None,
        interrupts: Some(interrupts),
        out,
        err: Box::leak(Box::new(io::sink())),
        exit: 0,
    };
    (session, told)
}

#[test]
fn a_log_is_followed_until_it_ends() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served
        .fake
        .edit(id, |one| one.log = Some(b"hello\n".to_vec()));
    let (screen, socket) = (Screen::default(), served.socket.clone());
    let mut out = screen.clone();
    let follower = std::thread::spawn(move || {
        let (mut session, _told) = session(socket, &mut out);
        let followed = session.follow(&format!("/logtail/{H}:*/stdout")).is_ok();
        (followed, session.exit)
    });
    screen.shows(b"==> Press Ctrl-C to exit <==\nhello\n");
    served
        .fake
        .edit(id, |one| one.log.as_mut().unwrap().extend(b"\xff\x1b[0m"));
    screen.shows(b"==> Press Ctrl-C to exit <==\nhello\n\xff\x1b[0m");
    drop(served);
    assert_eq!(follower.join().unwrap(), (true, 0));
}

#[test]
fn an_interrupt_ends_following() {
    let served = Served::start();
    let id = served.fake.add("web", 1, Running);
    served
        .fake
        .edit(id, |one| one.log = Some(b"hello\n".to_vec()));
    let (screen, socket) = (Screen::default(), served.socket.clone());
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut out = screen.clone();
    let follower = std::thread::spawn(move || {
        let (mut session, told) = session(socket, &mut out);
        sender.send(told).unwrap();
        let followed = session.follow(&format!("/logtail/{BARE}/stdout")).is_ok();
        (followed, session.exit)
    });
    screen.shows(b"==> Press Ctrl-C to exit <==\nhello\n");
    receiver.recv().unwrap().write_all(b"!").unwrap();
    assert_eq!(follower.join().unwrap(), (true, 0));
    screen.shows(b"==> Press Ctrl-C to exit <==\nhello\n\n");
}

#[test]
fn what_is_refused_is_said_in_words() {
    let served = Served::start();
    for (line, word) in [
        ("shutdown", "systemctl"),
        ("reload", "systemctl"),
        ("add x", "zhylonctl"),
        ("remove x", "zhylonctl"),
    ] {
        let (text, code) = said(&served, &[line]);
        assert!(
            text.starts_with("error: FAILED: ") && text.contains(word),
            "{text}"
        );
        assert_eq!(code, 1);
    }
    served.fake.add("web", 1, Running);
    served.fake.change(|world| world.shutting_down = true);
    let (text, code) = said(&served, &["restart", H]);
    assert_eq!(
        (text.as_str(), code),
        ("error: FAILED: the agent is shutting down\n", 1)
    );
}

#[test]
fn without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    let text = format!("unix://{} no such file\n", none.display());
    let check = |socket: &Path, line: &str, text: &str, code| {
        let said = ours(socket, &[line]);
        assert_eq!((said.out.as_str(), said.code), (text, code), "{line}");
    };
    for line in [
        "pid",
        "version",
        "start x",
        "stop x",
        "restart x",
        "tail x",
        "signal HUP x",
    ] {
        check(&none, line, &text, 7);
    }
    check(&none, "status", &text, 4);
    // A socket nobody listens at any more.
    let dead = dir.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let text = format!("unix://{} refused connection\n", dead.display());
    check(&dead, "pid", &text, 4);
    check(&dead, "status", &text, 4);
}

#[test]
fn garbage_from_a_server_is_an_error_and_no_panic() {
    use std::io::Read;
    let dir = tempfile::tempdir().unwrap();
    for (at, answer) in [
        &b""[..],
        b"hello\n",
        b"HTTP/1.1 500 Oops\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xff",
    ]
    .into_iter()
    .enumerate()
    {
        let socket = dir.path().join(at.to_string());
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            stream.write_all(answer).unwrap();
        });
        let said = ours(&socket, &["version"]);
        answering.join().unwrap();
        assert!(said.out.starts_with("error: unix://"), "{at}: {}", said.out);
        assert_eq!(said.code, 1);
    }
}

#[test]
fn another_version_is_not_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let answering = std::thread::spawn(move || {
        use std::io::Read;
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let body = "<methodResponse><params><param><value><string>4.0</string></value></param></params></methodResponse>";
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    });
    let said = ours(&socket, &["version"]);
    answering.join().unwrap();
    assert_eq!(
        said.out,
        "Sorry, this version of supervisorctl expects to talk to a server with API version 3.0, but the remote version is 4.0.\n"
    );
    assert_eq!(said.code, 5);
}

#[test]
fn options_that_are_asked_about_or_wrong() {
    let served = Served::start();
    let (text, code) = said(&served, &["-x"]);
    assert_eq!(
        (text.as_str(), code),
        (
            "Error: option -x not recognized\nFor help, use supervisorctl -h\n",
            2
        )
    );
    let (text, code) = said(&served, &["-h"]);
    assert!(text.starts_with("supervisorctl -- ") && code == 0, "{text}");
}
