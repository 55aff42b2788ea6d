//! The control plane: checks team permissions, persists daemon specs, steers the agents.

mod access;
mod admin;
mod agents;
mod app;
mod bus;
mod ca;
mod clock;
mod config;
mod domain;
mod files;
mod grpc;
mod listener;
mod store;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zhylon_shared::telemetry;

use admin::BootstrapArgs;
use app::App;
use clock::Clock;
use config::{Config, ConfigArgs, ConfigErrors};

/// Exit code of a configuration that can not be used (`EX_USAGE` of sysexits.h).
const EXIT_CONFIG: u8 = 64;

/// Control plane of Zhylon's daemons.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the public API and the agents
    Serve {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Creates the database or brings it to this version's form
    Migrate {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Says what is wrong with the configuration, all of it, and ends with 64 if anything is
    CheckConfig {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// What is done on this machine, beside the API
    #[command(subcommand)]
    Admin(AdminCommand),
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Makes the first operator, user, team and tokens of an empty database
    Bootstrap {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        bootstrap: BootstrapArgs,
    },
}

impl Command {
    fn config(&self) -> &ConfigArgs {
        match self {
            Self::Serve { config }
            | Self::Migrate { config }
            | Self::CheckConfig { config }
            | Self::Admin(AdminCommand::Bootstrap { config, .. }) => config,
        }
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let config = match load(command.config()) {
        Ok(config) => config,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match run(command, &config) {
        Ok(text) if text.is_empty() => ExitCode::SUCCESS,
        Ok(text) => match writeln!(std::io::stdout().lock(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn complain(text: &str) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(std::io::stderr().lock(), "api-server: {text}");
}

fn load(args: &ConfigArgs) -> Result<Config, ConfigErrors> {
    let config = Config::load(args, |name| std::env::var(name).ok())?;
    telemetry::init(config.log_format, &config.log_filter)
        .map_err(|error| ConfigErrors(vec![error.replacen("log filter", "log_filter", 1)]))?;
    Ok(config)
}

/// Carries a command out; returns what to print.
fn run(command: Command, config: &Config) -> anyhow::Result<String> {
    // What we make is for nobody else, whatever the caller's umask was.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if matches!(command, Command::CheckConfig { .. }) {
        return Ok("the configuration is good".to_owned());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Serve { .. } => serve(config).await.map(|()| String::new()),
            Command::Migrate { .. } => {
                app::open_store(config).await?;
                Ok("the database is ready".to_owned())
            }
            Command::CheckConfig { .. } => Ok(String::new()),
            Command::Admin(AdminCommand::Bootstrap { bootstrap, .. }) => {
                admin::bootstrap(config, bootstrap).await
            }
        }
    })
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let app = App::build(config, Clock::system()).await?;
    notify(&NotifyState::Ready);
    let wish = stop.clone();
    let watcher = tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        notify(&NotifyState::Stopping);
        wish.cancel();
    });
    let done = app.serve(stop).await;
    watcher.abort();
    done
}

/// Without systemd there is nobody to tell.
fn notify(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::warn!(%error, "can not notify systemd");
    }
}

/// One descriptor per agent: the usual soft limit of 1024 is too low, and the hard one is ours to take.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "can not raise the limit of open files");
    }
}
