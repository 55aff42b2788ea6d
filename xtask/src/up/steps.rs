//! The steps of `up`, in their order.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use zhylon_proto::daemons::v1::daemon_service_client::DaemonServiceClient;
use zhylon_proto::daemons::v1::server_service_client::ServerServiceClient;
use zhylon_proto::daemons::v1::{
    ConnectionState, CreateDaemonRequest, CreateEnrollmentTokenRequest, CreateServerRequest,
    Daemon, GetDaemonRequest, GetServerRequest, InstanceState, ListDaemonsRequest,
};

use super::layout::{Ids, Layout, Record, write};
use super::{STEP, api};

/// Counts up, one line a second; ends at once on TERM.
const SAMPLE: &str = "/bin/sh -c 'n=0; while :; do n=$((n+1)); echo \"tick $n\"; sleep 1; done'";
/// Its label.
const SAMPLE_NAME: &str = "sample";

/// The public address.
pub(crate) fn api_url(record: &Record) -> String {
    format!("https://127.0.0.1:{}", record.api_port)
}

/// The certificates that clients trust.
pub(crate) fn ca_file(layout: &Layout) -> PathBuf {
    layout.api().join("public-ca.pem")
}

/// Writes both programs' configuration.
///
/// # Errors
/// When a file can not be written.
pub(super) fn write_configuration(layout: &Layout, record: &Record) -> Result<()> {
    let quoted =
        |path: PathBuf| toml::Value::String(path.to_string_lossy().into_owned()).to_string();
    let api = format!(
        "listen = \"127.0.0.1:{}\"\nagent_listen = \"127.0.0.1:{}\"\npublic_names = [\"localhost\", \"127.0.0.1\"]\n\
         agent_names = [\"127.0.0.1\"]\ndata_dir = {}\n",
        record.api_port,
        record.agent_port,
        quoted(layout.api()),
    );
    write(&layout.file("api-server.toml"), &api, 0o644)?;
    let agent = format!(
        "state_dir = {}\nrun_dir = {}\n\n# The sample runs as whoever called `up`, root too.\n[policy]\nusers = [{}]\nhome_users = true\n",
        quoted(layout.agent()),
        quoted(record.run_dir.clone()),
        toml::Value::String(user_name()?),
    );
    write(&layout.file("host-agent.toml"), &agent, 0o644)
}

/// Creates the operator, the first user and team, and a token each, once.
///
/// # Errors
/// When the api-server refuses.
pub(super) fn bootstrap(layout: &Layout, record: &Record) -> Result<()> {
    if layout.file("team.json").exists() {
        return Ok(());
    }
    let output = Command::new(record.bin_dir.join("api-server"))
        .args([
            "admin",
            "bootstrap",
            "--json",
            "--owner",
            "owner",
            "--team",
            "first team",
            "--config",
        ])
        .arg(layout.file("api-server.toml"))
        .arg("--operator-token-file")
        .arg(layout.file("operator.token"))
        .arg("--owner-token-file")
        .arg(layout.file("owner.token"))
        .output()
        .context("start api-server admin bootstrap")?;
    if !output.status.success() {
        bail!(
            "api-server admin bootstrap failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = String::from_utf8(output.stdout).context("bootstrap's answer")?;
    write(&layout.file("team.json"), &text, 0o644)
}

/// Enrols this machine, once, and makes sure that the sample runs. Gives the sample's id.
///
/// # Errors
/// When a step fails or takes too long.
pub(super) async fn enrol_and_start_sample(layout: &Layout, record: &Record) -> Result<String> {
    let token = std::fs::read_to_string(layout.file("owner.token")).context("read owner.token")?;
    let url = api_url(record);
    let deadline = Instant::now() + STEP;
    let service = loop {
        match api::connect(&url, &ca_file(layout), &token).await {
            Ok(service) => break service,
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!(
                    "the api-server does not answer; see {}",
                    layout.file("runner.log").display()
                )));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let mut servers = ServerServiceClient::new(service.clone());
    let ids = match layout.ids()? {
        Some(ids) => ids,
        None => {
            let team: serde_json::Value =
                serde_json::from_slice(&std::fs::read(layout.file("team.json"))?)?;
            let team_id = team["team_id"]
                .as_str()
                .context("bootstrap's answer has no team_id")?
                .to_owned();
            let request = CreateServerRequest {
                team_id: team_id.clone(),
                name: host_name(),
            };
            let server = servers
                .create_server(request)
                .await?
                .into_inner()
                .server
                .context("no server")?;
            let ids = Ids {
                team_id,
                server_id: server.id,
            };
            write(
                &layout.file("ids.json"),
                &serde_json::to_string_pretty(&ids)?,
                0o644,
            )?;
            ids
        }
    };
    if !layout.agent().join("identity/identity.json").exists() {
        let request = CreateEnrollmentTokenRequest {
            server_id: ids.server_id.clone(),
        };
        let token = servers
            .create_enrollment_token(request)
            .await?
            .into_inner()
            .token;
        enrol(layout, record, &url, &token)?;
    }
    let deadline = Instant::now() + STEP;
    loop {
        let request = GetServerRequest {
            server_id: ids.server_id.clone(),
        };
        let server = servers
            .get_server(request)
            .await?
            .into_inner()
            .server
            .unwrap_or_default();
        if server.connection_state() == ConnectionState::Connected {
            break;
        }
        if Instant::now() > deadline {
            bail!(
                "the agent does not connect; see {}",
                layout.file("runner.log").display()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    start_sample(&mut DaemonServiceClient::new(service), &ids.server_id).await
}

/// The token goes by stdin: argv can be read by everybody.
fn enrol(layout: &Layout, record: &Record, url: &str, token: &str) -> Result<()> {
    use std::io::Write as _;
    let mut agent = Command::new(record.bin_dir.join("host-agent"))
        .args(["enroll", "--api-url", url, "--token-file", "-", "--config"])
        .arg(layout.file("host-agent.toml"))
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .context("start host-agent enroll")?;
    if let Some(mut stdin) = agent.stdin.take() {
        writeln!(stdin, "{token}")?;
    }
    let output = agent.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "host-agent enroll failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

async fn start_sample(
    daemons: &mut DaemonServiceClient<api::Service>,
    server_id: &str,
) -> Result<String> {
    let request = ListDaemonsRequest {
        server_id: server_id.to_owned(),
        page_size: 1000,
        ..Default::default()
    };
    let existing = daemons.list_daemons(request).await?.into_inner().daemons;
    let sample = match existing
        .into_iter()
        .find(|daemon| daemon.name == SAMPLE_NAME)
    {
        Some(daemon) => daemon,
        None => {
            let daemon = Daemon {
                name: SAMPLE_NAME.to_owned(),
                command: SAMPLE.to_owned(),
                user: Some(user_name()?),
                ..Daemon::default()
            };
            let request = CreateDaemonRequest {
                server_id: server_id.to_owned(),
                daemon: Some(daemon),
                validate_only: false,
            };
            daemons
                .create_daemon(request)
                .await?
                .into_inner()
                .daemon
                .context("no daemon")?
        }
    };
    let deadline = Instant::now() + STEP;
    loop {
        let request = GetDaemonRequest {
            daemon_id: sample.id.clone(),
        };
        let status = daemons
            .get_daemon(request)
            .await?
            .into_inner()
            .daemon
            .and_then(|d| d.status);
        let status = status.unwrap_or_default();
        if status.state() == InstanceState::Running && !status.reconciling {
            return Ok(sample.id);
        }
        if Instant::now() > deadline {
            bail!(
                "the sample does not run: {} {:?}",
                status.message,
                status.instances
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The calling user's name, from the user data base.
fn user_name() -> Result<String> {
    let output = Command::new("id").arg("-un").output().context("start id")?;
    let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    anyhow::ensure!(
        output.status.success() && !name.is_empty(),
        "this user has no name"
    );
    Ok(name)
}

fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() {
        "this machine".to_owned()
    } else {
        name.chars().take(64).collect()
    }
}
