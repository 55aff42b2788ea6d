//! `supervisorctl`: the client of the local socket, with the texts, columns and exit codes of Supervisor's own 4.2.5, and
//! a window to a real Supervisor beside us. Synchronous and small, since its whole life is a few milliseconds. Never uses
//! colour; reads standard input only as a shell and for `fg`.

mod beside;
mod calls;
mod clear;
mod complete;
mod config;
mod editor;
mod exit;
mod fg;
mod groups;
mod help;
mod inspect;
mod interrupts;
mod lines;
mod moves;
mod names;
mod options;
mod power;
mod real;
mod shell;
mod table;
mod tail;

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use self::beside::Beside;
use self::calls::{CallError, Server};
use self::interrupts::Interrupts;
pub(crate) use self::lines::Lines;
use self::options::Parsed;
pub(crate) use self::real::{Place, Reach, beside};

/// Where a run of the client happens.
pub(crate) struct Surroundings<'a> {
    /// `ZHYLON_SUPERVISOR_SOCKET`.
    pub(crate) socket: Option<OsString>,
    /// Where a real Supervisor would be; `None` if there is none to be looked for. No option and no variable says it:
    /// what is named here runs with the caller's rights, under sudo with root's.
    pub(crate) place: Option<Place>,
    /// Root is not who called, but whom sudo made of somebody.
    pub(crate) through_sudo: bool,
    pub(crate) lines: Lines,
    /// Whether a person sits there.
    pub(crate) terminal: bool,
    /// Whether `out` is a terminal.
    pub(crate) to_terminal: bool,
    pub(crate) out: &'a mut dyn Write,
    pub(crate) err: &'a mut dyn Write,
}

/// Runs the client. `args` are those after the program's name.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let lines = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(stdin) => Lines::new(stdin),
        Err(_) => return ExitCode::from(exit::GENERIC),
    };
    let handed_on = env::var_os(real::HANDED_ON).is_some();
    // Line by line: a stop may take as long as its daemon's grace, and the next one is told when it is done.
    let mut out = io::stdout().lock();
    let status = run(
        args,
        Surroundings {
            socket: env::var_os("ZHYLON_SUPERVISOR_SOCKET"),
            place: (!handed_on).then(Place::of_this_host),
            through_sudo: rustix::process::geteuid().is_root() && env::var_os("SUDO_UID").is_some(),
            lines,
            terminal: io::stdin().is_terminal() && io::stdout().is_terminal(),
            to_terminal: io::stdout().is_terminal(),
            out: &mut out,
            err: &mut io::stderr().lock(),
        },
    );
    // A reader that went away (`| head -1`) is no failure of ours.
    let _ = out.flush();
    ExitCode::from(status)
}

/// Runs the client with these arguments and returns its exit status.
pub(crate) fn run(args: impl Iterator<Item = OsString>, around: Surroundings<'_>) -> u8 {
    let Surroundings { out, err, .. } = around;
    let options = match options::parse(args, around.socket) {
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
    let place = around.place.filter(|_| !options.named);
    let server = Server::new(options.sockets);
    let judge = around.through_sudo.then(|| server.again());
    let mut session = Session {
        server,
        beside: Rc::new(Beside::new(place).judged_by(judge)),
        lines: around.lines,
        terminal: around.terminal,
        to_terminal: around.to_terminal,
        interactive: options.interactive,
        history: options.history,
        interrupts: None,
        out,
        err,
        exit: exit::SUCCESS,
    };
    let Some(line) = options.line else {
        let done = session.shell();
        // Whatever its commands came to: Supervisor's shell has no other.
        return match session.settle(done) {
            Ok(()) => exit::SUCCESS,
            Err(_) => exit::GENERIC,
        };
    };
    let done = session.command(&line);
    match session.settle(done) {
        Ok(()) | Err(Stop::Quit) => session.exit,
        Err(_) => exit::GENERIC,
    }
}

/// One run of the client.
struct Session<'a> {
    server: Server,
    beside: Rc<Beside>,
    lines: Lines,
    terminal: bool,
    to_terminal: bool,
    /// Whether a person is to be asked before what can not be undone.
    interactive: bool,
    history: Option<PathBuf>,
    interrupts: Option<Interrupts>,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// What it will exit with; as in Supervisor the last failure decides.
    exit: u8,
}

/// Why a command goes no further.
enum Stop {
    /// Nobody reads what it prints, or standard input can not be read.
    Output,
    /// A call failed in a way the command has no text for.
    Call(CallError),
    /// Everything is said, and the exit status set.
    Said,
    /// Somebody wants to leave.
    Quit,
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
            "add" => self.add(&args),
            "avail" => self.avail(&args),
            "clear" => self.clear(&args),
            "fg" => self.fg(&args),
            "help" => self.help(&args),
            "maintail" => self.maintail(&args),
            "open" => self.open(&args),
            "pid" => self.pid(&args),
            "reload" => self.reload(&args),
            "remove" => self.remove(&args),
            "reread" => self.reread(&args),
            "restart" => self.restart(&args),
            "shutdown" => self.shutdown(&args),
            "signal" => self.signal(&args),
            "start" => self.start(&args),
            "status" => self.status(&args),
            "stop" => self.stop(&args),
            "tail" => self.tail(&args),
            "update" => self.update(&args),
            "version" => self.version(&args),
            "EOF" | "exit" | "quit" => {
                self.say("")?;
                Err(Stop::Quit)
            }
            _ if line.is_empty() => Ok(()),
            _ => {
                self.exit = exit::GENERIC;
                self.say(&format!("*** Unknown syntax: {line}"))
            }
        }
    }

    /// Says what no command has a text for. What remains an error ends everything.
    fn settle(&mut self, done: Result<(), Stop>) -> Result<(), Stop> {
        match done {
            Err(Stop::Call(error)) => {
                self.exit = exit::GENERIC;
                self.say(&format!("error: {error}"))
            }
            Err(Stop::Said) => Ok(()),
            done => done,
        }
    }

    fn no_arguments(&mut self, command: &str, args: &[&str]) -> Result<(), Stop> {
        if args.is_empty() {
            return Ok(());
        }
        self.exit = exit::GENERIC;
        self.say(&format!("Error: {command} accepts no arguments"))?;
        self.say(help::of(command).unwrap_or_default())?;
        Err(Stop::Said)
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
