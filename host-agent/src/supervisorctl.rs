//! `supervisorctl`: the client of the local socket, with the texts, columns and exit codes of Supervisor's own 4.2.5.
//! Synchronous and small, since its whole life is a few milliseconds. Never reads standard input, never uses colour.

mod calls;
mod exit;
mod help;
mod inspect;
mod moves;
mod names;
mod options;
mod tail;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use self::calls::{CallError, Server};
use self::options::{Options, Parsed};

/// Runs the client. `args` are those after the program's name.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let socket = env::var_os("ZHYLON_SUPERVISOR_SOCKET");
    let mut out = io::stdout().lock();
    let mut err = io::stderr().lock();
    let status = run(args, socket, &mut out, &mut err);
    // A reader that went away (`| head -1`) is no failure of ours.
    let _ = out.flush();
    ExitCode::from(status)
}

/// Runs the client with these arguments and returns its exit status.
pub(crate) fn run(
    args: impl Iterator<Item = OsString>,
    socket: Option<OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let options = match options::parse(args, socket) {
        Ok(Parsed::Run(options)) => options,
        Ok(Parsed::Usage) => {
            let _ = out.write_all(help::USAGE.as_bytes());
            return exit::SUCCESS;
        }
        Err(refusal) => {
            let _ = writeln!(err, "Error: {refusal}\nFor help, use supervisorctl -h");
            return exit::INVALID_ARGS;
        }
    };
    let Options { line, sockets } = options;
    let mut session = Session {
        server: Server::new(sockets),
        out,
        err,
        exit: exit::SUCCESS,
    };
    match session.command(&line) {
        Ok(()) => session.exit,
        Err(Stop::Output) => exit::GENERIC,
        Err(Stop::Call(error)) => {
            let _ = writeln!(session.out, "error: {error}");
            exit::GENERIC
        }
        Err(Stop::Said) => session.exit,
    }
}

/// One run of the client.
struct Session<'a> {
    server: Server,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// What it will exit with; as in Supervisor the last failure decides.
    exit: u8,
}

/// Why a command goes no further.
enum Stop {
    /// Nobody reads what it prints.
    Output,
    /// A call failed in a way the command has no text for.
    Call(CallError),
    /// Everything is said, and the exit status set.
    Said,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Output
    }
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Session<'_> {
    /// Carries out one command line, split as Python's `cmd` does.
    fn command(&mut self, line: &str) -> Result<(), Stop> {
        let line = match line.trim().strip_prefix('?') {
            Some(topic) => format!("help {topic}"),
            None => line.trim().to_owned(),
        };
        let end = line
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(line.len());
        let (command, rest) = line.split_at(end);
        let args: Vec<&str> = rest.split_whitespace().collect();
        match command {
            "status" => self.status(&args),
            "start" => self.start(&args),
            "stop" => self.stop(&args),
            "restart" => self.restart(&args),
            "signal" => self.signal(&args),
            "pid" => self.pid(&args),
            "tail" => self.tail(&args),
            "version" => self.version(&args),
            "reread" => self.reread(&args),
            "update" => self.update(&args),
            "help" => self.help(&args),
            // The server says why not, and what to do instead.
            "shutdown" => self.refused("supervisor.shutdown", &[]),
            "reload" => self.refused("supervisor.restart", &[]),
            "add" => self.refused("supervisor.addProcessGroup", &args),
            "remove" => self.refused("supervisor.removeProcessGroup", &args),
            _ => {
                self.exit = exit::GENERIC;
                self.say(&format!("*** Unknown syntax: {line}"))
            }
        }
    }

    fn say(&mut self, line: &str) -> Result<(), Stop> {
        Ok(writeln!(self.out, "{line}")?)
    }

    /// The handshake of most commands: is there a server, and does it speak our version?
    fn upcheck(&mut self) -> Result<(), Stop> {
        let (text, status) = match self.server.call_text("supervisor.getVersion") {
            Ok(version) if version == "3.0" => return Ok(()),
            Ok(version) => (
                format!(
                    "Sorry, this version of supervisorctl expects to talk to a server with API \
                     version 3.0, but the remote version is {version}."
                ),
                exit::NOT_INSTALLED,
            ),
            Err(CallError::NoSocket(url)) => (format!("{url} no such file"), exit::NOT_RUNNING),
            Err(CallError::Refused(url)) => (
                format!("{url} refused connection"),
                exit::INSUFFICIENT_PRIVILEGES,
            ),
            Err(other) => return Err(other.into()),
        };
        self.exit = status;
        self.say(&text)?;
        Err(Stop::Said)
    }
}

#[cfg(test)]
mod tests;
