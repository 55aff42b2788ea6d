//! `avail`, `reread`, `update`, `add`, `remove`: what Supervisor does with its configuration. Ours comes from Zhylon and is
//! carried out as it comes; where a real Supervisor is beside us these commands do their work there.

use dxr::Value;

use super::calls::{CallError, theirs};
use super::names::{Name, namespec, number, text};
use super::{Session, Stop, exit};
use crate::socket::fault::Code;

/// What `reloadConfig` answers three lists of.
const CHANGES: [&str; 3] = ["available", "changed", "disappeared"];

impl Session<'_> {
    pub(super) fn avail(&mut self, args: &[&str]) -> Result<(), Stop> {
        self.no_arguments("avail", args)?;
        let own = self.own_avail();
        self.settle(own)?;
        self.hand_on_if_answering("avail")
    }

    fn own_avail(&mut self) -> Result<(), Stop> {
        const METHOD: &str = "supervisor.getAllConfigInfo";
        let configs = match self.server.call_array(METHOD, &[]) {
            Ok(configs) => configs,
            Err(error) => return self.no_configuration(error),
        };
        for config in &configs {
            let name = namespec(text(config, "group"), text(config, "name"));
            let in_use = if is_true(config, "inuse") {
                "in use"
            } else {
                "avail"
            };
            let start = if is_true(config, "autostart") {
                "auto"
            } else {
                "manual"
            };
            let group = number(config, "group_prio");
            let process = number(config, "process_prio");
            self.say(&format!(
                "{name:<32} {in_use:<9} {start:<9} {group}:{process}"
            ))?;
        }
        Ok(())
    }

    pub(super) fn reread(&mut self, args: &[&str]) -> Result<(), Stop> {
        self.no_arguments("reread", args)?;
        let own = self.own_changes();
        let lines = match own {
            Ok(lines) => lines,
            Err(stop) => {
                self.settle(Err(stop))?;
                return self.hand_on_if_answering("reread");
            }
        };
        // Theirs says whether there is anything; that ours found nothing would only be in the way.
        if !lines.is_empty() {
            self.say(&lines.join("\n"))?;
        } else if self.beside.answering().is_none() {
            self.say("No config updates to processes")?;
        }
        self.hand_on_if_answering("reread")
    }

    fn own_changes(&mut self) -> Result<Vec<String>, Stop> {
        let mut lines = Vec::new();
        for (groups, what) in self.changes()?.into_iter().zip(CHANGES) {
            lines.extend(groups.into_iter().map(|group| format!("{group}: {what}")));
        }
        lines.sort();
        Ok(lines)
    }

    fn no_configuration<T>(&mut self, error: CallError) -> Result<T, Stop> {
        let text = match error {
            CallError::Fault {
                code: theirs::SHUTDOWN_STATE,
                ..
            } => "ERROR: supervisor shutting down".to_owned(),
            CallError::Fault {
                code: theirs::CANT_REREAD,
                text,
            } => format!("ERROR: {text}"),
            error => return Err(error.into()),
        };
        self.exit = exit::GENERIC;
        self.say(&text)?;
        Err(Stop::Said)
    }

    pub(super) fn update(&mut self, names: &[&str]) -> Result<(), Stop> {
        if names.is_empty() || names.contains(&"all") {
            let own = self.own_update(&[]);
            self.settle(own)?;
            return self.hand_on_if_answering("update");
        }
        self.share(&["update"], names, Self::own_update)
    }

    /// Nothing to do: the api-server's changes are carried out as they come. Names are checked as Supervisor does.
    fn own_update(&mut self, names: &[&str]) -> Result<(), Stop> {
        if self.changes()?.iter().any(|groups| !groups.is_empty()) {
            self.exit = exit::GENERIC;
            return self.say("ERROR: this is a Supervisor; update it with its own supervisorctl");
        }
        if names.is_empty() {
            return Ok(());
        }
        let infos = self.infos()?;
        for name in names.iter().map(|name| Name::parse(name)) {
            let means = |info: &Value| name.means(text(info, "group"), text(info, "name"));
            let known = name.is_group() && infos.iter().any(means)
                || infos.iter().any(|info| text(info, "group") == name.text);
            if !known {
                self.exit = exit::GENERIC;
                self.say(&format!("ERROR: no such group: {}", name.text))?;
            }
        }
        Ok(())
    }

    pub(super) fn add(&mut self, names: &[&str]) -> Result<(), Stop> {
        self.share(&["add"], names, |session, own| {
            session.each_group("supervisor.addProcessGroup", "added", own)
        })
    }

    pub(super) fn remove(&mut self, names: &[&str]) -> Result<(), Stop> {
        self.share(&["remove"], names, |session, own| {
            session.each_group("supervisor.removeProcessGroup", "removed", own)
        })
    }

    /// The agent refuses both in its own words, which say what to do instead.
    fn each_group(&mut self, method: &str, done: &str, names: &[&str]) -> Result<(), Stop> {
        for name in names {
            let error = match self
                .server
                .call(method, &[Value::String((*name).to_owned())])
            {
                Ok(_) => {
                    self.say(&format!("{name}: {done} process group"))?;
                    continue;
                }
                Err(error) => error,
            };
            let text = match error.number() {
                // Leaves the exit status as it is.
                Some(theirs::ALREADY_ADDED) => {
                    self.say("ERROR: process group already active")?;
                    continue;
                }
                Some(theirs::SHUTDOWN_STATE) => "ERROR: shutting down".to_owned(),
                Some(theirs::STILL_RUNNING) => {
                    format!("ERROR: process/group still running: {name}")
                }
                _ if error.code() == Some(Code::BadName) => {
                    format!("ERROR: no such process/group: {name}")
                }
                _ => return Err(error.into()),
            };
            self.exit = exit::GENERIC;
            self.say(&text)?;
        }
        Ok(())
    }

    fn hand_on_if_answering(&mut self, command: &str) -> Result<(), Stop> {
        match self.beside.answering() {
            Some(_) => self.hand_on(&[command]),
            None => Ok(()),
        }
    }

    /// Groups added, changed and removed, in the order of [`CHANGES`].
    fn changes(&mut self) -> Result<[Vec<String>; 3], Stop> {
        const METHOD: &str = "supervisor.reloadConfig";
        let mut answer = match self.server.call_array(METHOD, &[]) {
            Ok(answer) => answer,
            Err(error) => return self.no_configuration(error),
        };
        let groups = |list: &Value| match list {
            Value::Array(names) => names
                .iter()
                .filter_map(|name| match name {
                    Value::String(name) => Some(name.clone()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        match answer.pop() {
            Some(Value::Array(lists)) if lists.len() == 3 => {
                Ok([groups(&lists[0]), groups(&lists[1]), groups(&lists[2])])
            }
            other => {
                let other = other.unwrap_or(Value::Nil);
                Err(self.server.unexpected(METHOD, &other).into())
            }
        }
    }
}

fn is_true(value: &Value, member: &str) -> bool {
    match value {
        Value::Struct(members) => matches!(members.get(member), Some(Value::Boolean(true))),
        _ => false,
    }
}
