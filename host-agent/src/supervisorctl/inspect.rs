//! `status`, `pid`, `version`.

use dxr::Value;

use super::beside::Shares;
use super::names::{Name, number, text};
use super::real::Reach;
use super::table::{self, Row};
use super::{Session, Stop, exit, help};
use crate::socket::fault::Code;

impl Session<'_> {
    /// One table of ours and theirs. As if it were one server, a process that does not run outweighs a name that is not
    /// known.
    pub(super) fn status(&mut self, names: &[&str]) -> Result<(), Stop> {
        let all = names.is_empty() || names.contains(&"all");
        let shares = if all {
            self.shares(&["all"])
        } else {
            self.shares(names)
        };
        let (mut rows, mut deaf) = (Vec::new(), false);
        if shares.concern_us() {
            match self.own_rows() {
                Ok(own) => rows = own,
                Err(stop) => {
                    self.settle(Err(stop))?;
                    self.exit = exit::STATUS_UNKNOWN;
                    deaf = true;
                }
            }
        }
        let asked = self.add_their_rows(&mut rows, &shares)?;
        if all {
            if !shares.theirs.is_empty() {
                rows.sort_by(|a, b| (&a.group, &a.process).cmp(&(&b.group, &b.process)));
            }
            self.say_if_real_hangs()?;
            return self.show(&rows);
        }
        let mut shown = Vec::new();
        for text in names {
            let name = Name::parse(text);
            let before = shown.len();
            let matching = rows
                .iter()
                .filter(|row| name.means(&row.group, &row.process));
            shown.extend(matching.cloned());
            let answered_for = if shares.theirs.contains(text) {
                asked
            } else {
                deaf
            };
            if shown.len() == before && !answered_for {
                self.exit = exit::STATUS_UNKNOWN;
                if name.says_group() {
                    self.say(&format!("{}: ERROR (no such group)", name.group))?;
                } else {
                    self.say(&format!("{}: ERROR (no such process)", name.text))?;
                }
            }
        }
        self.show(&shown)
    }

    fn own_rows(&mut self) -> Result<Vec<Row>, Stop> {
        self.upcheck()?;
        match self.server.call_text("zhylon.status") {
            Ok(table) => Ok(table.lines().filter_map(Row::of_line).collect()),
            // A Supervisor says it in many more words.
            Err(error) if error.code() == Some(Code::UnknownMethod) => {
                Ok(self.infos()?.iter().map(Row::of).collect())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the real one for its names and tells what else it said, which is why some are not there. Whether it was
    /// asked.
    fn add_their_rows(&mut self, rows: &mut Vec<Row>, shares: &Shares<'_>) -> Result<bool, Stop> {
        if shares.theirs.is_empty() {
            return Ok(false);
        }
        let Some(real) = self.beside.real() else {
            return Ok(false);
        };
        let output = match real.output(&[&["status"], shares.theirs.as_slice()].concat()) {
            Ok(output) => output,
            Err(error) => {
                let text = format!(
                    "error: the Supervisor of this host could not be asked ({error}); try: {} status",
                    real.by_hand()
                );
                self.exit = exit::GENERIC;
                self.say(&text)?;
                return Ok(true);
            }
        };
        let said = String::from_utf8_lossy(&output.stdout);
        for line in said.lines() {
            match Row::read(line) {
                // One that two names mean comes twice.
                Some(row) if rows.contains(&row) => {}
                Some(row) => rows.push(row),
                None => self.say(line)?,
            }
        }
        self.err.write_all(&output.stderr)?;
        match output
            .status
            .code()
            .and_then(|code| u8::try_from(code).ok())
        {
            Some(exit::SUCCESS) => {}
            code => self.exit = code.unwrap_or(exit::GENERIC),
        }
        Ok(true)
    }

    fn say_if_real_hangs(&mut self) -> Result<(), Stop> {
        let hangs = |real: &&super::real::Real| real.reach() == Reach::Hangs;
        if let Some(real) = self.beside.real().filter(hangs) {
            let by_hand = real.by_hand();
            writeln!(
                self.err,
                "The Supervisor of this host does not answer; its programs are not shown. Try: {by_hand} status"
            )?;
        }
        Ok(())
    }

    fn show(&mut self, rows: &[Row]) -> Result<(), Stop> {
        if rows.iter().any(Row::is_stopped) {
            self.exit = exit::STATUS_NOT_RUNNING;
        }
        Ok(self.out.write_all(table::format(rows).as_bytes())?)
    }

    pub(super) fn pid(&mut self, names: &[&str]) -> Result<(), Stop> {
        if names.is_empty() {
            self.upcheck()?;
            return match self.server.call("supervisor.getPID", &[])? {
                Value::Integer(pid) => self.say(&pid.to_string()),
                other => Err(self.server.unexpected("supervisor.getPID", &other).into()),
            };
        }
        self.share(&["pid"], names, Self::own_pids)
    }

    fn own_pids(&mut self, names: &[&str]) -> Result<(), Stop> {
        self.upcheck()?;
        if names.contains(&"all") {
            for info in self.infos()? {
                self.say(&number(&info, "pid").to_string())?;
            }
            return Ok(());
        }
        for name in names.iter().map(|name| Name::parse(name)) {
            let infos = if name.is_group() && name.is_ours() {
                let mut infos = self.infos()?;
                infos.retain(|info| name.means(text(info, "group"), text(info, "name")));
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

    pub(super) fn infos(&mut self) -> Result<Vec<Value>, Stop> {
        Ok(self
            .server
            .call_array("supervisor.getAllProcessInfo", &[])?)
    }
}
