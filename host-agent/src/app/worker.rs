//! The worker: everything of the agent that may be killed at any moment.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use host_agent_keeper::{WorkerEnd, inherited_listener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::agent::STOP_DAEMONS;
use super::start_kept_log;
use crate::config::{Caller, Config, Settings};
use crate::journal::{Journal, Recovered};
use crate::logs::{LogEvent, Logs};
use crate::socket::{Alias, Judge};
use crate::spawn::cgroup::Cgroups;
use crate::spawn::fifo::Fifos;
use crate::spawn::record::Records;
use crate::spawn::users::Users;
use crate::spawn::{Ground, Helper, raise_open_files};
use crate::supervisor::{Core, Events, Setup, SupervisorHandle};
use crate::{link, socket, vital};

/// Ends of logs on their way to the owner. Full: the log threads wait, the owner never does.
const LOG_EVENTS_MAX: usize = 256;
/// Threads for questions that may hang (checks of directories, user look-ups). All hanging: further questions wait, and
/// are answered "no answer" by their own deadline. Daemons that run are not touched by it.
const QUESTION_THREADS_MAX: usize = 16;
/// How long the link may take to say goodbye.
const LINK_FAREWELL: Duration = Duration::from_secs(1);

/// The worker's life, until SIGTERM or the keeper's word. Daemons go on running after it.
///
/// # Errors
/// When it could not begin, or has nothing left to wait with. The keeper starts the next one.
pub(crate) fn worker(settings: &Settings, caller: &Caller) -> anyhow::Result<ExitCode> {
    // First of all, and on this thread: it ties this process to its keeper.
    let keeper =
        WorkerEnd::from_inherited().context("the worker is started by `host-agent run`")?;
    let listener = inherited_listener().context("the worker is started by `host-agent run`")?;
    start_kept_log(settings)?;
    let config = &settings.config;
    let (journal, recovered) =
        Journal::open(&config.state_dir.join("ledger")).context("open the ledger")?;
    let (log_events, logs_said) = mpsc::channel(LOG_EVENTS_MAX);
    let logs = Logs::start(config.state_dir.join("logs"), config.logs, log_events)
        .context("open the logs")?;
    let ground = Arc::new(ground(config, caller, keeper)?);
    let told = config.run_dir.join("events");
    let events = Events::open(&told, &ground.boot_id, recovered.local.worker_starts)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(QUESTION_THREADS_MAX + socket::READS_MAX)
        .build()?;
    let judge = Judge {
        users: Arc::clone(&ground.users),
        operators: Arc::new(config.operators.clone()),
        privileged: caller.uid == 0,
    };
    let rooms = Rooms {
        ground,
        judge,
        logs,
        logs_said,
        journal,
        recovered,
        events,
    };
    let reload = Reload {
        settings: settings.clone(),
        caller: caller.clone(),
        ground: Arc::clone(&rooms.ground),
        logs: rooms.logs.clone(),
    };
    let lived = LocalSet::new().block_on(&runtime, live(config, rooms, reload, listener.into()));
    // A question that hangs must not keep the worker from ending.
    runtime.shutdown_background();
    lived.map(|()| ExitCode::SUCCESS)
}

struct Rooms {
    ground: Arc<Ground>,
    judge: Judge,
    logs: Logs,
    logs_said: mpsc::Receiver<LogEvent>,
    journal: Journal,
    recovered: Recovered,
    events: Events,
}

async fn live(
    config: &Config,
    rooms: Rooms,
    reload: Reload,
    listener: std::os::unix::net::UnixListener,
) -> anyhow::Result<()> {
    let end = CancellationToken::new();
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow!("randomness from the operating system: {error}"))?;
    let (handle, core) = Core::start(Setup {
        ground: rooms.ground,
        logs: rooms.logs.clone(),
        log_events: rooms.logs_said,
        journal: rooms.journal.clone(),
        recovered: rooms.recovered,
        events: rooms.events,
        ended: config.run_dir.join("ended"),
        jitter_seed: u64::from_ne_bytes(seed),
    })
    .context("take over what runs")?;
    listen_to_signals(&handle, reload, &end)?;
    let serve = socket::serve(
        listener,
        rooms.judge,
        handle.clone(),
        rooms.logs.clone(),
        end.clone(),
    );
    tokio::task::spawn_local(async move {
        if let Err(error) = serve.await {
            tracing::error!(%error, "the local socket can not be served");
        }
    });
    if let Some(path) = config.supervisor_socket.clone() {
        let alias = Alias {
            path,
            socket: config.run_dir.join("supervisor.sock"),
            etc: "/etc".into(),
        };
        tokio::task::spawn_local(alias.keep(end.clone()));
    }
    let farewell = start_link(config, handle, rooms.logs, rooms.journal, end.clone())?;
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the worker is ready");
    let lived = core.run(end.clone()).await;
    end.cancel();
    let _ = farewell.recv_timeout(LINK_FAREWELL);
    Ok(lived?)
}

/// What it takes to read the configuration again.
struct Reload {
    settings: Settings,
    caller: Caller,
    ground: Arc<Ground>,
    logs: Logs,
}

impl Reload {
    /// Puts the file's policy and its rules for logs in force; one that is not usable changes nothing.
    fn read_again(&self) {
        match self.settings.again(&self.caller) {
            Ok(settings) => {
                tracing::info!("the policy and the rules for logs are read again");
                self.logs.set_rules(settings.config.logs);
                self.ground.set_policy(settings.config.policy);
            }
            Err(errors) => {
                tracing::error!(%errors, "the configuration is not usable: policy and rules for logs stay as they were");
            }
        }
    }
}

/// SIGTERM ends the worker; SIGHUP makes it read its policy and its rules for logs again; `host-agent stop --daemons` makes it stop every daemon
/// and start none.
fn listen_to_signals(
    handle: &SupervisorHandle,
    reload: Reload,
    end: &CancellationToken,
) -> io::Result<()> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stop = signal(SignalKind::from_raw(STOP_DAEMONS.as_raw()))?;
    let (handle, end) = (handle.clone(), end.clone());
    tokio::task::spawn_local(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => end.cancel(),
                _ = hang_up.recv() => reload.read_again(),
                _ = stop.recv() => handle.stop_daemons().await,
            }
        }
    });
    Ok(())
}

/// The link lives on a thread of its own: TLS and a far server never delay a respawn.
fn start_link(
    config: &Config,
    handle: SupervisorHandle,
    logs: Logs,
    journal: Journal,
    end: CancellationToken,
) -> io::Result<Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(QUESTION_THREADS_MAX)
        .build()?;
    let config = config.clone();
    let (ended, farewell) = sync_channel(1);
    vital::spawn("link", move || {
        runtime.block_on(link::run(config, handle, logs, journal, end));
        runtime.shutdown_background();
        // The worker may not have waited.
        let _ = ended.try_send(());
    })?;
    Ok(farewell)
}

fn ground(config: &Config, caller: &Caller, keeper: WorkerEnd) -> anyhow::Result<Ground> {
    let privileged = caller.uid == 0;
    let nofile = raise_open_files();
    let cgroups = if privileged {
        Cgroups::open(&config.state_dir)
    } else {
        Err("the agent does not run as root".to_owned())
    };
    if let Err(why) = &cgroups {
        tracing::warn!(
            why,
            "no cgroups: a daemon's processes are found by session and environment, which hostile ones can outrun"
        );
    }
    let run_dir: &Path = &config.run_dir;
    Ok(Ground {
        helper: Helper::open()
            .context("the exec helper `zhylon-exec` must lie beside this program")?,
        records: Records::open(run_dir.join("records")).context("open the run records")?,
        fifos: Fifos::new(run_dir.join("fifo"), privileged),
        cgroups: cgroups.ok(),
        policy: std::sync::RwLock::new(Arc::new(config.policy.clone())),
        users: Arc::new(Users::new()),
        boot_id: host_agent_sys::process::boot_id().context("read the boot id")?,
        nofile,
        keeper: Arc::new(keeper),
    })
}
