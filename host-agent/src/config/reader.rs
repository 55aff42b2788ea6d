//! Reads a TOML table key by key, so that everything wrong is found at once.

use std::path::PathBuf;

use toml::{Table, Value};
use zhylon_shared::telemetry::LogFormat;

use super::{Caller, Operators, Policy};

/// Highest bound a policy may set: no kernel has more processes than four times that.
const MAX_PROCESSES: u32 = 1_000_000;

/// Takes known keys out of a table; what is left over is unknown.
pub(super) struct Reader {
    path: String,
    table: Table,
    errors: Vec<String>,
}

impl Reader {
    pub(super) fn new(path: &str, table: Table) -> Self {
        Self {
            path: path.to_owned(),
            table,
            errors: Vec::new(),
        }
    }

    pub(super) fn refuse(&mut self, key: &str, text: &str) {
        self.errors.push(format!("{}{key}: {text}", self.path));
    }

    pub(super) fn take<T>(
        &mut self,
        key: &str,
        rule: &str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.table.remove(key)?;
        let found = value.type_str();
        let taken = read(value);
        if taken.is_none() {
            self.refuse(key, &format!("must be {rule}, is a value of type {found}"));
        }
        taken
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.take(key, "a text", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    pub(super) fn directory(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn log_format(&mut self, key: &str) -> Option<LogFormat> {
        match self.text(key)?.parse() {
            Ok(format) => Some(format),
            Err(rule) => {
                self.refuse(key, &rule);
                None
            }
        }
    }

    pub(super) fn policy(&mut self, key: &str, caller: &Caller) -> Policy {
        let mut policy = Policy::default_of(caller);
        let Some(mut inner) = self.table(key) else {
            return policy;
        };
        policy.users = inner.user_names("users").unwrap_or(policy.users);
        policy.home_users = inner
            .take("home_users", "true or false", |value| value.as_bool())
            .unwrap_or(policy.home_users);
        policy.max_processes = inner
            .take("max_processes", "a number from 1 to 1000000", |value| {
                let number = value.as_integer()?.try_into().ok()?;
                (1..=MAX_PROCESSES).contains(&number).then_some(number)
            })
            .unwrap_or(policy.max_processes);
        self.errors.extend(inner.finish());
        policy
    }

    pub(super) fn operators(&mut self, key: &str) -> Operators {
        let mut operators = Operators::default();
        if let Some(mut inner) = self.table(key) {
            let users = inner.names("users", "a list of user names");
            let groups = inner.names("groups", "a list of group names");
            self.errors.extend(inner.finish());
            operators.users = users.unwrap_or(operators.users);
            operators.groups = groups.unwrap_or(operators.groups);
        }
        operators
    }

    /// Takes over what was wrong in an inner table, now read to its end.
    pub(super) fn adopt(&mut self, inner: Self) {
        self.errors.extend(inner.finish());
    }

    pub(super) fn table(&mut self, key: &str) -> Option<Self> {
        let table = self.take(key, "a table", |value| match value {
            Value::Table(table) => Some(table),
            _ => None,
        })?;
        Some(Self::new(&format!("{}{key}.", self.path), table))
    }

    /// As [`Self::names`], and each could be a daemon's user: one that could not would never allow anything.
    fn user_names(&mut self, key: &str) -> Option<Vec<String>> {
        let names = self.names(key, "a list of user names")?;
        for name in names.iter().filter(|name| !is_user_name(name)) {
            self.refuse(
                key,
                &format!("`{name}` can be no daemon's user: a name is [a-z_][a-z0-9_-]{{0,31}}"),
            );
        }
        Some(names)
    }

    fn names(&mut self, key: &str, rule: &str) -> Option<Vec<String>> {
        self.take(key, rule, |value| {
            let Value::Array(values) = value else {
                return None;
            };
            let names = values.iter().map(|name| name.as_str().map(str::to_owned));
            names.collect::<Option<Vec<_>>>()
        })
    }

    pub(super) fn finish(mut self) -> Vec<String> {
        for key in self.table.keys() {
            let path = &self.path;
            self.errors
                .push(format!("{path}{key}: there is no such key"));
        }
        self.errors
    }
}

fn is_user_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    let more = |c: char| first(c) || c.is_ascii_digit() || c == '-';
    name.len() <= 32 && name.starts_with(first) && name.chars().all(more)
}
