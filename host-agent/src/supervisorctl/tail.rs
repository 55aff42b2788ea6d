//! `tail`: the end of a log, or all that comes.

use std::sync::mpsc;
use std::thread;

use dxr::Value;

use super::calls::{CallError, Connection};
use super::{Session, Stop, exit, help};
use crate::socket::fault::Code;

/// Bytes shown unless told.
const BYTES: i32 = 1600;

/// Chunks read ahead of a slow terminal; then the server waits.
const CHUNKS_AHEAD: usize = 4;

/// What the reader of a followed log or the keyboard said.
enum Event {
    Chunk(Vec<u8>),
    End,
    Interrupted,
}

impl Session<'_> {
    pub(super) fn tail(&mut self, args: &[&str]) -> Result<(), Stop> {
        self.upcheck()?;
        if args.is_empty() {
            return self.tail_error("too few arguments", true);
        }
        if args.len() > 3 {
            return self.tail_error("too many arguments", true);
        }
        let (modifier, args) = match args {
            [first, rest @ ..] if first.starts_with('-') => (Some(&first[1..]), rest),
            _ => (None, args),
        };
        let (name, channel) = match args {
            [] => return self.tail_error("tail requires process name", false),
            [name] => (*name, "stdout".to_owned()),
            [name, .., channel] => (*name, channel.to_lowercase()),
        };
        if channel != "stdout" && channel != "stderr" {
            return self.tail_error(&format!("bad channel '{channel}'"), false);
        }
        match modifier {
            Some("f") => self.follow(&format!("/logtail/{name}/{channel}"), wait_for_interrupt),
            None => self.last_bytes(name, &channel, BYTES),
            Some(bytes) => match bytes.parse() {
                Ok(bytes) => self.last_bytes(name, &channel, bytes),
                Err(_) => self.tail_error(&format!("bad argument -{bytes}"), false),
            },
        }
    }

    fn last_bytes(&mut self, name: &str, channel: &str, bytes: i32) -> Result<(), Stop> {
        match self.fetch(name, channel, bytes) {
            Ok(mut log) => {
                log.push(b'\n');
                Ok(self.out.write_all(&log)?)
            }
            Err(error) => {
                let why = match error.code() {
                    Some(Code::NoFile) => "no log file",
                    Some(Code::Failed) => "unknown error reading log",
                    Some(Code::BadName) => "no such process name",
                    _ => return Err(error.into()),
                };
                self.exit = exit::GENERIC;
                self.say(&format!("{name}: ERROR ({why})"))
            }
        }
    }

    /// The bytes as they are from our server; the string of Supervisor's method from one that has no other.
    fn fetch(&mut self, name: &str, channel: &str, bytes: i32) -> Result<Vec<u8>, CallError> {
        let name = Value::String(name.to_owned());
        let method = if channel == "stdout" {
            let params = [name.clone(), Value::Integer(bytes)];
            match self.server.call("zhylon.readLog", &params) {
                Ok(Value::Base64(log)) => return Ok(log),
                Ok(other) => return Err(self.server.unexpected("zhylon.readLog", &other)),
                Err(error) if error.code() == Some(Code::UnknownMethod) => {}
                Err(error) => return Err(error),
            }
            "supervisor.readProcessStdoutLog"
        } else {
            "supervisor.readProcessStderrLog"
        };
        let offset = Value::Integer(bytes.saturating_neg());
        match self
            .server
            .call(method, &[name, offset, Value::Integer(0)])?
        {
            Value::String(log) => Ok(log.into_bytes()),
            other => Err(self.server.unexpected(method, &other)),
        }
    }

    /// Prints what comes until the log ends or `interrupted` returns true.
    pub(super) fn follow(&mut self, path: &str, interrupted: fn() -> bool) -> Result<(), Stop> {
        self.say("==> Press Ctrl-C to exit <==")?;
        let mut connection = self.server.connect()?;
        let head = connection.get(path)?;
        if head.status != 200 {
            let url = &connection.url;
            let status = head.status;
            return Ok(writeln!(
                self.err,
                "{url}{path} Cannot read, status code {status}"
            )?);
        }
        let (events, next) = mpsc::sync_channel(CHUNKS_AHEAD);
        let keyboard = events.clone();
        thread::spawn(move || read(connection, &events));
        thread::spawn(move || {
            if interrupted() {
                let _ = keyboard.send(Event::Interrupted);
            }
        });
        loop {
            match next.recv() {
                Ok(Event::Chunk(chunk)) => {
                    self.out.write_all(&chunk)?;
                    self.out.flush()?;
                }
                Ok(Event::Interrupted) => return self.say(""),
                Ok(Event::End) | Err(_) => return Ok(()),
            }
        }
    }

    fn tail_error(&mut self, why: &str, with_help: bool) -> Result<(), Stop> {
        self.exit = exit::GENERIC;
        self.say(&format!("Error: {why}"))?;
        if with_help {
            self.say(help::of("tail").unwrap_or_default())?;
        }
        Ok(())
    }
}

fn read(mut connection: Connection, events: &mpsc::SyncSender<Event>) {
    // A server that goes away ends it as the log's own end does; Supervisor's client says no more either.
    while let Ok(Some(chunk)) = connection.chunk() {
        if events.send(Event::Chunk(chunk)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::End);
}

/// Whether Ctrl-C was pressed; false if that can not be told, then it ends the program as it always does.
fn wait_for_interrupt() -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(tokio::signal::ctrl_c()).is_ok(),
        Err(_) => false,
    }
}
