//! `start`, `stop`, `restart`, `signal`.

use dxr::Value;

use super::calls::CallError;
use super::names::{Name, namespec, number, text};
use super::{Session, Stop, exit, help};
use crate::socket::fault::Code;

/// What `start`, `stop` and `signal` differ in.
struct Move<'a> {
    process: &'a str,
    group: &'a str,
    all: &'a str,
    /// The parameter after the name.
    extra: &'a [Value],
    /// What is said when it went well.
    done: &'a str,
    /// The fault that leaves the exit status as it is.
    fine: Option<Code>,
    /// Exit status for a group that is not there.
    no_group: u8,
}

const START: Move<'static> = Move {
    process: "supervisor.startProcess",
    group: "supervisor.startProcessGroup",
    all: "supervisor.startAllProcesses",
    extra: &[],
    done: "started",
    fine: Some(Code::AlreadyStarted),
    no_group: exit::INVALID_ARGS,
};

const STOP: Move<'static> = Move {
    process: "supervisor.stopProcess",
    group: "supervisor.stopProcessGroup",
    all: "supervisor.stopAllProcesses",
    extra: &[],
    done: "stopped",
    fine: Some(Code::NotRunning),
    no_group: exit::GENERIC,
};

/// What a restart did to one name: the second half is told after everybody's first.
enum Restarted<'a> {
    /// By one call; these are its starts.
    AtOnce(Name<'a>, Vec<Value>),
    /// Not ours: it was stopped and is yet to be started.
    Stopped(Name<'a>),
    /// There is no such thing; both halves say so.
    Unknown(Name<'a>),
}

impl Session<'_> {
    pub(super) fn start(&mut self, names: &[&str]) -> Result<(), Stop> {
        if names.is_empty() {
            return self.no_name("start", exit::INVALID_ARGS);
        }
        self.share(&["start"], names, |session, own| {
            session.upcheck()?;
            session.all_or_each(&START, own)
        })
    }

    pub(super) fn stop(&mut self, names: &[&str]) -> Result<(), Stop> {
        if names.is_empty() {
            return self.no_name("stop", exit::GENERIC);
        }
        self.share(&["stop"], names, |session, own| {
            session.upcheck()?;
            session.all_or_each(&STOP, own)
        })
    }

    pub(super) fn signal(&mut self, args: &[&str]) -> Result<(), Stop> {
        let [signal, names @ ..] = args else {
            return self.no_signal();
        };
        if names.is_empty() {
            return self.no_signal();
        }
        let what = Move {
            process: "supervisor.signalProcess",
            group: "supervisor.signalProcessGroup",
            all: "supervisor.signalAllProcesses",
            extra: &[Value::String((*signal).to_owned())],
            done: "signalled",
            fine: None,
            no_group: exit::GENERIC,
        };
        self.share(&["signal", signal], names, |session, own| {
            session.upcheck()?;
            session.all_or_each(&what, own)
        })
    }

    pub(super) fn restart(&mut self, names: &[&str]) -> Result<(), Stop> {
        if names.is_empty() {
            return self.no_name("restart", exit::GENERIC);
        }
        self.share(&["restart"], names, Self::restart_own)
    }

    /// Our daemons are restarted by one call each, so that no client killed in between leaves one stopped; what is said
    /// is what a stop and a start would have said.
    fn restart_own(&mut self, names: &[&str]) -> Result<(), Stop> {
        self.upcheck()?;
        if names.contains(&"all") {
            return match self.restart_call("all") {
                Ok((stopped, started)) => {
                    self.results(&STOP, &stopped)?;
                    self.results(&START, &started)
                }
                Err(error) if error.code() == Some(Code::UnknownMethod) => {
                    self.all_or_each(&STOP, names)?;
                    self.all_or_each(&START, names)
                }
                Err(error) => Err(error.into()),
            };
        }
        let mut halves = Vec::with_capacity(names.len());
        for name in names.iter().map(|name| Name::parse(name)) {
            halves.push(self.restart_first_half(name)?);
        }
        for half in halves {
            match half {
                Restarted::AtOnce(name, started) if name.is_group() => {
                    self.results(&START, &started)?;
                }
                Restarted::AtOnce(name, started) => self.one_result(&START, name, &started)?,
                Restarted::Stopped(name) => self.one(&START, name)?,
                Restarted::Unknown(name) => self.unknown(&START, name)?,
            }
        }
        Ok(())
    }

    fn restart_first_half<'n>(&mut self, name: Name<'n>) -> Result<Restarted<'n>, Stop> {
        let called = name.is_ours().then(|| self.restart_call(name.text));
        match called {
            Some(Ok((stopped, started))) => {
                if name.is_group() {
                    self.results(&STOP, &stopped)?;
                } else if stopped.is_empty() {
                    self.line(&STOP, name.text, Code::NotRunning.number(), "")?;
                } else {
                    self.one_result(&STOP, name, &stopped)?;
                }
                Ok(Restarted::AtOnce(name, started))
            }
            Some(Err(error)) if error.code() == Some(Code::BadName) => {
                self.unknown(&STOP, name)?;
                Ok(Restarted::Unknown(name))
            }
            Some(Err(error)) if error.code() != Some(Code::UnknownMethod) => Err(error.into()),
            _ => {
                self.one(&STOP, name)?;
                Ok(Restarted::Stopped(name))
            }
        }
    }

    fn restart_call(&mut self, name: &str) -> Result<(Vec<Value>, Vec<Value>), CallError> {
        const METHOD: &str = "zhylon.restartGroup";
        let param = Value::String(name.to_owned());
        match self.server.call(METHOD, &[param])? {
            Value::Struct(mut halves) => {
                match (halves.remove("stopped"), halves.remove("started")) {
                    (Some(Value::Array(stopped)), Some(Value::Array(started))) => {
                        Ok((stopped, started))
                    }
                    _ => Err(self.server.unexpected(METHOD, &Value::Struct(halves))),
                }
            }
            other => Err(self.server.unexpected(METHOD, &other)),
        }
    }

    fn all_or_each(&mut self, what: &Move<'_>, names: &[&str]) -> Result<(), Stop> {
        if names.contains(&"all") {
            let results = self.server.call_array(what.all, what.extra)?;
            return self.results(what, &results);
        }
        for name in names {
            self.one(what, Name::parse(name))?;
        }
        Ok(())
    }

    fn one(&mut self, what: &Move<'_>, name: Name<'_>) -> Result<(), Stop> {
        let params = |name: &str| {
            let name = Value::String(name.to_owned());
            std::iter::once(name)
                .chain(what.extra.iter().cloned())
                .collect::<Vec<_>>()
        };
        if name.is_group() {
            return match self.server.call_array(what.group, &params(name.group)) {
                Ok(results) => self.results(what, &results),
                Err(error) if error.code() == Some(Code::BadName) => self.unknown(what, name),
                Err(error) => Err(error.into()),
            };
        }
        match self.server.call(what.process, &params(name.text)) {
            Ok(_) => self.say(&format!("{}: {}", name.text, what.done)),
            Err(CallError::Fault { code, text }) => self.line(what, name.text, code, &text),
            Err(error) => Err(error.into()),
        }
    }

    /// One line per result of a group.
    fn results(&mut self, what: &Move<'_>, results: &[Value]) -> Result<(), Stop> {
        for result in results {
            let name = namespec(text(result, "group"), text(result, "name"));
            let status = number(result, "status");
            self.line(what, &name, status, text(result, "description"))?;
        }
        Ok(())
    }

    /// The line of one process under the name it was typed.
    fn one_result(
        &mut self,
        what: &Move<'_>,
        name: Name<'_>,
        results: &[Value],
    ) -> Result<(), Stop> {
        for result in results {
            let status = number(result, "status");
            self.line(what, name.text, status, text(result, "description"))?;
        }
        Ok(())
    }

    /// Says what became of `name` and lets it decide the exit status.
    fn line(
        &mut self,
        what: &Move<'_>,
        name: &str,
        status: i32,
        description: &str,
    ) -> Result<(), Stop> {
        if let Some(exit) = exit::of_fault(status, what.fine) {
            self.exit = exit;
        }
        let error = match Code::from_number(status) {
            Some(Code::Success) => return self.say(&format!("{name}: {}", what.done)),
            // It says itself what it is about.
            Some(Code::Failed) => return self.say(description),
            Some(Code::BadName) => "no such process",
            Some(Code::BadSignal) => "bad signal name",
            Some(Code::NotRunning) => "not running",
            Some(Code::NoFile) => "no such file",
            Some(Code::NotExecutable) => "file is not executable",
            Some(Code::AlreadyStarted) => "already started",
            Some(Code::SpawnError) => "spawn error",
            Some(Code::AbnormalTermination) => "abnormal termination",
            _ => return self.say(&format!("{name}: ERROR ({description})")),
        };
        self.say(&format!("{name}: ERROR ({error})"))
    }

    fn unknown(&mut self, what: &Move<'_>, name: Name<'_>) -> Result<(), Stop> {
        if name.says_group() {
            self.exit = what.no_group;
            self.say(&format!("{}: ERROR (no such group)", name.group))
        } else {
            self.line(what, name.text, Code::BadName.number(), "")
        }
    }

    /// As in Supervisor a server is asked for before the names are missed.
    pub(super) fn no_name(&mut self, command: &str, exit: u8) -> Result<(), Stop> {
        self.upcheck()?;
        self.exit = exit;
        self.say(&format!("Error: {command} requires a process name"))?;
        self.say(help::of(command).unwrap_or_default())
    }

    fn no_signal(&mut self) -> Result<(), Stop> {
        self.upcheck()?;
        self.exit = exit::GENERIC;
        self.say("Error: signal requires a signal name and a process name")?;
        self.say(help::of("signal").unwrap_or_default())
    }
}
