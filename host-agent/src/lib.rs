//! The host's half: keeper, worker, enrolment and supervisorctl in one program. A library only so that fuzz targets can
//! reach its boundaries; programs use [`main`].

mod app;
mod config;
mod journal;
mod link;
mod logs;
mod own_log;
mod socket;
mod spawn;
mod supervisor;
mod supervisorctl;
mod vital;

/// What fuzz targets reach; see `fuzz/`.
#[cfg(fuzzing)]
pub mod fuzz {
    /// A body as an XML-RPC call.
    pub fn xml_rpc(data: &[u8]) {
        crate::socket::fuzz::xml_rpc(data);
    }

    /// A cursor's text.
    pub fn log_cursor(data: &[u8]) {
        crate::logs::fuzz::log_cursor(data);
    }

    /// A log's index, as it lies on the disk.
    pub fn log_index(data: &[u8]) {
        crate::logs::fuzz::log_index(data);
    }

    /// What instances say, and when.
    pub fn log_lines(data: &[u8]) {
        crate::logs::fuzz::log_lines(data);
    }

    /// Everything that one peer of the local socket sends.
    pub fn http(data: &[u8]) {
        crate::socket::fuzz::http(data);
    }
}

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use zhylon_shared::telemetry::LogFormat;

use self::config::{Caller, InvalidConfig, Overrides, Settings};
use self::spawn::users::look_up::is_asked_for;

/// Exit code for a configuration that is not usable (`EX_CONFIG`): starting again changes nothing.
const BAD_CONFIG: u8 = 78;
/// The name under which this program is the client of the local socket.
const CLIENT: &str = "supervisorctl";

/// Keeps the daemons of a Zhylon server alive.
#[derive(Debug, Parser)]
#[command(name = "host-agent", version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// Configuration file [default: /etc/zhylon-agent/config.toml, without root ~/.config/zhylon-agent/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What must survive a reboot: identity, ledger, log indexes
    #[arg(long, global = true, env = "ZHYLON_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// What need only survive a kill: socket, run records, FIFOs
    #[arg(long, global = true, env = "ZHYLON_RUN_DIR", value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// `text` or `json`
    #[arg(long, global = true, env = "ZHYLON_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// For example `info` or `info,host_agent=debug`
    #[arg(long, global = true, env = "ZHYLON_LOG_FILTER", value_name = "FILTER")]
    log_filter: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep the daemons of this server alive until SIGTERM; they go on running after it
    Run,
    /// What `run` starts
    #[command(hide = true)]
    Worker,
    /// Give this host its identity
    Enroll(app::Enroll),
    /// Say how the agent on this host is
    Status,
    /// Look at everything the agent stands on, and say what is wrong, what that means and what to do. Exit code 1: something
    /// is broken
    Doctor {
        /// `text` or `json`
        #[arg(long, default_value = "text", value_name = "FORMAT")]
        format: LogFormat,
    },
    /// Stop what runs on this host
    Stop(Stop),
    /// Let the agent become the program that now lies in its place; daemons go on running
    Upgrade,
    /// Check the configuration and print what it means
    CheckConfig,
    /// Put the configuration's policy and its rules for logs in force; daemons that run are left alone
    Reload,
    /// Ask whose daemons this host runs
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The client of the local socket, as under the name `supervisorctl`
    #[command(name = CLIENT, disable_help_flag = true)]
    Supervisorctl,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Say whether a user may run daemons here, by which rule, and what to do if not. Exit code 1: it may not
    Explain {
        /// Name of a user of this host
        user: String,
    },
}

#[derive(Debug, Args)]
struct Stop {
    /// End the agent and all daemons, each with its own signal and grace. Desired states and holds stay as they are:
    /// the next `run` starts them again
    #[arg(long, required = true)]
    daemons: bool,
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if args.next().is_some_and(|name| is_client(&name)) {
        return supervisorctl::main(args);
    }
    // Its arguments are not ours to read: it has options of the same names.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == CLIENT) {
        return supervisorctl::main(args.skip(1));
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|arg| is_asked_for(&arg))
    {
        return spawn::users::look_up::main();
    }
    let cli = Cli::parse();
    let caller = Caller::current();
    let common = &cli.common;
    let settings = Settings::load(common.config.as_deref(), common.overrides(), &caller);
    let settings = match cli.command {
        Command::Status | Command::Stop(_) => settings,
        _ => settings.and_then(Settings::trusted),
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(InvalidConfig(errors)) => {
            for error in errors {
                complain(&error);
            }
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let done = match cli.command {
        Command::Run => app::run(&settings, common.worker_args()),
        Command::Worker => app::worker(&settings, &caller),
        Command::Enroll(order) => app::enroll(&settings, &order),
        Command::Status => app::status(&settings, &caller),
        Command::Doctor { format } => app::doctor(&settings, &caller, format),
        Command::Stop(Stop { daemons: _ }) => app::stop_daemons(&settings),
        Command::Upgrade => app::upgrade(&settings, cli.common.worker_args()),
        Command::CheckConfig => app::check_config(&settings, &caller),
        Command::Reload => app::reload(&settings),
        Command::Policy(PolicyCommand::Explain { user }) => {
            app::explain_policy(&settings, &caller, &user)
        }
        Command::Supervisorctl => Ok(supervisorctl::main(args.skip(1))),
    };
    done.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

impl Common {
    fn overrides(&self) -> Overrides {
        Overrides {
            state_dir: self.state_dir.clone(),
            run_dir: self.run_dir.clone(),
            log_format: self.log_format,
            log_filter: self.log_filter.clone(),
        }
    }

    /// The worker reads the same file and hears the same flags; the environment it inherits.
    fn worker_args(&self) -> Vec<OsString> {
        let mut args = vec![OsString::from("worker")];
        let mut pass = |flag: &str, value: Option<OsString>| {
            args.extend(value.into_iter().flat_map(|value| [flag.into(), value]));
        };
        pass("--config", self.config.clone().map(Into::into));
        pass("--state-dir", self.state_dir.clone().map(Into::into));
        pass("--run-dir", self.run_dir.clone().map(Into::into));
        let format = self.log_format.map(|format| match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        });
        pass("--log-format", format.map(Into::into));
        pass("--log-filter", self.log_filter.clone().map(Into::into));
        args
    }
}

fn is_client(name: &OsString) -> bool {
    name.as_encoded_bytes().ends_with(CLIENT.as_bytes())
}

fn complain(error: &str) {
    // If nobody listens on stderr, the exit code has to do.
    let _ = writeln!(std::io::stderr().lock(), "host-agent: {error}");
}
