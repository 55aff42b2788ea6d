//! `zhylonctl daemon …`

use std::time::{Duration, SystemTime};

use pbjson_types::FieldMask;
use zhylon_proto::daemons::v1::tail_log_request::Start;
use zhylon_proto::daemons::v1::{
    ClearLogRequest, CreateDaemonRequest, Daemon, DeleteDaemonRequest, DesiredState,
    GetDaemonRequest, ListDaemonEventsRequest, ListDaemonsRequest, ListDaemonsResponse,
    RestartDaemonRequest, RestartPolicy, RestartStrategy, StartDaemonRequest, StopDaemonRequest,
    StopSignal, TailLogRequest, UpdateDaemonRequest,
};
use zhylon_shared::id::DaemonId;
use zhylon_shared::wire::timestamp;

use super::wait::{self, For};
use super::{PAGE_SIZE, all_pages, logs, missing, print};
use crate::args::{DaemonVerb, Output, SpecFlags, Strategy, Target, WaitFlags};
use crate::client::Client;
use crate::exit::Failure;
use crate::render::{events, table};

/// Runs a verb.
pub(crate) async fn run(client: &Client, verb: DaemonVerb, output: Output) -> Result<(), Failure> {
    let mut service = client.daemons();
    match verb {
        DaemonVerb::Create {
            server,
            command,
            spec,
            stopped,
            validate_only,
            wait,
        } => {
            let desired = if stopped {
                DesiredState::Stopped
            } else {
                DesiredState::Running
            };
            let mut daemon = Daemon {
                command,
                desired_state: desired.into(),
                ..Daemon::default()
            };
            apply(spec, &mut daemon)?;
            let request = CreateDaemonRequest {
                server_id: server.server,
                daemon: Some(daemon),
                validate_only,
            };
            let daemon = service.create_daemon(request).await?.into_inner().daemon;
            let daemon = daemon.ok_or_else(|| missing("daemon"))?;
            let wait = WaitFlags {
                wait: wait.wait && !validate_only,
                ..wait
            };
            finish(client, daemon, &wait, running, output).await
        }
        DaemonVerb::List { server, team } => {
            let all = list(client, server, team).await?;
            let now = SystemTime::now();
            print(
                output,
                &all,
                |a| table::daemons(&a.daemons, now),
                |a| a.daemons.iter().map(|d| d.id.clone()).collect(),
            )
        }
        DaemonVerb::Get(target) => {
            let request = GetDaemonRequest {
                daemon_id: resolve(client, &target).await?,
            };
            let daemon = service.get_daemon(request).await?.into_inner().daemon;
            show(output, &daemon.ok_or_else(|| missing("daemon"))?)
        }
        DaemonVerb::Update {
            target,
            command,
            spec,
            wait,
        } => {
            let mut daemon = Daemon {
                id: resolve(client, &target).await?,
                ..Daemon::default()
            };
            let mut paths = apply(spec, &mut daemon)?;
            if let Some(command) = command {
                daemon.command = command;
                paths.push("command".to_owned());
            }
            if paths.is_empty() {
                return Err(Failure::usage("nothing to change")
                    .hint("give at least one flag, such as --processes 2"));
            }
            let update_mask = Some(FieldMask { paths });
            let request = UpdateDaemonRequest {
                daemon: Some(daemon),
                update_mask,
                validate_only: false,
            };
            let daemon = service.update_daemon(request).await?.into_inner().daemon;
            finish(
                client,
                daemon.ok_or_else(|| missing("daemon"))?,
                &wait,
                running,
                output,
            )
            .await
        }
        DaemonVerb::Start { target, wait } => {
            let request = StartDaemonRequest {
                daemon_id: resolve(client, &target).await?,
            };
            let daemon = service.start_daemon(request).await?.into_inner().daemon;
            finish(
                client,
                daemon.ok_or_else(|| missing("daemon"))?,
                &wait,
                running,
                output,
            )
            .await
        }
        DaemonVerb::Stop { target, wait } => {
            let request = StopDaemonRequest {
                daemon_id: resolve(client, &target).await?,
            };
            let daemon = service.stop_daemon(request).await?.into_inner().daemon;
            let stopped = |d: &Daemon| For::Stopped {
                revision: d.revision,
            };
            finish(
                client,
                daemon.ok_or_else(|| missing("daemon"))?,
                &wait,
                stopped,
                output,
            )
            .await
        }
        DaemonVerb::Restart {
            target,
            strategy,
            wait,
        } => {
            let daemon_id = resolve(client, &target).await?;
            let request = RestartDaemonRequest {
                daemon_id,
                not_after: None,
                strategy: match strategy {
                    Strategy::AllAtOnce => RestartStrategy::AllAtOnce,
                    Strategy::Rolling => RestartStrategy::Rolling,
                }
                .into(),
            };
            let daemon = service.restart_daemon(request).await?.into_inner().daemon;
            let settled = |d: &Daemon| For::Restart {
                generation: d.restart_generation,
            };
            finish(
                client,
                daemon.ok_or_else(|| missing("daemon"))?,
                &wait,
                settled,
                output,
            )
            .await
        }
        DaemonVerb::Delete(target) => {
            let daemon_id = resolve(client, &target).await?;
            service
                .delete_daemon(DeleteDaemonRequest {
                    daemon_id: daemon_id.clone(),
                    etag: String::new(),
                })
                .await?;
            crate::printer::note(&format!("{daemon_id} deleted"));
            Ok(())
        }
        DaemonVerb::Logs {
            target,
            follow,
            tail_lines,
            since,
            instance,
        } => {
            let daemon_id = resolve(client, &target).await?;
            let start = Some(match since {
                Some(time) => Start::Since(timestamp(time)),
                None => Start::TailLines(tail_lines),
            });
            logs::tail(
                client,
                TailLogRequest {
                    daemon_id,
                    start,
                    follow,
                    instance,
                },
            )
            .await
        }
        DaemonVerb::ClearLog(target) => {
            let daemon_id = resolve(client, &target).await?;
            client
                .logs()
                .clear_log(ClearLogRequest { daemon_id })
                .await?;
            Ok(())
        }
        DaemonVerb::Events { target, newest } => {
            let request = ListDaemonEventsRequest {
                daemon_id: resolve(client, &target).await?,
                page_size: newest,
                page_token: String::new(),
            };
            let page = service.list_daemon_events(request).await?.into_inner();
            print(
                output,
                &page,
                |page| events::table(&page.events),
                |page| page.events.iter().map(|event| event.id.clone()).collect(),
            )
        }
    }
}

fn running(daemon: &Daemon) -> For {
    For::Running {
        revision: daemon.revision,
    }
}

/// Waits if asked, then prints.
async fn finish(
    client: &Client,
    daemon: Daemon,
    flags: &WaitFlags,
    what: impl Fn(&Daemon) -> For,
    output: Output,
) -> Result<(), Failure> {
    let daemon = if flags.wait {
        wait::until(
            client,
            &daemon,
            what(&daemon),
            Duration::from_secs(flags.timeout),
        )
        .await?
    } else {
        daemon
    };
    show(output, &daemon)
}

fn show(output: Output, daemon: &Daemon) -> Result<(), Failure> {
    print(
        output,
        daemon,
        |d| table::daemon(d, SystemTime::now()),
        |d| vec![d.id.clone()],
    )
}

async fn list(
    client: &Client,
    server: Option<String>,
    team: Option<String>,
) -> Result<ListDaemonsResponse, Failure> {
    let server = match (&server, &team) {
        (None, None) => std::env::var("ZHYLON_SERVER_ID").ok(),
        _ => server,
    };
    if server.is_none() && team.is_none() {
        return Err(Failure::usage("no server and no team")
            .hint("pass --server or --team, or set ZHYLON_SERVER_ID"));
    }
    let mut service = client.daemons();
    let daemons = all_pages(async |page_token| {
        let request = ListDaemonsRequest {
            server_id: server.clone().unwrap_or_default(),
            team_id: team.clone().unwrap_or_default(),
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = service.list_daemons(request).await?.into_inner();
        Ok((page.daemons, page.next_page_token))
    })
    .await?;
    Ok(ListDaemonsResponse {
        daemons,
        next_page_token: String::new(),
    })
}

/// The id of what was typed: an id as it is, the name `daemon-…` of the host's own tools, else a label on the server.
async fn resolve(client: &Client, target: &Target) -> Result<String, Failure> {
    if target.daemon.parse::<DaemonId>().is_ok() {
        return Ok(target.daemon.clone());
    }
    if let Some(zhylon_shared::name::Target::Daemon(id)) =
        zhylon_shared::name::parse(&target.daemon)
    {
        return Ok(id.to_string());
    }
    let Some(server) = target.server.clone() else {
        return Err(
            Failure::usage(format!("{:?} is not an id (`h:…`)", target.daemon))
                .hint("to use a name, pass --server or set ZHYLON_SERVER_ID"),
        );
    };
    let all = list(client, Some(server), None).await?;
    all.daemons
        .into_iter()
        .find(|daemon| daemon.name == target.daemon)
        .map(|daemon| daemon.id)
        .ok_or_else(|| {
            Failure::new(
                4,
                format!("no daemon named {:?} on this server", target.daemon),
            )
        })
}

/// Puts the flags given into `daemon`; gives the paths they set.
fn apply(flags: SpecFlags, daemon: &mut Daemon) -> Result<Vec<String>, Failure> {
    let mut paths = Vec::new();
    let mut set = |path: &str| paths.push(path.to_owned());
    if let Some(name) = flags.name {
        daemon.name = name;
        set("name");
    }
    if let Some(user) = flags.user {
        daemon.user = Some(user);
        set("user");
    }
    if let Some(directory) = flags.directory {
        daemon.directory = directory;
        set("directory");
    }
    if flags.processes.is_some() {
        daemon.processes = flags.processes;
        set("processes");
    }
    if flags.start_seconds.is_some() {
        daemon.start_seconds = flags.start_seconds;
        set("start_seconds");
    }
    if flags.stop_seconds.is_some() {
        daemon.stop_seconds = flags.stop_seconds;
        set("stop_seconds");
    }
    if let Some(signal) = flags.stop_signal {
        let name = format!("STOP_SIGNAL_{}", signal.to_uppercase());
        daemon.stop_signal = StopSignal::from_str_name(&name).unwrap_or_default().into();
        set("stop_signal");
    }
    if let Some(policy) = flags.restart_policy {
        let name = format!("RESTART_POLICY_{}", policy.to_uppercase().replace('-', "_"));
        daemon.restart_policy = RestartPolicy::from_str_name(&name)
            .unwrap_or_default()
            .into();
        set("restart_policy");
    }
    if let Some(retries) = flags.max_retries {
        daemon.max_retries = retries;
        set("max_retries");
    }
    if !flags.environment.is_empty() {
        daemon.environment = flags
            .environment
            .iter()
            .map(|v| variable(v))
            .collect::<Result<_, _>>()?;
        set("environment");
    }
    let limits = crate::limits::apply(&flags.limits, daemon);
    paths.extend(limits.into_iter().map(str::to_owned));
    Ok(paths)
}

/// `NAME=VALUE`, or `NAME` alone for the value it has in our own environment.
fn variable(text: &str) -> Result<(String, String), Failure> {
    if let Some((name, value)) = text.split_once('=') {
        return Ok((name.to_owned(), value.to_owned()));
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(_) => Err(Failure::usage(format!(
            "--env {text}: no such variable in this program's environment"
        ))),
    }
}
