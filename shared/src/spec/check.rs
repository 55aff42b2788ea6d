//! The rules of each field: one function each, which adds what is broken to a list.

use std::collections::BTreeMap;

use super::{
    COMMAND_MAX, DIRECTORY_MAX, ENVIRONMENT_MAX_BYTES, ENVIRONMENT_MAX_ENTRIES, FieldViolation,
    NAME_MAX,
};
use crate::redact::Secret;
use crate::shlex;

pub(super) fn check_command(command: &str, bad: &mut Vec<FieldViolation>) -> Vec<String> {
    let mut refuse = |rule, text: String| bad.push(FieldViolation::new("command", rule, text));
    if command.len() > COMMAND_MAX {
        refuse(
            "TOO_LONG",
            format!(
                "must have at most {COMMAND_MAX} bytes, has {}",
                command.len()
            ),
        );
        return Vec::new();
    }
    if command.contains('\0') {
        refuse("NUL", "must not contain a NUL byte".to_owned());
        return Vec::new();
    }
    match shlex::split(command) {
        Ok(argv) if argv.first().is_some_and(|program| !program.is_empty()) => argv,
        Ok(_) => {
            refuse(
                "REQUIRED",
                "must name a program, for example `php artisan queue:work`".to_owned(),
            );
            Vec::new()
        }
        Err(error) => {
            refuse(
                "QUOTING",
                format!("can not be split into words: {error}; close the quote or escape it"),
            );
            Vec::new()
        }
    }
}

/// `[a-z_][a-z0-9_-]{0,31}`.
pub(super) fn check_user(user: &str, bad: &mut Vec<FieldViolation>) {
    let mut bytes = user.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let rest =
        bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if !(first && rest && user.len() <= 32) {
        let text = "must be the name of an operating system user: [a-z_][a-z0-9_-]{0,31}";
        bad.push(FieldViolation::new("user", "USER_NAME", text));
    }
}

pub(super) fn check_directory(directory: &str, bad: &mut Vec<FieldViolation>) {
    let mut refuse = |rule, text: &str| bad.push(FieldViolation::new("directory", rule, text));
    if !directory.is_empty() && !directory.starts_with('/') {
        refuse(
            "ABSOLUTE",
            "must be an absolute path, or empty for the user's home",
        );
    }
    if directory.len() > DIRECTORY_MAX {
        refuse("TOO_LONG", "must have at most 4095 bytes");
    }
    if directory.contains('\0') {
        refuse("NUL", "must not contain a NUL byte");
    }
}

/// Checks an optional label of a daemon: empty, or 1 to 64 printable characters without `:` and `/`.
pub(super) fn check_name(name: &str, bad: &mut Vec<FieldViolation>) {
    let printable = name
        .chars()
        .all(|c| !c.is_control() && c != ':' && c != '/');
    let padded = name.trim() != name;
    if !printable || padded || name.chars().count() > NAME_MAX {
        let text = "must have 1 to 64 printable characters without `:` and `/` and no spaces around, or be empty";
        bad.push(FieldViolation::new("name", "LABEL", text));
    }
}

pub(super) fn check_environment(
    environment: &BTreeMap<String, Secret>,
    bad: &mut Vec<FieldViolation>,
) {
    let mut refuse = |rule, text: String| bad.push(FieldViolation::new("environment", rule, text));
    if environment.len() > ENVIRONMENT_MAX_ENTRIES {
        refuse(
            "TOO_MANY",
            format!(
                "must have at most {ENVIRONMENT_MAX_ENTRIES} entries, has {}",
                environment.len()
            ),
        );
    }
    let bytes: usize = environment
        .iter()
        .map(|(k, v)| k.len() + v.expose().len())
        .sum();
    if bytes > ENVIRONMENT_MAX_BYTES {
        refuse(
            "TOO_LONG",
            format!(
                "names and values together must have at most {ENVIRONMENT_MAX_BYTES} bytes, have {bytes}"
            ),
        );
    }
    for (name, value) in environment {
        let first = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !(first && rest) {
            refuse(
                "VARIABLE_NAME",
                format!("{name:?} is not a variable name: [A-Za-z_][A-Za-z0-9_]*"),
            );
        }
        if value.expose().contains('\0') {
            refuse(
                "NUL",
                format!("the value of {name:?} must not contain a NUL byte"),
            );
        }
    }
}

pub(super) fn in_range(
    field: &str,
    value: Option<i64>,
    min: u32,
    max: u32,
    default: u32,
    bad: &mut Vec<FieldViolation>,
) -> u32 {
    match value {
        None => default,
        Some(value) => match u32::try_from(value) {
            Ok(value) if (min..=max).contains(&value) => value,
            _ => {
                let text = format!("must be {min} to {max}, is {value}");
                bad.push(FieldViolation::new(field, "RANGE", text));
                default
            }
        },
    }
}

/// Checks the name of a team, server, user or token: 1 to 64 printable characters, no spaces around.
///
/// # Errors
/// When it breaks the rule.
pub fn check_display_name(field: &str, name: &str) -> Result<(), FieldViolation> {
    let count = name.chars().count();
    if (1..=NAME_MAX).contains(&count) && name.trim() == name && !name.chars().any(char::is_control)
    {
        Ok(())
    } else {
        let text = "must have 1 to 64 printable characters and no spaces around";
        Err(FieldViolation::new(field, "LABEL", text))
    }
}
