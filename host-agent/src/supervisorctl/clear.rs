//! `clear`.

use dxr::Value;

use super::calls::CallError;
use super::names::{Name, namespec, number, text};
use super::{Session, Stop, exit};
use crate::socket::fault::Code;

impl Session<'_> {
    pub(super) fn clear(&mut self, names: &[&str]) -> Result<(), Stop> {
        if names.is_empty() {
            return self.no_name("clear", exit::GENERIC);
        }
        self.share(&["clear"], names, Self::clear_own)
    }

    fn clear_own(&mut self, names: &[&str]) -> Result<(), Stop> {
        self.upcheck()?;
        if names.contains(&"all") {
            let results = self
                .server
                .call_array("supervisor.clearAllProcessLogs", &[])?;
            for result in &results {
                let name = namespec(text(result, "group"), text(result, "name"));
                let status = number(result, "status");
                self.cleared(&name, status, text(result, "description"))?;
            }
            return Ok(());
        }
        for name in names {
            let param = Value::String((*name).to_owned());
            match self.server.call("supervisor.clearProcessLogs", &[param]) {
                Ok(_) => self.cleared(name, Code::Success.number(), "")?,
                Err(CallError::Fault { code, text }) => self.cleared(name, code, &text)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn cleared(&mut self, name: &str, status: i32, description: &str) -> Result<(), Stop> {
        if let Some(exit) = exit::of_fault(status, None) {
            self.exit = exit;
        }
        // Both halves are the same word where process and group share a name.
        let name = match Name::parse(name) {
            whole if whole.is_ours() => name.to_owned(),
            _ => match name.split_once(':') {
                Some((group, process)) => namespec(group, process),
                None => name.to_owned(),
            },
        };
        match Code::from_number(status) {
            Some(Code::Success) => self.say(&format!("{name}: cleared")),
            Some(Code::BadName) => self.say(&format!("{name}: ERROR (no such process)")),
            Some(Code::Failed) => match description.strip_prefix("FAILED: ") {
                Some(why) => self.say(&format!("{name}: ERROR (failed: {why})")),
                None => self.say(&format!("{name}: ERROR (failed)")),
            },
            _ => self.say(&format!("{name}: ERROR ({description})")),
        }
    }
}
