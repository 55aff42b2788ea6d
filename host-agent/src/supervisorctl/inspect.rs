//! `status`, `pid`, `version`, `reread`, `update`, and what the agent refuses.

use dxr::Value;

use super::names::{Name, namespec, number, text};
use super::{Session, Stop, exit, help};
use crate::socket::fault::Code;

/// Narrowest column of names.
const NAME_WIDTH: usize = 30;

/// STOPPED, EXITED, FATAL, UNKNOWN.
const STOPPED_STATES: [i32; 4] = [0, 100, 200, 1000];

impl Session<'_> {
    pub(super) fn status(&mut self, names: &[&str]) -> Result<(), Stop> {
        if let Err(stop) = self.upcheck() {
            if matches!(stop, Stop::Said) {
                self.exit = exit::STATUS_UNKNOWN;
            }
            return Err(stop);
        }
        let infos = self.infos()?;
        if names.is_empty() || names.contains(&"all") {
            return self.table(&infos.iter().collect::<Vec<_>>());
        }
        let mut shown = Vec::new();
        for name in names.iter().map(|name| Name::parse(name)) {
            let before = shown.len();
            shown.extend(infos.iter().filter(|info| means(&name, info)));
            if shown.len() == before {
                self.exit = exit::STATUS_UNKNOWN;
                if name.says_group() {
                    self.say(&format!("{}: ERROR (no such group)", name.group))?;
                } else {
                    self.say(&format!("{}: ERROR (no such process)", name.text))?;
                }
            }
        }
        self.table(&shown)
    }

    fn table(&mut self, infos: &[&Value]) -> Result<(), Stop> {
        let names: Vec<String> = infos
            .iter()
            .map(|info| namespec(text(info, "group"), text(info, "name")))
            .collect();
        let longest = names.iter().map(|name| name.chars().count()).max();
        let width = longest.unwrap_or(0).max(NAME_WIDTH) + 3;
        let mut table = String::new();
        for (name, info) in names.iter().zip(infos) {
            let (state, description) = (text(info, "statename"), text(info, "description"));
            table += &format!("{name:width$}{state:10}{description}\n");
            if STOPPED_STATES.contains(&number(info, "state")) {
                self.exit = exit::STATUS_NOT_RUNNING;
            }
        }
        Ok(self.out.write_all(table.as_bytes())?)
    }

    pub(super) fn pid(&mut self, names: &[&str]) -> Result<(), Stop> {
        self.upcheck()?;
        if names.is_empty() {
            return match self.server.call("supervisor.getPID", &[])? {
                Value::Integer(pid) => self.say(&pid.to_string()),
                other => Err(self.server.unexpected("supervisor.getPID", &other).into()),
            };
        }
        if names.contains(&"all") {
            for info in self.infos()? {
                self.say(&number(&info, "pid").to_string())?;
            }
            return Ok(());
        }
        for name in names.iter().map(|name| Name::parse(name)) {
            let infos = if name.is_group() && name.is_ours() {
                let mut infos = self.infos()?;
                infos.retain(|info| means(&name, info));
                infos
            } else {
                let param = Value::String(name.text.to_owned());
                match self.server.call("supervisor.getProcessInfo", &[param]) {
                    Ok(info) => vec![info],
                    Err(error) if error.code() == Some(Code::BadName) => Vec::new(),
                    Err(error) => return Err(error.into()),
                }
            };
            if infos.is_empty() {
                self.exit = exit::GENERIC;
                self.say(&format!("No such process {}", name.text))?;
            }
            for info in infos {
                let pid = number(&info, "pid");
                self.say(&pid.to_string())?;
                if pid == 0 {
                    self.exit = exit::NOT_RUNNING;
                }
            }
        }
        Ok(())
    }

    pub(super) fn version(&mut self, args: &[&str]) -> Result<(), Stop> {
        self.no_arguments("version", args)?;
        self.upcheck()?;
        let version = self.server.call_text("supervisor.getSupervisorVersion")?;
        self.say(&version)
    }

    pub(super) fn reread(&mut self, args: &[&str]) -> Result<(), Stop> {
        self.no_arguments("reread", args)?;
        let mut lines = Vec::new();
        for (groups, what) in self.changes()?.into_iter().zip(CHANGES) {
            lines.extend(groups.into_iter().map(|group| format!("{group}: {what}")));
        }
        if lines.is_empty() {
            return self.say("No config updates to processes");
        }
        lines.sort();
        self.say(&lines.join("\n"))
    }

    /// Nothing to do: the api-server's changes are carried out as they come. Names are checked as Supervisor does.
    pub(super) fn update(&mut self, names: &[&str]) -> Result<(), Stop> {
        if self.changes()?.iter().any(|groups| !groups.is_empty()) {
            self.exit = exit::GENERIC;
            return self.say("ERROR: this is a Supervisor; update it with its own supervisorctl");
        }
        if names.is_empty() || names.contains(&"all") {
            return Ok(());
        }
        let infos = self.infos()?;
        for name in names.iter().map(|name| Name::parse(name)) {
            let known = name.is_group() && infos.iter().any(|info| means(&name, info))
                || infos.iter().any(|info| text(info, "group") == name.text);
            if !known {
                self.exit = exit::GENERIC;
                self.say(&format!("ERROR: no such group: {}", name.text))?;
            }
        }
        Ok(())
    }

    pub(super) fn help(&mut self, args: &[&str]) -> Result<(), Stop> {
        let text = match args {
            [] => help::COMMANDS.to_owned(),
            topic => {
                let topic = topic.join(" ");
                let known = help::of(&topic).map(str::to_owned);
                known.unwrap_or_else(|| format!("*** No help on {topic}"))
            }
        };
        self.say(&text)
    }

    /// A command the agent does not carry out: its own words say why.
    pub(super) fn refused(&mut self, method: &str, args: &[&str]) -> Result<(), Stop> {
        let params: Vec<Value> = args
            .iter()
            .map(|arg| Value::String((*arg).to_owned()))
            .collect();
        self.server.call(method, &params)?;
        Ok(())
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

    fn infos(&mut self) -> Result<Vec<Value>, Stop> {
        Ok(self
            .server
            .call_array("supervisor.getAllProcessInfo", &[])?)
    }

    /// Groups added, changed and removed, in the order of [`CHANGES`].
    fn changes(&mut self) -> Result<[Vec<String>; 3], Stop> {
        const METHOD: &str = "supervisor.reloadConfig";
        let mut answer = self.server.call_array(METHOD, &[])?;
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

const CHANGES: [&str; 3] = ["available", "changed", "disappeared"];

fn means(name: &Name<'_>, info: &Value) -> bool {
    name.means(text(info, "group"), text(info, "name"))
}
