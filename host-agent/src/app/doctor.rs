//! `host-agent doctor`: looks at everything the agent stands on, and says what is wrong, what that means and what to do.
//!
//! A check is a line of [`CHECKS`]. Must never change anything on the host.

use std::io::{self, Write};
use std::process::ExitCode;

use zhylon_shared::telemetry::LogFormat;

use crate::config::{Caller, Config, Settings};

mod agent;
mod beside;
mod door;
mod host;
mod kernel;
mod link;

/// Exit code when something is broken.
const BROKEN: u8 = 1;

/// A check and its name. One may have several findings, and has none where it does not apply.
type Check = (&'static str, fn(&Patient<'_>) -> Vec<Finding>);

/// All of them, in the order of a look from below: the kernel first, the door last.
const CHECKS: &[Check] = &[
    ("kernel", kernel::features),
    ("cgroups", host::cgroups),
    ("capabilities", host::capabilities),
    ("log pipes", host::pipe_size),
    ("process numbers", host::pid_max),
    ("open files", host::open_files),
    ("state directory", host::state_dir),
    ("run directory", host::run_dir),
    ("policy", host::policy),
    ("exec helper", agent::helper),
    ("agent", agent::processes),
    ("version", agent::versions),
    ("run records", agent::orphans),
    ("link", link::link),
    ("certificate", link::certificate),
    ("clock", link::clock),
    ("local socket", door::socket),
    ("Supervisor", beside::supervisor),
    ("supervisorctl", door::client),
    ("sudo", door::sudoers),
];

/// What the checks look at.
struct Patient<'a> {
    settings: &'a Settings,
    caller: &'a Caller,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    /// It works, but weaker.
    Warn,
    /// It does not work.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    level: Level,
    /// What is so.
    found: String,
    /// What that means for daemons; empty if all is well.
    means: String,
    /// What a person does about it; empty: nothing can be done.
    remedy: String,
}

impl Patient<'_> {
    fn config(&self) -> &Config {
        &self.settings.config
    }

    fn is_root(&self) -> bool {
        self.caller.uid == 0
    }
}

impl Finding {
    fn new(level: Level, found: impl Into<String>) -> Self {
        Self {
            level,
            found: found.into(),
            means: String::new(),
            remedy: String::new(),
        }
    }

    fn ok(found: impl Into<String>) -> Vec<Self> {
        vec![Self::new(Level::Ok, found)]
    }

    fn warn(found: impl Into<String>) -> Self {
        Self::new(Level::Warn, found)
    }

    fn fail(found: impl Into<String>) -> Self {
        Self::new(Level::Fail, found)
    }

    fn means(mut self, text: impl Into<String>) -> Self {
        self.means = text.into();
        self
    }

    fn remedy(mut self, text: impl Into<String>) -> Vec<Self> {
        self.remedy = text.into();
        vec![self]
    }
}

/// Looks, and says what it found. Exit code 1: something is broken.
///
/// # Errors
/// When standard output is gone.
pub(crate) fn doctor(
    settings: &Settings,
    caller: &Caller,
    format: LogFormat,
) -> anyhow::Result<ExitCode> {
    let patient = Patient { settings, caller };
    let findings = CHECKS.iter().flat_map(|(name, look)| {
        let found = look(&patient).into_iter();
        found.map(|finding| (*name, finding))
    });
    let findings: Vec<(&str, Finding)> = findings.collect();
    let worst = findings.iter().map(|(_, finding)| finding.level).max();
    let is_broken = worst == Some(Level::Fail);
    let mut out = io::stdout().lock();
    match format {
        LogFormat::Text => print(&mut out, &findings)?,
        LogFormat::Json => {
            let checks: Vec<_> = findings.iter().map(as_json).collect();
            writeln!(
                out,
                "{}",
                serde_json::json!({ "ok": !is_broken, "checks": checks })
            )?;
        }
    }
    Ok(if is_broken {
        ExitCode::from(BROKEN)
    } else {
        ExitCode::SUCCESS
    })
}

fn print(out: &mut impl Write, findings: &[(&str, Finding)]) -> io::Result<()> {
    for (name, finding) in findings {
        writeln!(out, "{:4} {name:16} {}", word(finding.level), finding.found)?;
        for (label, text) in [("means", &finding.means), ("do", &finding.remedy)] {
            if !text.is_empty() {
                writeln!(out, "     {:16} {label}: {text}", "")?;
            }
        }
    }
    let count = |level| findings.iter().filter(|(_, f)| f.level == level).count();
    let (fails, warns) = (count(Level::Fail), count(Level::Warn));
    writeln!(
        out,
        "{fails} broken, {warns} weaker than could be, {} well",
        count(Level::Ok)
    )
}

fn as_json((name, finding): &(&str, Finding)) -> serde_json::Value {
    serde_json::json!({
        "name": name,
        "level": word(finding.level),
        "found": finding.found,
        "means": finding.means,
        "do": finding.remedy,
    })
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Fail => "fail",
    }
}
