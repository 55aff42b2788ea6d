//! `supervisorctl`'s shell at a real terminal: editing, history, completion, Ctrl-C and Ctrl-D. The server is a real
//! `supervisord` whose program carries the name of a daemon of ours.
#![expect(
    clippy::unwrap_used,
    reason = "what is missing fails the test, and says so"
)]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PROMPT: &str = "supervisor> ";
/// Far more than anything here takes, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(120);
const DAEMON: &str = "daemon-web000000000000000";

/// Ends a child with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

fn supervisord(dir: &Path) -> (Ended, PathBuf) {
    let (socket, config) = (dir.join("socket"), dir.join("supervisord.conf"));
    let text = format!(
        "[unix_http_server]\nfile={}\n[supervisord]\nnodaemon=true\nlogfile={1}/log\npidfile={1}/pid\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
         [program:{DAEMON}]\nprocess_name=%(program_name)s_00\ncommand=sh -c 'echo hello; exec sleep 3600'\nstartsecs=0\n\
         stdout_logfile={1}/out\n",
        socket.display(),
        dir.display()
    );
    fs::write(&config, text).unwrap();
    let child = quiet(Command::new("/usr/bin/supervisord").arg("-c").arg(&config))
        .spawn()
        .unwrap();
    let server = Ended(child);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = client(&socket, &[]).arg("status").output().unwrap();
        if String::from_utf8_lossy(&status.stdout).contains("RUNNING") {
            return (server, socket);
        }
        assert!(Instant::now() < deadline, "{status:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn quiet(command: &mut Command) -> &mut Command {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null())
}

fn client(socket: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-agent"));
    command
        .arg("supervisorctl")
        .arg(format!("-sunix://{}", socket.display()))
        .args(options);
    command
}

/// A client at a terminal of its own.
struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    shown: Arc<Mutex<String>>,
    /// What of it was seen before the last keys.
    seen: usize,
}

impl Terminal {
    fn open(home: &Path, socket: &Path, options: &[&str]) -> Self {
        let client = client(socket, options);
        let words = std::iter::once(client.get_program()).chain(client.get_args());
        let line: Vec<String> = words
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        // util-linux' way to a terminal: what is written to it is typed, what it prints was shown.
        let mut child = Command::new("script")
            .args(["-qfec", &format!("exec {}", line.join(" ")), "/dev/null"])
            .env("TERM", "xterm")
            .env("HOME", home)
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (shown, mut out) = (
            Arc::new(Mutex::new(String::new())),
            child.stdout.take().unwrap(),
        );
        let screen = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]);
                screen.lock().unwrap().push_str(&text);
            }
        });
        let keys = child.stdin.take();
        Self {
            child,
            keys,
            shown,
            seen: 0,
        }
    }

    /// Types `keys` and waits until `expected` is shown after them.
    fn types(&mut self, keys: &str, expected: &str) {
        self.seen = self.shown.lock().unwrap().len();
        self.keys
            .as_mut()
            .unwrap()
            .write_all(keys.as_bytes())
            .unwrap();
        self.shows(expected);
    }

    /// Types a line and waits for what it comes to, and for the prompt after that. Keys that come before it find the
    /// terminal as the command had it, where Ctrl-D is no key.
    fn asks(&mut self, keys: &str, expected: &str) {
        self.types(keys, expected);
        self.shows_all(&[expected, PROMPT]);
    }

    fn shows(&self, expected: &str) {
        self.shows_all(&[expected]);
    }

    /// Waits until all of it is shown, one after the other.
    fn shows_all(&self, expected: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown.lock().unwrap()[self.seen..].to_owned();
            let mut rest = Some(&*shown);
            for expected in expected {
                rest = rest
                    .and_then(|rest| rest.split_once(expected))
                    .map(|(_, rest)| rest);
            }
            if rest.is_some() {
                return;
            }
            assert!(Instant::now() < deadline, "no {expected:?} in {shown:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ends(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn is_there(program: &str, test: &str) -> bool {
    let there = Path::new(program).exists();
    if !there {
        let text = format!("\nSKIPPED {test}: {program} is not installed\n");
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
    there
}

#[test]
fn a_person_at_the_shell() {
    for program in ["/usr/bin/supervisord", "/usr/bin/script"] {
        if !is_there(program, "a_person_at_the_shell") {
            return;
        }
    }
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_server, socket) = supervisord(dir.path());
    let history = dir.path().join("history");
    fs::write(&history, "pid\n").unwrap();
    let with_history = ["-r", history.to_str().unwrap()];

    let mut shell = Terminal::open(home.path(), &socket, &with_history);
    shell.shows_all(&["RUNNING", PROMPT]);
    shell.types("vers\t", "version ");
    shell.asks("\r", "4.2.5");
    // Blank, and nothing of the last one happens again.
    shell.types("\r", PROMPT);
    shell.types("statu\t", "status ");
    shell.types("daemon-h:\t", "daemon-h:web000000000000000:");
    shell.types("d\t", &format!("daemon-h:web000000000000000:{DAEMON}_00 "));
    // Our client knows the spelling that Supervisor's does not.
    shell.asks("\r", "RUNNING   pid");
    shell.types("pid daemon-w\t", &format!("pid {DAEMON}:"));
    shell.types("d\t\x03", "\n");
    assert_eq!(shell.ends(), Some(0));
    assert_eq!(
        fs::read_to_string(&history).unwrap(),
        format!("pid\nversion \nstatus daemon-h:web000000000000000:{DAEMON}_00 \n")
    );

    // Arrow up: this shell's lines, then those of the last.
    let mut shell = Terminal::open(home.path(), &socket, &with_history);
    shell.shows(PROMPT);
    shell.types(
        "\x1b[A",
        &format!("status daemon-h:web000000000000000:{DAEMON}_00 "),
    );
    shell.types("\x1b[A", "version ");
    shell.asks("\r", "4.2.5");
    // Ctrl-C ends what follows a log and not the shell; at the prompt it does.
    shell.types(
        &format!("tail -f {DAEMON}:{DAEMON}_00\r"),
        "==> Press Ctrl-C to exit <==",
    );
    shell.shows("hello\r\n");
    shell.types("\x03", PROMPT);
    shell.types("\x1b[A\x1b[A", "version ");
    shell.asks("\r", "4.2.5");
    shell.types("\x04", "\n");
    assert_eq!(shell.ends(), Some(0));

    // Without -r nothing is written anywhere.
    let mut shell = Terminal::open(home.path(), &socket, &[]);
    shell.shows(PROMPT);
    shell.asks("version\r", "4.2.5");
    shell.types("quit\r", "\n");
    assert_eq!(shell.ends(), Some(0));
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

#[test]
fn no_terminal_no_escape_sequences() {
    if !is_there("/usr/bin/supervisord", "no_terminal_no_escape_sequences") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (_server, socket) = supervisord(dir.path());
    let mut child = client(&socket, &[])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"version\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.ends_with("supervisor> 4.2.5\nsupervisor> \n"),
        "{shown:?}"
    );
    assert!(!shown.contains('\x1b'), "{shown:?}");
    assert_eq!(output.status.code(), Some(0));
}
