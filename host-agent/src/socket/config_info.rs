//! One instance as Supervisor's `getAllConfigInfo` shows its configuration: all keys that 4.2.5 sends, with its types. Where
//! we have no such setting, the value says what Supervisor would have to be told to behave as we do. Pure.

use dxr::Value;
use zhylon_shared::name;
use zhylon_shared::state::DesiredState;

use super::info::structure;
use super::session::Named;
use crate::logs::Rotation;

/// Supervisor's default for what nobody set: groups and processes start together.
const PRIORITY: i32 = 999;

/// What Supervisor sends instead of Python's `None`.
const UNSET: &str = "none";

/// The structs of all instances a name means; `log` is the path of the daemon's log.
pub(crate) fn config_infos(named: &Named, log: &str, rotation: Rotation) -> Vec<Value> {
    let entry = &named.entry;
    let (id, spec) = (&entry.view.id, &entry.spec);
    let text = |text: &str| Value::String(text.to_owned());
    let unset = || text(UNSET);
    let or_unset = |value: &str| text(if value.is_empty() { UNSET } else { value });
    let number = |number: u32| Value::Integer(i32::try_from(number).unwrap_or(i32::MAX));
    let retries = match spec.max_retries() {
        // For ever; Supervisor has no number for it.
        0 => Value::Integer(i32::MAX),
        most => number(most),
    };
    let backups = Value::Integer(i32::try_from(rotation.keep).unwrap_or(i32::MAX));
    let max_bytes = Value::Integer(i32::try_from(rotation.bytes).unwrap_or(i32::MAX));
    let uid = entry.uid.map_or_else(unset, number);
    named
        .instances()
        .map(|instance| {
            structure([
                (
                    "autostart",
                    Value::Boolean(entry.view.desired == DesiredState::Running),
                ),
                ("command", text(spec.command())),
                ("directory", or_unset(spec.directory())),
                ("exitcodes", Value::Array(vec![Value::Integer(0)])),
                ("group", Value::String(name::group(id))),
                ("group_prio", Value::Integer(PRIORITY)),
                ("inuse", Value::Boolean(true)),
                // The whole tree is killed.
                ("killasgroup", Value::Boolean(true)),
                ("name", Value::String(name::instance(id, instance.index))),
                ("process_prio", Value::Integer(PRIORITY)),
                // Both streams go to one file.
                ("redirect_stderr", Value::Boolean(true)),
                ("serverurl", unset()),
                ("startretries", retries.clone()),
                ("startsecs", number(spec.start_seconds())),
                ("stderr_capture_maxbytes", Value::Integer(0)),
                ("stderr_events_enabled", Value::Boolean(false)),
                ("stderr_logfile", unset()),
                ("stderr_logfile_backups", Value::Integer(0)),
                ("stderr_logfile_maxbytes", Value::Integer(0)),
                ("stderr_syslog", Value::Boolean(false)),
                ("stdout_capture_maxbytes", Value::Integer(0)),
                ("stdout_events_enabled", Value::Boolean(false)),
                ("stdout_logfile", or_unset(log)),
                ("stdout_logfile_backups", backups.clone()),
                ("stdout_logfile_maxbytes", max_bytes.clone()),
                ("stdout_syslog", Value::Boolean(false)),
                ("stopsignal", Value::Integer(spec.stop_signal().number())),
                ("stopwaitsecs", number(spec.stop_seconds())),
                ("uid", uid.clone()),
            ])
        })
        .collect()
}
