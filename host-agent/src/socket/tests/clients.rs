//! Clients of the socket as tests drive them: Debian's, ours, and bare HTTP.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use dxr::{FaultResponse, MethodCall, MethodResponse, Value};

use crate::supervisorctl::{Lines, Place, Surroundings};

/// What a client printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) code: i32,
}

/// A program that turns a command line into [`Said`].
pub(crate) type Client = fn(&Path, &[&str]) -> Said;

/// A program that reads its command lines from standard input.
pub(crate) type Shell = fn(&Path, &str) -> Said;

/// Whether Debian's package is there; says which test goes without.
pub(crate) fn has_debians_client(test: &str) -> bool {
    let there = Path::new("/usr/bin/supervisorctl").exists();
    if !there {
        let _ = std::io::Write::write_all(&mut std::io::stdout(), format!("\nSKIPPED {test}: /usr/bin/supervisorctl (Debian's package supervisor) is not installed\n").as_bytes());
    }
    there
}

/// Debian's unmodified client, with a configuration that names only the socket.
pub(crate) fn debian(socket: &Path, args: &[&str]) -> Said {
    debian_command(socket, args, None)
}

/// Its shell, and what it reads.
pub(crate) fn debian_shell(socket: &Path, input: &str) -> Said {
    said(debians(socket).stdin(typed(input)))
}

pub(crate) fn debian_command(socket: &Path, args: &[&str], uid: Option<u32>) -> Said {
    let mut command = debians(socket);
    command.args(args).stdin(Stdio::null());
    if let Some(uid) = uid {
        std::os::unix::process::CommandExt::uid(&mut command, uid);
    }
    said(&mut command)
}

fn debians(socket: &Path) -> Command {
    let config = socket.with_extension("conf");
    let text = format!("[supervisorctl]\nserverurl=unix://{}\n", socket.display());
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("/usr/bin/supervisorctl");
    command.arg("-c").arg(&config);
    command
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        out: String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

/// Our own client, in this process.
pub(crate) fn ours(socket: &Path, args: &[&str]) -> Said {
    let (out, code) = ours_raw(socket, args);
    Said {
        out: String::from_utf8(out).unwrap(),
        code,
    }
}

pub(crate) fn ours_raw(socket: &Path, args: &[&str]) -> (Vec<u8>, i32) {
    ours_with(socket, None, "", args)
}

/// Our shell, and what it reads.
pub(crate) fn ours_shell(socket: &Path, input: &str) -> Said {
    let (out, code) = ours_with(socket, None, input, &[]);
    Said {
        out: String::from_utf8(out).unwrap(),
        code,
    }
}

/// The same with a real Supervisor looked for at `place` and `input` to read.
pub(crate) fn ours_with(
    socket: &Path,
    place: Option<Place>,
    input: &str,
    args: &[&str],
) -> (Vec<u8>, i32) {
    ours_called(socket, place, false, input, args)
}

/// The same as if sudo had made root of somebody.
pub(crate) fn ours_through_sudo(socket: &Path, place: Place, args: &[&str]) -> Said {
    let (out, code) = ours_called(socket, Some(place), true, "", args);
    Said {
        out: String::from_utf8(out).unwrap(),
        code,
    }
}

fn ours_called(
    socket: &Path,
    place: Option<Place>,
    through_sudo: bool,
    input: &str,
    args: &[&str],
) -> (Vec<u8>, i32) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let around = Surroundings {
        socket: Some(socket.into()),
        place,
        through_sudo,
        lines: Lines::new(typed(input).into()),
        terminal: false,
        to_terminal: false,
        out: &mut out,
        err: &mut err,
    };
    let code = crate::supervisorctl::run(args.iter().map(OsString::from), around);
    out.extend(err);
    (out, code.into())
}

fn typed(input: &str) -> File {
    let mut typed = tempfile::tempfile().unwrap();
    typed.write_all(input.as_bytes()).unwrap();
    typed.rewind().unwrap();
    typed
}

/// A bare connection.
pub(crate) struct Raw(BufReader<UnixStream>);

impl Raw {
    pub(crate) fn open(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // The server may have answered and closed in the middle of it.
        let _ = self.0.get_mut().write_all(bytes);
    }

    pub(crate) fn post(&mut self, body: &[u8]) -> (u16, Vec<String>, String) {
        let head = format!(
            "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(head.as_bytes());
        self.send(body);
        self.answer()
    }

    pub(crate) fn answer(&mut self) -> (u16, Vec<String>, String) {
        let (status, headers) = self.head();
        let length = headers
            .iter()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut answer = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut answer).unwrap();
        (status, headers, String::from_utf8(answer).unwrap())
    }

    pub(crate) fn head(&mut self) -> (u16, Vec<String>) {
        let first = self.line();
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let headers =
            std::iter::from_fn(|| Some(self.line().to_lowercase()).filter(|line| !line.is_empty()));
        (status, headers.collect())
    }

    pub(crate) fn chunk(&mut self) -> Vec<u8> {
        let size = usize::from_str_radix(&self.line(), 16).unwrap();
        let mut chunk = vec![0; size];
        self.0.read_exact(&mut chunk).unwrap();
        self.line();
        chunk
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits until the server closes.
    pub(crate) fn closed(&mut self) -> bool {
        match self.0.read_to_end(&mut Vec::new()) {
            Ok(_) => true,
            // With bytes of ours unread.
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// One call; a fault is its code and text.
pub(crate) fn call(socket: &Path, method: &str, params: &[Value]) -> Result<Value, (i32, String)> {
    let call = MethodCall {
        name: method.into(),
        params: params.to_vec(),
    };
    let (status, _, answer) = Raw::open(socket).post(call.to_xml().unwrap().as_bytes());
    assert_eq!(status, 200, "{answer}");
    match MethodResponse::from_xml(&answer) {
        Ok(response) => Ok(response.value),
        Err(_) => {
            let fault = FaultResponse::from_xml(&answer).unwrap().fault;
            Err((fault.code(), fault.string().to_owned()))
        }
    }
}

pub(crate) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// An array of results as (index, status, description).
pub(crate) fn structs(value: Value) -> Vec<(String, i32, String)> {
    let Value::Array(results) = value else {
        panic!("{value:?}");
    };
    let one = |value: Value| {
        let Value::Struct(members) = value else {
            panic!("{value:?}");
        };
        assert_eq!(members.len(), 4);
        match (
            &members["name"],
            &members["group"],
            &members["status"],
            &members["description"],
        ) {
            (
                Value::String(name),
                Value::String(group),
                Value::Integer(status),
                Value::String(text),
            ) => {
                assert_eq!(name.split_once('_').unwrap().0, group);
                (
                    name.split_once('_').unwrap().1.to_owned(),
                    *status,
                    text.clone(),
                )
            }
            other => panic!("{other:?}"),
        }
    };
    results.into_iter().map(one).collect()
}

pub(crate) fn ok(index: &str) -> (String, i32, String) {
    (index.to_owned(), 80, "OK".to_owned())
}
