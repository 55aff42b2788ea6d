//! Wires the rooms together, and says to people how they are.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use host_agent_keeper::KeeperConfig;
use zhylon_shared::redact::Secret;

use crate::config::{Caller, Settings};
use crate::{link, own_log};

mod agent;
mod doctor;
mod policy;
mod status;
mod stop;
mod upgrade;
mod worker;

pub(crate) use self::doctor::doctor;
pub(crate) use self::policy::{explain_policy, reload};
pub(crate) use self::status::status;
pub(crate) use self::stop::stop_daemons;
pub(crate) use self::upgrade::upgrade;
pub(crate) use self::worker::worker;

/// Where the token may stand, besides a file and stdin. Never in an argument: those can be read by everybody.
const TOKEN_VARIABLE: &str = "ZHYLON_ENROLL_TOKEN";
/// A longer text is no token.
const TOKEN_MAX_BYTES: u64 = 4096;

/// How to enrol.
#[derive(Debug, Args)]
pub(crate) struct Enroll {
    /// Address of the api-server, `https://host[:port]`
    #[arg(long, env = "ZHYLON_API_URL", value_name = "URL")]
    api_url: String,
    /// File with the enrolment token, `-` for standard input; without it `ZHYLON_ENROLL_TOKEN` of the environment counts
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates the api-server's chain must end in; without it the token's pin alone decides
    #[arg(long, env = "ZHYLON_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Replace the identity this host has
    #[arg(long)]
    replace: bool,
}

/// The keeper's life.
///
/// # Errors
/// When it could not begin.
pub(crate) fn run(
    settings: &Settings,
    worker_args: Vec<std::ffi::OsString>,
) -> anyhow::Result<ExitCode> {
    let config = KeeperConfig {
        state_dir: settings.config.state_dir.clone(),
        run_dir: settings.config.run_dir.clone(),
        worker_args,
    };
    Ok(host_agent_keeper::run(&config)?)
}

/// Gives this host an identity.
///
/// # Errors
/// Why it has none, or no new one.
pub(crate) fn enroll(settings: &Settings, order: &Enroll) -> anyhow::Result<ExitCode> {
    let token = read_token(order.token_file.as_deref())?;
    start_log(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(link::enroll(
        &settings.config,
        &order.api_url,
        token,
        order.ca_file.as_deref(),
        order.replace,
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn read_token(file: Option<&Path>) -> anyhow::Result<Secret> {
    let mut text = String::new();
    match file {
        Some(path) if path == Path::new("-") => {
            let stdin = std::io::stdin().lock();
            stdin
                .take(TOKEN_MAX_BYTES)
                .read_to_string(&mut text)
                .context("read the enrolment token from standard input")?;
        }
        Some(path) => {
            let read = std::fs::File::open(path)
                .and_then(|file| file.take(TOKEN_MAX_BYTES).read_to_string(&mut text));
            read.with_context(|| format!("read the enrolment token from {}", path.display()))?;
        }
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(token) => text = token,
            Err(_) => bail!(
                "there is no enrolment token: give --token-file FILE (`-` for standard input) or set {TOKEN_VARIABLE}"
            ),
        },
    }
    Ok(Secret::new(text.trim()))
}

/// Says what a configuration means, once it is known to be good.
///
/// # Errors
/// When standard output is gone.
pub(crate) fn check_config(settings: &Settings, caller: &Caller) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "configuration    {}", settings.file(caller).display())?;
    status::print_settings(&mut out, settings, caller)?;
    policy::print_meaning(&mut out, &settings.config.policy)?;
    writeln!(out, "logs             {}", settings.config.logs)?;
    writeln!(out, "The configuration is good.")?;
    Ok(ExitCode::SUCCESS)
}

/// As [`start_log`], and keeps a copy of the newest lines for who asks over the local socket.
fn start_kept_log(settings: &Settings) -> anyhow::Result<()> {
    let log = &settings.log;
    zhylon_shared::telemetry::init_copying(log.format, &log.filter, own_log::kept)
        .map_err(anyhow::Error::msg)
}

fn start_log(settings: &Settings) -> anyhow::Result<()> {
    zhylon_shared::telemetry::init(settings.log.format, &settings.log.filter)
        .map_err(anyhow::Error::msg)
}
