//! Reads a TOML table key by key, so that everything wrong is found at once.

use std::path::PathBuf;

use toml::{Table, Value};
use zhylon_shared::telemetry::LogFormat;

use super::{Caller, Operators, Policy};

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

    fn refuse(&mut self, key: &str, text: &str) {
        self.errors.push(format!("{}{key}: {text}", self.path));
    }

    fn take<T>(
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
        let users = inner.names("users", "a list of user names");
        let home_users = inner.take("home_users", "true or false", |value| value.as_bool());
        self.errors.extend(inner.finish());
        // The file of an agent without root can only narrow nothing and widen nothing: it has no choice.
        if caller.is_root() {
            policy.users = users.unwrap_or(policy.users);
            policy.home_users = home_users.unwrap_or(policy.home_users);
        }
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

    fn table(&mut self, key: &str) -> Option<Self> {
        let table = self.take(key, "a table", |value| match value {
            Value::Table(table) => Some(table),
            _ => None,
        })?;
        Some(Self::new(&format!("{}{key}.", self.path), table))
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
