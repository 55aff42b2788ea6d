//! Tables for people: columns apart by spaces, cut to the terminal's width, never when piped.

use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime};

use comfy_table::{ContentArrangement, Table, presets};
use zhylon_proto::daemons::v1 as api;
use zhylon_shared::wire;

use crate::limits;

/// A table with these headings.
pub(super) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(headings.iter().copied());
    table
}

pub(super) fn finish(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Daemons, one per line.
pub(crate) fn daemons(daemons: &[api::Daemon], now: SystemTime) -> String {
    let mut table = table(&[
        "ID", "NAME", "STATE", "READY", "RESTARTS", "UPTIME", "USER", "COMMAND",
    ]);
    for daemon in daemons {
        let status = daemon.status.clone().unwrap_or_default();
        let running = status
            .instances
            .iter()
            .filter(|instance| instance.state() == api::InstanceState::Running);
        let youngest = running
            .clone()
            .filter_map(|i| i.since.as_ref().and_then(wire::system_time))
            .max();
        table.add_row([
            daemon.id.clone(),
            or_dash(&daemon.name),
            state(daemon),
            format!("{}/{}", running.count(), daemon.processes.unwrap_or(1)),
            status
                .instances
                .iter()
                .map(|i| i.restart_count)
                .sum::<i64>()
                .to_string(),
            youngest.map_or_else(|| "-".to_owned(), |since| age(now, since)),
            daemon.user.clone().unwrap_or_default(),
            printable(&daemon.command),
        ]);
    }
    finish(table)
}

/// One daemon, in full.
pub(crate) fn daemon(daemon: &api::Daemon, now: SystemTime) -> String {
    use std::fmt::Write as _;
    let status = daemon.status.clone().unwrap_or_default();
    let mut out = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(out, "{:<16}{value}", format!("{label}:"));
    };
    line("Id", daemon.id.clone());
    line("Name", or_dash(&daemon.name));
    line(
        "Server",
        format!(
            "{} ({})",
            daemon.server_id,
            short(status.connection_state().as_str_name())
        ),
    );
    line("Command", printable(&daemon.command));
    line("User", daemon.user.clone().unwrap_or_default());
    line(
        "Directory",
        if daemon.directory.is_empty() {
            "(home)".to_owned()
        } else {
            printable(&daemon.directory)
        },
    );
    line("Processes", daemon.processes.unwrap_or(1).to_string());
    line(
        "Start seconds",
        daemon.start_seconds.unwrap_or(1).to_string(),
    );
    line(
        "Stop",
        format!(
            "{}, then killed after {} s",
            short(daemon.stop_signal().as_str_name()),
            daemon.stop_seconds.unwrap_or(10)
        ),
    );
    line("Limits", or_dash(&limits::shown(daemon.limits.as_ref())));
    line("Environment", or_dash(&daemon.environment_names.join(" ")));
    line("Desired", short(daemon.desired_state().as_str_name()));
    line("State", state(daemon));
    if status.reconciling {
        line(
            "Reconciling",
            "the host has not reported yet that it does this".to_owned(),
        );
    }
    if let Some(hold) = &status.local_hold {
        line("Held", held(hold));
    }
    for instance in &status.instances {
        if let Some(hold) = &instance.local_hold {
            line(&format!("Held, {}", instance.index), held(hold));
        }
    }
    if !status.message.is_empty() {
        line("Message", printable(&status.message));
    }
    if !status.instances.is_empty() {
        out.push('\n');
        out.push_str(&instances(&status.instances, now));
    }
    out
}

fn held(hold: &api::LocalHold) -> String {
    let state = short(hold.state().as_str_name());
    format!("{state} by {} on the host", printable(&hold.by))
}

fn instances(instances: &[api::InstanceStatus], now: SystemTime) -> String {
    let mut table = table(&[
        "INSTANCE",
        "STATE",
        "PID",
        "SINCE",
        "CPU",
        "MEMORY",
        "RESTARTS",
        "LAST EXIT",
    ]);
    for instance in instances {
        let since = instance.since.as_ref().and_then(wire::system_time);
        table.add_row([
            instance.index.to_string(),
            short(instance.state().as_str_name()),
            if instance.pid == 0 {
                "-".to_owned()
            } else {
                instance.pid.to_string()
            },
            since.map_or_else(|| "-".to_owned(), |since| age(now, since)),
            instance
                .cpu_seconds
                .map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.1}s")),
            instance
                .memory_bytes
                .map_or_else(|| "-".to_owned(), limits::rounded),
            instance.restart_count.to_string(),
            instance
                .last_exit
                .as_ref()
                .map_or_else(|| "-".to_owned(), |exit| printable(&exit.message)),
        ]);
    }
    finish(table)
}

/// Servers, one per line.
pub(crate) fn servers(servers: &[api::Server]) -> String {
    let mut table = table(&[
        "ID",
        "NAME",
        "CONNECTION",
        "AGENT",
        "REVISION",
        "ACKNOWLEDGED",
    ]);
    for server in servers {
        table.add_row([
            server.id.clone(),
            server.name.clone(),
            short(server.connection_state().as_str_name()),
            or_dash(&server.agent_version),
            server.revision.to_string(),
            server.acknowledged_revision.to_string(),
        ]);
    }
    finish(table)
}

/// Teams, one per line.
pub(crate) fn teams(teams: &[api::Team]) -> String {
    let mut table = table(&["ID", "NAME", "OWNER"]);
    for team in teams {
        table.add_row([
            team.id.clone(),
            team.name.clone(),
            team.owner_user_id.clone(),
        ]);
    }
    finish(table)
}

/// Members, one per line.
pub(crate) fn members(members: &[api::Member]) -> String {
    let mut table = table(&["USER", "NAME", "PERMISSIONS"]);
    for member in members {
        let permissions = if member.owner {
            "owner: all".to_owned()
        } else {
            or_dash(&member.permissions.join(" "))
        };
        table.add_row([
            member.user_id.clone(),
            member.user_name.clone(),
            permissions,
        ]);
    }
    finish(table)
}

/// State, with the last known one while the server is away.
fn state(daemon: &api::Daemon) -> String {
    let status = daemon.status.clone().unwrap_or_default();
    let now = short(status.state().as_str_name());
    if status.state() == api::InstanceState::Unknown {
        return format!(
            "{now} (was {})",
            short(status.last_known_state().as_str_name())
        );
    }
    if status.state() == api::InstanceState::Unspecified {
        "PENDING".to_owned()
    } else {
        now
    }
}

/// `INSTANCE_STATE_RUNNING` as `RUNNING`.
pub(super) fn short(name: &str) -> String {
    const TYPES: [&str; 7] = [
        "INSTANCE_STATE_",
        "CONNECTION_STATE_",
        "DESIRED_STATE_",
        "STOP_SIGNAL_",
        "RESTART_OUTCOME_",
        "DAEMON_EVENT_TYPE_",
        "DAEMON_EVENT_SOURCE_",
    ];
    TYPES
        .iter()
        .find_map(|t| name.strip_prefix(t))
        .unwrap_or(name)
        .to_owned()
}

pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        printable(text)
    }
}

/// Text of users and hosts on one line, without anything that steers a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() {
                c.escape_default().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect()
}

/// How long ago, in the two largest units.
fn age(now: SystemTime, since: SystemTime) -> String {
    let seconds = now
        .duration_since(since)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
