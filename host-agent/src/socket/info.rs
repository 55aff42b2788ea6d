//! One instance as Supervisor's `getProcessInfo` shows it: fields, types and description texts. Pure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dxr::Value;
use host_agent_engine::input::Exit;
use host_agent_engine::time::Time;
use host_agent_engine::view::InstanceView;
use zhylon_shared::name;
use zhylon_shared::state::InstanceState;

use super::localtime::Zone;
use crate::supervisor::DaemonEntry;

/// How times are shown.
pub(crate) struct Clock<'a> {
    /// Now.
    pub(crate) now: SystemTime,
    /// Wall-clock time of an engine time.
    pub(crate) wall: &'a dyn Fn(Time) -> SystemTime,
    /// The host's time zone.
    pub(crate) zone: &'a Zone,
}

impl Clock<'_> {
    fn unix(&self, time: Time) -> i64 {
        unix((self.wall)(time))
    }
}

/// A struct of these members.
pub(crate) fn structure<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Struct(
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

/// The struct of one instance; `log` is the path of its daemon's log.
pub(crate) fn process_info(
    entry: &DaemonEntry,
    instance: &InstanceView,
    log: &str,
    clock: &Clock<'_>,
) -> Value {
    let id = &entry.view.id;
    let now = unix(clock.now);
    let last = instance.last_exit.as_ref();
    let ended = last.map_or(0, |last| clock.unix(last.time));
    // What never became a process did not end as one.
    let stop = last.and_then(|last| last.exit).map_or(0, |_| ended);
    let start = instance.started.map_or(0, |time| clock.unix(time));
    let own_name = name::instance(id, instance.index);
    let spawnerr = spawn_error(instance);
    let description = match instance.state {
        InstanceState::Running => {
            format!("pid {}, uptime {}", instance.pid, uptime(now - start))
        }
        InstanceState::Fatal | InstanceState::Backoff if spawnerr.is_empty() => {
            format!("unknown error (try \"tail {own_name}\")")
        }
        InstanceState::Fatal | InstanceState::Backoff => spawnerr.clone(),
        InstanceState::Stopped | InstanceState::Exited if start == 0 => "Not started".to_owned(),
        InstanceState::Stopped | InstanceState::Exited => clock.zone.show(ended),
        InstanceState::Starting | InstanceState::Stopping | InstanceState::Unknown => String::new(),
    };
    structure([
        ("name", Value::String(own_name)),
        ("group", Value::String(name::group(id))),
        ("start", capped(start)),
        ("stop", capped(stop)),
        ("now", capped(now)),
        ("state", Value::Integer(instance.state.supervisor_code())),
        ("statename", Value::String(instance.state.name().to_owned())),
        ("spawnerr", Value::String(spawnerr)),
        ("exitstatus", Value::Integer(exit_status(instance))),
        // One file takes both streams, as with `redirect_stderr=true`.
        ("logfile", Value::String(log.to_owned())),
        ("stdout_logfile", Value::String(log.to_owned())),
        ("stderr_logfile", Value::String(String::new())),
        ("pid", Value::Integer(instance.pid)),
        ("description", Value::String(description)),
    ])
}

/// The structs as `zhylon.status` tells them: reading a struct of XML for each instance would be most of what a whole
/// `supervisorctl status` takes.
pub(crate) fn table(infos: &[Value]) -> String {
    let mut table = String::new();
    for info in infos {
        let Value::Struct(members) = info else {
            continue;
        };
        for (column, end) in [
            ("group", '\t'),
            ("name", '\t'),
            ("statename", '\t'),
            ("description", '\n'),
        ] {
            if let Some(Value::String(text)) = members.get(column) {
                // A message may hold what ends a column.
                table.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
            }
            table.push(end);
        }
    }
    table
}

/// What Supervisor calls `spawnerr`: why it is in BACKOFF or FATAL, or the code an EXITED one should not have had.
fn spawn_error(instance: &InstanceView) -> String {
    let Some(last) = &instance.last_exit else {
        return String::new();
    };
    match (instance.state, last.exit) {
        (InstanceState::Backoff | InstanceState::Fatal, None) => last.message.clone(),
        (InstanceState::Backoff | InstanceState::Fatal, Some(_)) => {
            "Exited too quickly (process log may have details)".to_owned()
        }
        (InstanceState::Exited, Some(exit)) if exit != Exit::Code(0) => {
            format!("Bad exit code {}", code(exit))
        }
        _ => String::new(),
    }
}

/// The last exit status; 0 while a process is there or when it ended too quickly, -1 after a signal (and when nobody saw
/// the end).
fn exit_status(instance: &InstanceView) -> i32 {
    let quick = matches!(
        instance.state,
        InstanceState::Backoff | InstanceState::Fatal
    );
    if quick || instance.state.has_process() {
        return 0;
    }
    let last = instance.last_exit.as_ref().and_then(|last| last.exit);
    last.map_or(0, code)
}

fn code(exit: Exit) -> i32 {
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(_) | Exit::Unknown => -1,
    }
}

/// Python's `str(timedelta)`: `0:00:06`, `1 day, 2:03:04`.
fn uptime(seconds: i64) -> String {
    // Below zero when the wall clock was set back.
    let seconds = seconds.max(0);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        1 => format!("1 day, {clock}"),
        _ => format!("{days} days, {clock}"),
    }
}

fn unix(time: SystemTime) -> i64 {
    let seconds = |since: Duration| i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => -seconds(before.duration()),
    }
}

/// Times are 32-bit integers here; Supervisor caps them, too.
fn capped(unix: i64) -> Value {
    let min = i64::from(i32::MIN);
    let max = i64::from(i32::MAX);
    Value::Integer(i32::try_from(unix.clamp(min, max)).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests;
