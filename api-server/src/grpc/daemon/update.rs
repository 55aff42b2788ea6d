//! Update masks: which fields of the request are meant.

use zhylon_proto::daemons::v1::{Daemon, Limits};
use zhylon_shared::spec::{DaemonSpec, FieldViolation, InvalidSpec};
use zhylon_shared::wire::{spec_from_api, spec_to_api};

use super::within_daemon;
use crate::domain::Error;

/// Takes the field of one path from `new` over to `base`.
type Take = fn(base: &mut Daemon, new: &Daemon);

/// The paths an update may name: the spec's fields.
const PATHS: [(&str, Take); 15] = [
    ("name", |base, new| base.name.clone_from(&new.name)),
    ("command", |base, new| base.command.clone_from(&new.command)),
    ("user", |base, new| base.user.clone_from(&new.user)),
    ("directory", |base, new| {
        base.directory.clone_from(&new.directory);
    }),
    ("processes", |base, new| base.processes = new.processes),
    ("start_seconds", |base, new| {
        base.start_seconds = new.start_seconds;
    }),
    ("stop_seconds", |base, new| {
        base.stop_seconds = new.stop_seconds;
    }),
    ("stop_signal", |base, new| {
        base.stop_signal = new.stop_signal;
    }),
    ("restart_policy", |base, new| {
        base.restart_policy = new.restart_policy;
    }),
    ("max_retries", |base, new| {
        base.max_retries = new.max_retries;
    }),
    ("environment", |base, new| {
        base.environment.clone_from(&new.environment);
    }),
    ("limits", |base, new| base.limits = new.limits),
    ("limits.nofile", |base, new| {
        limits(base).nofile = given(new).nofile;
    }),
    ("limits.memory_max", |base, new| {
        limits(base).memory_max = given(new).memory_max;
    }),
    ("limits.cpu_max", |base, new| {
        limits(base).cpu_max = given(new).cpu_max;
    }),
];

fn limits(daemon: &mut Daemon) -> &mut Limits {
    daemon.limits.get_or_insert_default()
}

/// An absent message has no limit.
fn given(daemon: &Daemon) -> Limits {
    daemon.limits.unwrap_or_default()
}

/// The spec after the update: the masked fields of `new`, the others of `current`. `*` means all of them, so what `new`
/// leaves out gets its default.
pub(super) fn merge(
    current: &DaemonSpec,
    new: &Daemon,
    paths: &[String],
) -> Result<DaemonSpec, Error> {
    if paths.is_empty() {
        let text = "must name the fields to change, or `*` for all of the spec";
        return Err(Error::field("update_mask", "REQUIRED", text));
    }
    let mut base = Daemon::default();
    spec_to_api(current, &mut base);
    base.environment = current
        .environment()
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect();
    let mut unknown = Vec::new();
    for path in paths {
        if path == "*" {
            PATHS.iter().for_each(|(_, take)| take(&mut base, new));
        } else if let Some((_, take)) = PATHS.iter().find(|(known, _)| known == path) {
            take(&mut base, new);
        } else {
            let known = PATHS.map(|(path, _)| path).join(", ");
            let text = format!("{path:?} can not be changed here: {known}, or `*`");
            unknown.push(FieldViolation::new("update_mask", "PATH", text));
        }
    }
    if !unknown.is_empty() {
        return Err(Error::Invalid(unknown));
    }
    spec_from_api(&base).map_err(|InvalidSpec(bad)| within_daemon(bad))
}
