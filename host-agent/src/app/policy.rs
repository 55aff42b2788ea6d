//! The host's policy for people: what it means, why a user may or may not run daemons, and putting a new one in force.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use rustix::process::Signal;

use super::agent::Process;
use crate::config::policy::FIRST_HOME_UID;
use crate::config::{Caller, Policy, Settings};
use crate::spawn::users::{Users, Who};

/// Exit code for a user who may not run daemons.
const REFUSED: u8 = 1;

/// Says whether a user may run daemons here, by which rule, and what to do if not.
///
/// # Errors
/// When there is no such user, or nobody who knows.
pub(crate) fn explain_policy(
    settings: &Settings,
    caller: &Caller,
    user: &str,
) -> anyhow::Result<ExitCode> {
    let account = Users::new().find(&Who::Name(user.to_owned()));
    let owner = account.map_err(|error| anyhow!(error))?.owner.clone();
    let verdict = settings.config.policy.judge(user, owner.uid, &owner.home);
    let mut out = io::stdout().lock();
    let (uid, home) = (owner.uid, owner.home.display());
    let answer = if verdict.is_allowed() { "yes" } else { "no" };
    writeln!(out, "{user} (uid {uid}, home {home}): {answer}, {verdict}")?;
    let Some(advice) = verdict.advice(user) else {
        return Ok(ExitCode::SUCCESS);
    };
    writeln!(out, "To allow it, {advice}.")?;
    writeln!(
        out,
        "The configuration is {}.",
        settings.file(caller).display()
    )?;
    Ok(ExitCode::from(REFUSED))
}

/// Makes the worker read its policy and its rules for logs again, once they are known to be good.
///
/// # Errors
/// When no agent runs here, or it can not be told.
pub(crate) fn reload(settings: &Settings) -> anyhow::Result<ExitCode> {
    // The file was read, and is good, or this would not be reached.
    let Some(worker) = Process::worker(&settings.config) else {
        bail!("no agent runs with these directories; the next one reads its configuration anyway");
    };
    worker.signal(Signal::HUP)?;
    writeln!(
        io::stdout().lock(),
        "The policy is in force from the next start on: {}.\nThe rules for logs are in force: room at once, files at their next rotation.",
        whose(&settings.config.policy)
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Whose daemons may run, in a few words.
pub(super) fn whose(policy: &Policy) -> String {
    if let Some(own) = &policy.only {
        return format!("{own}, as whom this agent runs");
    }
    let mut words = policy.users.join(", ");
    if policy.home_users {
        if !words.is_empty() {
            words.push_str("; ");
        }
        words.push_str(&format!(
            "every user with uid ≥ {FIRST_HOME_UID} and a home under /home"
        ));
    }
    if words.is_empty() {
        words.push_str("nobody");
    }
    words
}

/// What the policy means, in sentences.
pub(super) fn print_meaning(out: &mut impl Write, policy: &Policy) -> io::Result<()> {
    let most = policy.max_processes;
    writeln!(
        out,
        "at most          {most} processes of daemons at a time"
    )?;
    if policy.only.is_some() {
        return Ok(());
    }
    let root = if policy.users.iter().any(|user| user == "root") {
        "may run daemons here, and so may every other account with uid 0"
    } else {
        "runs no daemons here, nor does any other account with uid 0"
    };
    writeln!(out, "root             {root}")?;
    if !policy.home_users {
        writeln!(
            out,
            "everybody else   is refused, whatever the api-server says"
        )?;
    }
    Ok(())
}
