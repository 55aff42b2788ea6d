//! `fg`: one process' output, and lines for its standard input. Our daemons read from `/dev/null`: their output is shown,
//! a line is refused by the server in its own words.

use dxr::Value;
use rustix::event::{PollFd, PollFlags};

use super::calls::{CallError, Connection};
use super::names::{Name, text};
use super::tail::wait;
use super::{Session, Stop, exit, help};
use crate::socket::fault::Code;

/// What one round of waiting found.
enum Heard {
    Line(String),
    /// Ctrl-C or the end of input.
    Leave,
    Nothing,
}

impl Session<'_> {
    pub(super) fn fg(&mut self, args: &[&str]) -> Result<(), Stop> {
        if let [name] = args
            && self.is_theirs(name)
        {
            self.expect_interrupts()?;
            // The one command that reads: what is typed is meant for the program.
            let stdin = self.lines.stdio()?;
            let done = self.hand_on_with(&["fg", name], stdin);
            self.forget_interrupts();
            return done;
        }
        self.upcheck()?;
        let refusal = match args {
            [_] => None,
            [] => Some("ERROR: no process name supplied"),
            _ => Some("ERROR: too many process names supplied"),
        };
        if let Some(refusal) = refusal {
            self.exit = exit::GENERIC;
            self.say(refusal)?;
            if args.is_empty() {
                self.say(help::of("fg").unwrap_or_default())?;
            }
            return Ok(());
        }
        let name = args.first().copied().unwrap_or_default();
        match self.is_running(name) {
            Ok(true) => {}
            Ok(false) => {
                self.exit = exit::GENERIC;
                return self.say("ERROR: process not running");
            }
            Err(error) if error.code() == Some(Code::BadName) => {
                self.exit = exit::GENERIC;
                return self.say("ERROR: bad process name supplied");
            }
            Err(CallError::Fault { text, .. }) => return self.say(&format!("ERROR: {text}")),
            Err(error) => return Err(error.into()),
        }
        self.say("==> Press Ctrl-C to exit <==")?;
        let ours = Name::parse(name).is_ours();
        if ours {
            self.say("(the output only: a Zhylon daemon's standard input is /dev/null)")?;
        }
        let mut logs = Vec::new();
        // Ours writes both to one.
        for channel in if ours {
            &["stdout"][..]
        } else {
            &["stdout", "stderr"]
        } {
            logs.extend(self.log_stream(&format!("/logtail/{name}/{channel}"))?);
        }
        self.expect_interrupts()?;
        let done = self.foreground(name, &mut logs);
        self.forget_interrupts();
        done?;
        self.say("Exiting foreground")
    }

    fn is_running(&mut self, name: &str) -> Result<bool, CallError> {
        let param = Value::String(name.to_owned());
        let info = self.server.call("supervisor.getProcessInfo", &[param])?;
        Ok(text(&info, "statename") == "RUNNING")
    }

    /// Until it is over; says why, unless somebody wanted out.
    fn foreground(&mut self, name: &str, logs: &mut Vec<Connection>) -> Result<(), Stop> {
        loop {
            let line = match self.hear(logs)? {
                Heard::Nothing => continue,
                Heard::Leave => return Ok(()),
                Heard::Line(line) => line,
            };
            let params = [
                Value::String(name.to_owned()),
                Value::String(format!("{line}\n")),
            ];
            match self.server.call("supervisor.sendProcessStdin", &params) {
                Ok(_) => {}
                Err(error) if error.code() == Some(Code::NotRunning) => {
                    return self.say("Process got killed");
                }
                Err(CallError::Fault { text, .. }) => return self.say(&format!("ERROR: {text}")),
                Err(error) => return Err(error.into()),
            }
            if !self.is_running(name)? {
                return self.say("Process got killed");
            }
        }
    }

    /// Waits for a key, a line or output; output is printed, and a log that ended is not waited for again.
    fn hear(&mut self, logs: &mut Vec<Connection>) -> Result<Heard, Stop> {
        let Some(interrupts) = &self.interrupts else {
            return Ok(Heard::Leave);
        };
        let mut ready: Vec<bool> = logs.iter().map(Connection::is_buffered).collect();
        let (mut left, mut typed) = (false, false);
        if !ready.contains(&true) {
            let mut waited_for = vec![
                PollFd::new(interrupts, PollFlags::IN),
                PollFd::new(&self.lines, PollFlags::IN),
            ];
            waited_for.extend(logs.iter().map(|log| PollFd::new(log, PollFlags::IN)));
            wait(&mut waited_for)?;
            let mut heard = waited_for.iter().map(|fd| !fd.revents().is_empty());
            left = heard.next() == Some(true);
            typed = heard.next() == Some(true);
            ready = heard.collect();
        }
        let mut ended = Vec::new();
        for (at, log) in logs.iter_mut().enumerate() {
            if ready.get(at) == Some(&true) && !self.print_chunk(log)? {
                ended.push(at);
            }
        }
        for at in ended.into_iter().rev() {
            logs.remove(at);
        }
        if left {
            return Ok(Heard::Leave);
        }
        if !typed {
            return Ok(Heard::Nothing);
        }
        Ok(match self.lines.next()? {
            Some(line) => Heard::Line(line),
            None => Heard::Leave,
        })
    }
}
