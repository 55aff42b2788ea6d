//! Many peers of many users at the real listener. Threads take the uids: without root there is only one.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use zhylon_shared::state::InstanceState::Running;

use super::clients::Raw;
use super::fake::own_uid;
use super::served::Served;

const VERSION: &str = "<methodCall><methodName>supervisor.getVersion</methodName></methodCall>";
const LOGTAIL: &[u8] = b"GET /logtail/daemon-web000000000000000 HTTP/1.1\r\nHost: x\r\n\r\n";
const FIRST_UID: u32 = 61_000;
/// Hostile requests in all, and users that send them.
const REQUESTS: u32 = 10_000;
const USERS: u32 = 20;
/// How long root may have to wait among them: one or two slow cores, twenty hostile threads.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set in the process that measures itself.
const ALONE: &str = "ZHYLON_TEST_ALONE";
/// How much this process may grow meanwhile: 128 connections of others, each with its largest request and room for an answer.
const GROWTH_MAX: u64 = 64 << 20;

fn needs_root(test: &str) -> bool {
    if own_uid() == 0 {
        return false;
    }
    let said = format!("\nSKIPPED {test}: needs root, to be many users\n");
    let _ = std::io::Write::write_all(&mut std::io::stdout(), said.as_bytes());
    true
}

/// A server that every user can reach.
fn open_to_all() -> Served {
    let served = Served::start();
    for (path, mode) in [(served.dir.path(), 0o755), (&*served.socket, 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    served
}

/// Does something in a thread of its own, as this user.
fn as_user<T: Send + 'static>(
    uid: u32,
    act: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || {
        let uid = Uid::from_raw(uid);
        set_thread_res_uid(uid, uid, uid).unwrap();
        act()
    })
}

/// How many of so many connections of a user are served; they stay open.
fn occupy(socket: &Path, uid: u32, wanted: usize) -> (usize, Vec<UnixStream>) {
    let socket = socket.to_owned();
    as_user(uid, move || {
        let mut open = Vec::new();
        for _ in 0..wanted {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(120)))
                .unwrap();
            // The server may hang up on it at once.
            let _ = stream.write_all(b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n");
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            if status.ends_with(b"404") {
                open.push(stream);
            } else {
                assert!(status.ends_with(b"503"), "{status:?}");
            }
        }
        (open.len(), open)
    })
    .join()
    .unwrap()
}

#[test]
fn each_user_has_eight_connections_and_root_keeps_eight() {
    if needs_root("each_user_has_eight_connections_and_root_keeps_eight") {
        return;
    }
    let served = open_to_all();
    let mut open = Vec::new();
    for user in 0..16 {
        let (served_now, streams) = occupy(&served.socket, FIRST_UID + user, 10);
        assert_eq!(served_now, 8, "user {user}");
        open.push(streams);
    }
    // All places of others are taken; root's are not.
    assert_eq!(occupy(&served.socket, FIRST_UID + 16, 2).0, 0);
    let (roots, kept) = occupy(&served.socket, 0, 10);
    assert_eq!(roots, 8);
    drop(kept);
    // What ends makes room for somebody else.
    open.pop();
    let deadline = Instant::now() + Duration::from_secs(120);
    while occupy(&served.socket, FIRST_UID + 17, 1).0 == 0 {
        assert!(Instant::now() < deadline, "no place is free again");
    }
}

/// One user's part: every kind of bad manners in turn.
struct Hostile {
    socket: PathBuf,
    dice: u64,
    /// Connections that stay open, or half open, as long as the server lets them.
    held: Vec<UnixStream>,
}

impl Hostile {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % sides
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.roll(most);
        (0..length).map(|_| self.roll(256) as u8).collect()
    }

    fn post(&self, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    }

    fn request(&mut self, kind: u32) -> Vec<u8> {
        match kind {
            0 => self.bytes(4096),
            1 => {
                let mut mutated = self.post(VERSION.as_bytes());
                for _ in 0..=self.roll(4) {
                    let at = self.roll(mutated.len() as u64) as usize;
                    mutated[at] = self.roll(256) as u8;
                }
                mutated
            }
            2 => self.post(&b"<methodCall><methodName>x</methodName><params>".iter().copied()
                .chain(b"<param><value><array><data>".repeat(2000)).collect::<Vec<_>>()),
            3 => b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n<methodCall>".to_vec(),
            4 => b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nxxxx".to_vec(),
            5 => {
                let mut big = self.bytes(1);
                big.resize(64 * 1024, b'<');
                self.post(&big)
            }
            // Many large answers at once, to somebody who does not read.
            6 => self.post(VERSION.as_bytes()).repeat(500),
            7 => LOGTAIL.to_vec(),
            // Slow: a head that does not end.
            8 => b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nLong: ".to_vec(),
            _ => [b"GET /".as_slice(), &vec![b'x'; 30_000], b" HTTP/1.1\r\n\r\n"].concat(),
        }
    }

    /// Sends one, and treats the connection badly.
    fn send(&mut self, kind: u32) {
        let request = self.request(kind % 10);
        let Ok(mut stream) = UnixStream::connect(&self.socket) else {
            return;
        };
        // A server that does not read must not stop the test.
        stream
            .set_write_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        // It may have hung up already: that is its right.
        let _ = stream.write_all(&request);
        match self.roll(4) {
            0 => drop(stream),
            1 => {
                let _ = stream.shutdown(Shutdown::Write);
                self.held.push(stream);
            }
            2 => {
                let _ = stream.shutdown(Shutdown::Read);
                self.held.push(stream);
            }
            _ => self.held.push(stream),
        }
        // Lets go of some, so that there is always room for the next.
        if self.held.len() > 6 {
            let at = self.roll(6) as usize;
            self.held.remove(at);
        }
    }
}

/// What this process has in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

#[test]
fn ten_thousand_hostile_requests_leave_root_answered() {
    if needs_root("ten_thousand_hostile_requests_leave_root_answered") {
        return;
    }
    // What other tests allocate meanwhile must not count.
    if std::env::var_os(ALONE).is_none() {
        let name = "socket::tests::crowd::ten_thousand_hostile_requests_leave_root_answered";
        let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
        let alone = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "");
        let output = alone.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        eprintln!("{}", said.replace("test result", "alone"));
        assert!(output.status.success() && said.contains("1 passed"));
        return;
    }
    let served = open_to_all();
    let id = served.fake.add("web", 1, Running);
    served.fake.edit(id, |one| {
        one.log = Some(vec![b'x'; 1 << 20]);
        one.entry.uid = Some(FIRST_UID);
    });
    let before = resident();
    static SENT: AtomicU32 = AtomicU32::new(0);
    static OVER: AtomicBool = AtomicBool::new(false);
    // Root has one connection all the time, and makes another again and again.
    let mut steady = Raw::open(&served.socket);
    let hostile: Vec<_> = (0..USERS)
        .map(|user| {
            let socket = served.socket.clone();
            as_user(FIRST_UID + user, move || {
                let dice = 0x9e37_79b9_7f4a_7c15 ^ u64::from(user + 1);
                let mut hostile = Hostile {
                    socket,
                    dice,
                    held: Vec::new(),
                };
                while SENT.fetch_add(1, Ordering::Relaxed) < REQUESTS {
                    let kind = SENT.load(Ordering::Relaxed);
                    hostile.send(kind);
                }
                // Until root has had its last word.
                while !OVER.load(Ordering::Relaxed) {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                hostile.held.len()
            })
        })
        .collect();
    let (mut answers, mut slowest, mut most) = (0, Duration::ZERO, before);
    while SENT.load(Ordering::Relaxed) < REQUESTS || answers < 50 {
        for raw in [&mut steady, &mut Raw::open(&served.socket)] {
            let begun = Instant::now();
            let (status, _, body) = raw.post(VERSION.as_bytes());
            assert!(status == 200 && body.contains("3.0"), "{status} {body}");
            slowest = slowest.max(begun.elapsed());
            answers += 1;
        }
        most = most.max(resident());
    }
    OVER.store(true, Ordering::Relaxed);
    let held: usize = hostile.into_iter().map(|one| one.join().unwrap()).sum();
    let grown = most.saturating_sub(before) >> 20;
    eprintln!(
        "{REQUESTS} hostile requests, {held} still held; {answers} answers to root, the slowest after {slowest:?}; {grown} MiB more"
    );
    assert!(slowest < PATIENCE, "root waited {slowest:?}");
    assert!(most - before < GROWTH_MAX, "{grown} MiB more");
}
