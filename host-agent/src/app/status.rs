//! `host-agent status` and the settings part of `check-config`: the agent in words.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::agent::{Lock, Process, try_lock};
use super::policy;
use crate::config::{Caller, Config, Settings};
use crate::journal;
use crate::link::{LinkReport, LinkState};
use crate::supervisorctl;

/// Exit code when the agent does not run: what `systemctl status` says too.
const NOT_RUNNING: u8 = 3;

/// Prints how the agent is, and its daemons as `supervisorctl status` does.
///
/// # Errors
/// When standard output is gone.
pub(crate) fn status(settings: &Settings, caller: &Caller) -> anyhow::Result<ExitCode> {
    let config = &settings.config;
    let mut out = io::stdout().lock();
    print_settings(&mut out, settings, caller)?;
    writeln!(out, "ledger           {}", ledger(config))?;
    writeln!(out, "link             {}", link(config))?;
    let lock = try_lock(config);
    let runs = matches!(lock, Ok(Lock::Keepers));
    let process = |found: Option<Process>| match found {
        Some(process) if runs => format!("runs, pid {}", process.pid),
        _ => "does not run".to_owned(),
    };
    if let Err(error) = lock {
        writeln!(out, "lock             {error:#}")?;
    }
    writeln!(out, "keeper           {}", process(Process::keeper(config)))?;
    writeln!(out, "worker           {}", process(Process::worker(config)))?;
    if !runs {
        return Ok(ExitCode::from(NOT_RUNNING));
    }
    writeln!(out, "\ndaemons")?;
    drop(out);
    let socket = format!(
        "unix://{}",
        config.run_dir.join("supervisor.sock").display()
    );
    // What it says about the daemons it says itself; the agent runs, and that was the question.
    let _ = supervisorctl::main(["-s".into(), socket.into(), "status".into()].into_iter());
    Ok(ExitCode::SUCCESS)
}

/// Prints what the configuration means on this host.
pub(super) fn print_settings(
    out: &mut impl Write,
    settings: &Settings,
    caller: &Caller,
) -> io::Result<()> {
    let config = &settings.config;
    writeln!(out, "state directory  {}", config.state_dir.display())?;
    writeln!(out, "run directory    {}", config.run_dir.display())?;
    if let Some(path) = &config.supervisor_socket {
        writeln!(
            out,
            "also served at   {} (unless a Supervisor is)",
            path.display()
        )?;
    }
    writeln!(out, "daemons run as   {}", policy::whose(&config.policy))?;
    if caller.uid == 0 {
        let operators = &config.operators;
        let groups = operators
            .groups
            .iter()
            .map(|group| format!("group {group}"));
        let names: Vec<String> = operators.users.iter().cloned().chain(groups).collect();
        writeln!(out, "operators        root, {}", names.join(", "))?;
    }
    if caller.uid != 0 {
        writeln!(
            out,
            "without root     no cgroups (a hostile daemon can hide a process), log pipes of 64 KiB, one user"
        )?;
    }
    Ok(())
}

fn ledger(config: &Config) -> String {
    match journal::read_desired(&config.state_dir.join("ledger")) {
        Ok(ledger) if ledger.config_epoch.is_empty() => "empty: no configuration yet".to_owned(),
        Ok(ledger) => {
            let of = (ledger.revision, ledger.daemons.len());
            let mut text = format!("revision {}, {} daemons", of.0, of.1);
            for daemon in &ledger.unclaimed {
                text.push_str(&format!(
                    "\nunclaimed        {}: the configuration was restored and does not name it; it runs on until \
                     `supervisorctl stop {}:*`",
                    daemon.id,
                    daemon.id.to_string().replace("h:", "daemon-h:")
                ));
            }
            text
        }
        Err(why) => format!("not usable ({why}); what runs is left alone until it is sent anew"),
    }
}

fn link(config: &Config) -> String {
    let report = match LinkReport::read(&config.run_dir) {
        Ok(Some(report)) => report,
        Ok(None) => return "no worker has run yet".to_owned(),
        Err(error) => return format!("not known: {error}"),
    };
    let state = match report.state {
        LinkState::NotEnrolled => "this host is not enrolled: `host-agent enroll` does that",
        LinkState::Connecting => "not connected, trying",
        LinkState::Connected => "connected",
        LinkState::Revoked => "this host's identity is revoked; its daemons go on",
    };
    let mut text = state.to_owned();
    if let Some(server) = report.server_id {
        text.push_str(&format!(", server {server}"));
    }
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(report.since);
    if let Ok(ago) = SystemTime::now().duration_since(since) {
        text.push_str(&format!(", for {} s", ago.as_secs()));
    }
    if let Some(error) = report.last_error {
        text.push_str(&format!("; last error: {error}"));
    }
    text
}
