//! A daemon's spec. A [`DaemonSpec`] can only be had by checking a [`SpecDraft`], so whoever holds one need not check.
//!
//! Ranges and defaults are those of the product's published form (command, user, directory, processes, start seconds,
//! stop seconds, stop signal) and of what users of such panels ask for next (name, environment, restart policy).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod check;
pub mod limits;

use crate::redact::Secret;
use crate::signal::StopSignal;

pub use check::check_display_name;
pub use limits::{Limits, LimitsDraft};

use check::{check_command, check_directory, check_environment, check_name, check_user, in_range};

/// Longest command, bytes.
pub const COMMAND_MAX: usize = 4096;
/// Longest directory, bytes: Linux's PATH_MAX less the NUL.
pub const DIRECTORY_MAX: usize = 4095;
/// Most instances of one daemon.
pub const PROCESSES_MAX: u32 = 64;
/// Largest `start_seconds`.
pub const START_SECONDS_MAX: u32 = 3600;
/// Largest `stop_seconds`: a day.
pub const STOP_SECONDS_MAX: u32 = 86_400;
/// Longest label, characters.
pub const NAME_MAX: usize = 64;
/// Most environment variables.
pub const ENVIRONMENT_MAX_ENTRIES: usize = 64;
/// Most bytes of all names and values of the environment.
pub const ENVIRONMENT_MAX_BYTES: usize = 32 * 1024;
/// Largest `max_retries`.
pub const MAX_RETRIES_MAX: u32 = 1000;
/// The user when none is given.
pub const DEFAULT_USER: &str = "zhylon";

/// When an instance that ended unasked is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RestartPolicy {
    /// After every end.
    #[default]
    Always,
    /// After a failure only.
    OnFailure,
    /// Never.
    Never,
}

/// A checked spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SpecDraft", into = "SpecDraft")]
pub struct DaemonSpec {
    name: String,
    command: String,
    argv: Vec<String>,
    user: String,
    directory: String,
    processes: u32,
    start_seconds: u32,
    stop_seconds: u32,
    stop_signal: StopSignal,
    environment: BTreeMap<String, Secret>,
    restart_policy: RestartPolicy,
    max_retries: u32,
    limits: Limits,
}

/// A spec as it comes in: anything may be wrong. `None` means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are those of DaemonSpec, unchecked")]
pub struct SpecDraft {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub command: String,
    pub user: Option<String>,
    #[serde(default)]
    pub directory: String,
    pub processes: Option<i64>,
    pub start_seconds: Option<i64>,
    pub stop_seconds: Option<i64>,
    pub stop_signal: Option<StopSignal>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Secret>,
    pub restart_policy: Option<RestartPolicy>,
    #[serde(default)]
    pub max_retries: i64,
    #[serde(default, skip_serializing_if = "LimitsDraft::is_empty")]
    pub limits: LimitsDraft,
}

/// One broken rule of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's name, as in the API.
    pub field: String,
    /// The rule, stable, in capitals.
    pub rule: &'static str,
    /// What is wrong and what to do, for people.
    pub description: String,
}

impl FieldViolation {
    /// One broken rule.
    #[must_use]
    pub fn new(field: &str, rule: &'static str, description: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            rule,
            description: description.into(),
        }
    }
}

/// All broken rules of a draft, at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidSpec(pub Vec<FieldViolation>);

impl std::fmt::Display for InvalidSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, violation) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "; " };
            write!(
                f,
                "{separator}{}: {}",
                violation.field, violation.description
            )?;
        }
        Ok(())
    }
}

impl DaemonSpec {
    /// Checks a draft; all violations at once.
    ///
    /// # Errors
    /// When any field breaks a rule.
    pub fn check(draft: SpecDraft) -> Result<Self, InvalidSpec> {
        let mut bad = Vec::new();
        let argv = check_command(&draft.command, &mut bad);
        let user = draft.user.unwrap_or_else(|| DEFAULT_USER.to_owned());
        check_user(&user, &mut bad);
        check_directory(&draft.directory, &mut bad);
        let processes = in_range("processes", draft.processes, 1, PROCESSES_MAX, 1, &mut bad);
        let start_seconds = in_range(
            "start_seconds",
            draft.start_seconds,
            0,
            START_SECONDS_MAX,
            1,
            &mut bad,
        );
        let stop_seconds = in_range(
            "stop_seconds",
            draft.stop_seconds,
            0,
            STOP_SECONDS_MAX,
            10,
            &mut bad,
        );
        let max_retries = in_range(
            "max_retries",
            Some(draft.max_retries),
            0,
            MAX_RETRIES_MAX,
            0,
            &mut bad,
        );
        check_name(&draft.name, &mut bad);
        check_environment(&draft.environment, &mut bad);
        let limits = Limits::check(&draft.limits, &mut bad);
        if !bad.is_empty() {
            return Err(InvalidSpec(bad));
        }
        Ok(Self {
            name: draft.name,
            command: draft.command,
            argv,
            user,
            directory: draft.directory,
            processes,
            start_seconds,
            stop_seconds,
            stop_signal: draft.stop_signal.unwrap_or_default(),
            environment: draft.environment,
            restart_policy: draft.restart_policy.unwrap_or_default(),
            max_retries,
            limits,
        })
    }

    /// The label; empty if there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The command line as given.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }
    /// The command line split into words; never empty.
    #[must_use]
    pub fn argv(&self) -> &[String] {
        &self.argv
    }
    /// Operating system user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }
    /// Absolute working directory; empty means the user's home.
    #[must_use]
    pub fn directory(&self) -> &str {
        &self.directory
    }
    /// Number of instances, 1 to 64.
    #[must_use]
    pub fn processes(&self) -> u32 {
        self.processes
    }
    /// Seconds to count as started, 0 to 3600.
    #[must_use]
    pub fn start_seconds(&self) -> u32 {
        self.start_seconds
    }
    /// Seconds of grace, 0 to 86400.
    #[must_use]
    pub fn stop_seconds(&self) -> u32 {
        self.stop_seconds
    }
    /// The signal that asks to end.
    #[must_use]
    pub fn stop_signal(&self) -> StopSignal {
        self.stop_signal
    }
    /// Environment variables.
    #[must_use]
    pub fn environment(&self) -> &BTreeMap<String, Secret> {
        &self.environment
    }
    /// When it is started again.
    #[must_use]
    pub fn restart_policy(&self) -> RestartPolicy {
        self.restart_policy
    }
    /// How often in a row a failed start is tried again before FATAL; 0 means for ever.
    #[must_use]
    pub fn max_retries(&self) -> u32 {
        self.max_retries
    }
    /// Bounds on what it may use.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether instances of `self` and of `other` would be the same process: everything but the label and the number
    /// of instances is equal.
    #[must_use]
    pub fn same_instance(&self, other: &Self) -> bool {
        let comparable = |spec: &Self| Self {
            name: String::new(),
            processes: 1,
            ..spec.clone()
        };
        comparable(self) == comparable(other)
    }

    /// SHA-256 over what [`DaemonSpec::same_instance`] compares, in hex: tells after a restart of the agent whether a
    /// running instance was started from this spec.
    #[must_use]
    pub fn instance_hash(&self) -> String {
        use sha2::{Digest, Sha256};
        use std::fmt::Write as _;
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(b"instance 1");
        part(self.command.as_bytes());
        part(self.user.as_bytes());
        part(self.directory.as_bytes());
        for number in [self.start_seconds, self.stop_seconds, self.max_retries] {
            part(&number.to_be_bytes());
        }
        part(self.stop_signal.name().as_bytes());
        part(&[self.restart_policy as u8]);
        for (name, value) in &self.environment {
            part(name.as_bytes());
            part(value.expose().as_bytes());
        }
        // Without limits the hash is as it was before there were any: an upgrade of the agent replaces nothing.
        if let Some(limits) = self.limits.hash_parts() {
            limits.iter().for_each(|limit| part(limit));
        }
        hash.finalize()
            .iter()
            .fold(String::with_capacity(64), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
    }
}

impl TryFrom<SpecDraft> for DaemonSpec {
    type Error = InvalidSpec;
    fn try_from(draft: SpecDraft) -> Result<Self, InvalidSpec> {
        Self::check(draft)
    }
}

impl From<DaemonSpec> for SpecDraft {
    fn from(spec: DaemonSpec) -> Self {
        Self {
            name: spec.name,
            command: spec.command,
            user: Some(spec.user),
            directory: spec.directory,
            processes: Some(spec.processes.into()),
            start_seconds: Some(spec.start_seconds.into()),
            stop_seconds: Some(spec.stop_seconds.into()),
            stop_signal: Some(spec.stop_signal),
            environment: spec.environment,
            restart_policy: Some(spec.restart_policy),
            max_retries: spec.max_retries.into(),
            limits: spec.limits.into(),
        }
    }
}

#[cfg(test)]
mod tests;
