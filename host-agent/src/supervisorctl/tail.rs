//! `tail` and `maintail`: the end of a log, or all that comes.

use dxr::Value;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::calls::{CallError, Connection};
use super::interrupts::Interrupts;
use super::{Session, Stop, exit, help};
use crate::socket::fault::Code;

/// Bytes shown unless told.
const BYTES: i32 = 1600;

/// Which log.
#[derive(Debug, Clone, Copy)]
enum Log<'a> {
    Process { name: &'a str, channel: &'a str },
    Main,
}

impl Log<'_> {
    /// What an error is told about.
    fn name(&self) -> &str {
        match self {
            Self::Process { name, .. } => name,
            Self::Main => "supervisord",
        }
    }
}

impl Session<'_> {
    pub(super) fn tail(&mut self, args: &[&str]) -> Result<(), Stop> {
        let named = args.iter().find(|arg| !arg.starts_with('-'));
        if named.is_some_and(|name| self.is_theirs(name)) {
            self.expect_interrupts()?;
            let done = self.hand_on(&[&["tail"], args].concat());
            self.forget_interrupts();
            return done;
        }
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
            Some("f") => self.follow(&format!("/logtail/{name}/{channel}")),
            modifier => {
                let channel = &channel;
                self.last_bytes(Log::Process { name, channel }, modifier)
            }
        }
    }

    pub(super) fn maintail(&mut self, args: &[&str]) -> Result<(), Stop> {
        self.upcheck()?;
        match args {
            [] => self.last_bytes(Log::Main, None),
            ["-f"] => self.follow("/mainlogtail"),
            [arg] => match arg.strip_prefix('-') {
                Some(bytes) => self.last_bytes(Log::Main, Some(bytes)),
                None => self.tail_error(&format!("bad argument {arg}"), false),
            },
            _ => {
                self.exit = exit::GENERIC;
                self.say("Error: too many arguments")?;
                self.say(help::of("maintail").unwrap_or_default())
            }
        }
    }

    fn last_bytes(&mut self, log: Log<'_>, bytes: Option<&str>) -> Result<(), Stop> {
        let bytes = match bytes.map(str::parse) {
            None => BYTES,
            Some(Ok(bytes)) => bytes,
            Some(Err(_)) => {
                let bytes = bytes.unwrap_or_default();
                return self.tail_error(&format!("bad argument -{bytes}"), false);
            }
        };
        match self.fetch(log, bytes) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                Ok(self.out.write_all(&self.shown(bytes))?)
            }
            Err(error) => {
                let why = match error.code() {
                    Some(Code::NoFile) => "no log file",
                    Some(Code::Failed) => "unknown error reading log",
                    Some(Code::BadName) => "no such process name",
                    _ => return Err(error.into()),
                };
                self.exit = exit::GENERIC;
                self.say(&format!("{}: ERROR ({why})", log.name()))
            }
        }
    }

    /// The bytes as they are from our server; the string of Supervisor's method from one that has no other.
    fn fetch(&mut self, log: Log<'_>, bytes: i32) -> Result<Vec<u8>, CallError> {
        let slice = [Value::Integer(bytes.saturating_neg()), Value::Integer(0)];
        let (method, name) = match log {
            Log::Main => ("supervisor.readLog", None),
            Log::Process { name, channel } => {
                let name = Value::String(name.to_owned());
                if channel != "stdout" {
                    ("supervisor.readProcessStderrLog", Some(name))
                } else {
                    let params = [name.clone(), Value::Integer(bytes)];
                    // Anything but `-BYTES` is the offset of Supervisor's method.
                    let called = (bytes > 0).then(|| self.server.call("zhylon.readLog", &params));
                    match called {
                        Some(Ok(Value::Base64(log))) => return Ok(log),
                        Some(Ok(other)) => {
                            return Err(self.server.unexpected("zhylon.readLog", &other));
                        }
                        Some(Err(error)) if error.code() != Some(Code::UnknownMethod) => {
                            return Err(error);
                        }
                        _ => ("supervisor.readProcessStdoutLog", Some(name)),
                    }
                }
            }
        };
        let params: Vec<Value> = name.into_iter().chain(slice).collect();
        match self.server.call(method, &params)? {
            Value::String(log) => Ok(log.into_bytes()),
            other => Err(self.server.unexpected(method, &other)),
        }
    }

    /// Prints what comes until the log ends or Ctrl-C.
    pub(super) fn follow(&mut self, path: &str) -> Result<(), Stop> {
        self.say("==> Press Ctrl-C to exit <==")?;
        let Some(mut connection) = self.log_stream(path)? else {
            return Ok(());
        };
        self.expect_interrupts()?;
        let followed = self.follow_on(&mut connection);
        self.forget_interrupts();
        followed
    }

    fn follow_on(&mut self, connection: &mut Connection) -> Result<(), Stop> {
        loop {
            let Some(interrupts) = &self.interrupts else {
                return Ok(());
            };
            let mut waited_for = [
                PollFd::new(interrupts, PollFlags::IN),
                PollFd::new(connection, PollFlags::IN),
            ];
            if !connection.is_buffered() {
                wait(&mut waited_for)?;
            }
            if !waited_for[0].revents().is_empty() {
                return self.say("");
            }
            if !self.print_chunk(connection)? {
                return Ok(());
            }
        }
    }

    /// Prints the next piece of a log; false at its end.
    pub(super) fn print_chunk(&mut self, connection: &mut Connection) -> Result<bool, Stop> {
        // A server that goes away ends it as the log's own end does; Supervisor's client says no more either.
        let Ok(Some(chunk)) = connection.chunk() else {
            return Ok(false);
        };
        let shown = self.shown(chunk);
        self.out.write_all(&shown)?;
        self.out.flush()?;
        Ok(true)
    }

    /// Log bytes as they are to a pipe or a file; to a terminal with control characters made visible: what a daemon writes
    /// must not steer the reader's terminal.
    fn shown(&self, log: Vec<u8>) -> Vec<u8> {
        match self.to_terminal {
            true => visible(&log),
            false => log,
        }
    }

    /// A connection on which a log comes; `None`, and a word about it, where there is none.
    pub(super) fn log_stream(&mut self, path: &str) -> Result<Option<Connection>, Stop> {
        self.out.flush()?;
        let mut connection = self.server.connect()?;
        let status = connection.get(path)?.status;
        if status == 200 {
            return Ok(Some(connection));
        }
        let url = &connection.url;
        writeln!(self.err, "{url}{path} Cannot read, status code {status}")?;
        Ok(None)
    }

    pub(super) fn expect_interrupts(&mut self) -> Result<(), Stop> {
        if self.interrupts.is_none() {
            let ended = if self.interactive {
                exit::SUCCESS
            } else {
                exit::INTERRUPTED
            };
            self.interrupts = Some(Interrupts::listen(ended.into())?);
        }
        if let Some(interrupts) = &self.interrupts {
            interrupts.expect();
        }
        Ok(())
    }

    pub(super) fn forget_interrupts(&mut self) {
        if let Some(interrupts) = &mut self.interrupts {
            interrupts.forget();
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

/// Waits until one of them has something to say.
pub(super) fn wait(waited_for: &mut [PollFd<'_>]) -> Result<(), Stop> {
    loop {
        match rustix::event::poll(waited_for, None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
}

/// Control characters as `\x1b`; line ends and tabs stay; C1 controls and what is not UTF-8 too.
fn visible(raw: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => shown.push(c as u8),
                c if c.is_control() => shown.extend(format!("\\x{:02x}", u32::from(c)).bytes()),
                c => shown.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            shown.extend(format!("\\x{byte:02x}").bytes());
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn no_escape_of_a_daemon_reaches_a_terminal() {
        let shown = visible("ä\x1b]0;x\x07\tb\r\n\u{9b}".as_bytes());
        assert_eq!(
            String::from_utf8(shown).unwrap(),
            "ä\\x1b]0;x\\x07\tb\\x0d\n\\x9b"
        );
        for byte in 0..=255u8 {
            let harmless = |b: &u8| *b == b'\n' || *b == b'\t' || (*b >= 0x20 && *b != 0x7f);
            assert!(visible(&[byte]).iter().all(harmless), "{byte}");
        }
    }
}
