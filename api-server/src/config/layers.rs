//! Three layers of key = value: file, environment, flags; the highest one that has a key wins.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{ConfigArgs, ConfigErrors};

/// The layers, and the mistakes found in them so far.
pub(super) struct Layers<'a> {
    file: toml::Table,
    env: &'a dyn Fn(&str) -> Option<String>,
    flags: BTreeMap<&'static str, String>,
    errors: Vec<String>,
}

enum Value {
    Text(String),
    Toml(toml::Value),
}

impl<'a> Layers<'a> {
    pub(super) fn new(args: &ConfigArgs, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let mut errors = Vec::new();
        let file = args.config.as_ref().map_or_else(toml::Table::new, |path| {
            let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
                errors.push(format!("{}: {error}", path.display()));
                String::new()
            });
            text.parse().unwrap_or_else(|error: toml::de::Error| {
                errors.push(format!("{}: {}", path.display(), error.to_string().trim()));
                toml::Table::new()
            })
        });
        let flags = [
            ("listen", &args.listen),
            ("agent_listen", &args.agent_listen),
            ("public_names", &args.public_names),
            ("agent_names", &args.agent_names),
            ("data_dir", &args.data_dir),
            ("trust_domain", &args.trust_domain),
            ("tls_certificate_file", &args.tls_certificate_file),
            ("tls_key_file", &args.tls_key_file),
            ("log_format", &args.log_format),
            ("log_filter", &args.log_filter),
            ("heartbeat_interval_ms", &args.heartbeat_interval_ms),
        ];
        Self {
            file,
            env,
            flags: flags
                .into_iter()
                .filter_map(|(key, value)| Some((key, value.clone()?)))
                .collect(),
            errors,
        }
    }

    /// Removes the key from the file's table even when a higher layer wins, so that what stays there is unknown.
    fn take(&mut self, key: &'static str) -> Option<Value> {
        let file = self.file.remove(key);
        self.flags
            .remove(key)
            .or_else(|| (self.env)(&format!("ZHYLON_{}", key.to_uppercase())))
            .map(Value::Text)
            .or(file.map(Value::Toml))
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::Text(text) | Value::Toml(toml::Value::String(text)) => Some(text),
            Value::Toml(other) => {
                self.refuse(key, format!("must be a string, not {}", other.type_str()));
                None
            }
        }
    }

    /// A number ≥ 0.
    pub(super) fn number(&mut self, key: &'static str) -> Option<u64> {
        let number = match self.take(key)? {
            Value::Text(text) => text.parse().ok(),
            Value::Toml(toml::Value::Integer(number)) => u64::try_from(number).ok(),
            Value::Toml(_) => None,
        };
        if number.is_none() {
            self.refuse(key, "must be a whole number of milliseconds");
        }
        number
    }

    /// A list of texts; in the environment and in flags separated by commas.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        let parts = match self.take(key)? {
            Value::Text(text) => Some(text.split(',').map(|part| part.trim().to_owned()).collect()),
            Value::Toml(toml::Value::Array(parts)) => parts
                .into_iter()
                .map(|part| part.as_str().map(str::to_owned))
                .collect(),
            Value::Toml(_) => None,
        };
        if parts.is_none() {
            self.refuse(key, "must be a list of strings");
        }
        parts
    }

    /// Notes a mistake.
    pub(super) fn refuse(&mut self, key: &str, reason: impl Display) {
        self.errors.push(format!("{key}: {reason}"));
    }

    /// Ends the reading: keys of the file nobody asked for are mistakes too.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        let unknown = std::mem::take(&mut self.file);
        for key in unknown.keys() {
            self.refuse(
                key,
                "is not a key of this file: see `api-server serve --help`",
            );
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(ConfigErrors(self.errors))
        }
    }
}
