//! The house put together: everything is opened and bound by [`App::build`], nothing is accepted before
//! [`App::serve`], and the order in which things end stands there in one place.

mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::agents::Agents;
use crate::bus::Bus;
use crate::bus::log_broker::LogBroker;
use crate::ca::{self, AgentCa};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::{Domain, EnvironmentKey};
use crate::files;
use crate::grpc::enroll::Desk;
use crate::listener::{self, Door, Limits};
use crate::store::Store;

/// File of the database in the data directory.
const DATABASE: &str = "api.db";
/// File of the key that seals environment values.
const ENVIRONMENT_KEY: &str = "env.key";
/// File that tells the bound addresses.
const ADDRESSES: &str = "addresses.json";
/// Longest time between the wish to stop and the end: calls in flight finish, streams are told.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// A built api-server.
pub(crate) struct App {
    public: Entrance,
    agent: Entrance,
    domain: Domain,
    agents: Agents,
    desk: Arc<Desk>,
    ca: Arc<AgentCa>,
    trust_domain: Arc<str>,
    tasks: TaskTracker,
}

struct Entrance {
    listener: TcpListener,
    address: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
}

/// Opens the database of the configuration.
///
/// # Errors
/// When the directory can not be made or the database not opened.
pub(crate) async fn open_store(config: &Config) -> anyhow::Result<Store> {
    files::make_directory(&config.data_dir)?;
    Ok(Store::open_sqlite(&config.data_dir.join(DATABASE)).await?)
}

impl App {
    /// Opens, loads, makes and binds everything.
    ///
    /// # Errors
    /// The first thing that can not be had, in words.
    pub(crate) async fn build(config: &Config, clock: Clock) -> anyhow::Result<Self> {
        // First, for its lock: of two api-servers on one directory only one may go on and make keys.
        let store = open_store(config).await?;
        let key = files::random_key(&config.data_dir.join(ENVIRONMENT_KEY))?;
        let bus = Bus::new(clock.clone());
        let domain = Domain::new(store, bus, EnvironmentKey::new(key), clock.clone());

        let now = clock.wall();
        let authority =
            AgentCa::load_or_make(&config.data_dir, &config.trust_domain, now).map(Arc::new)?;
        let public_certificate = ca::public_listener(config, now)?;
        let pin = ca::pin(&public_certificate.chain_pem)?;
        let public_tls = listener::public_config(&public_certificate)?;
        let agent_certificate = authority.listener(&config.agent_names, now)?;
        let agent_tls = listener::agent_config(&authority, &agent_certificate)?;

        let public = Entrance::bind(config.listen, public_tls).await?;
        let agent = Entrance::bind(config.agent_listen, agent_tls).await?;
        let addresses = agent_addresses(&config.agent_names, agent.address.port());
        let desk = Desk::new(Arc::clone(&authority), pin, addresses, clock);

        let tasks = TaskTracker::new();
        let logs = LogBroker::new();
        let agents = Agents::new(
            domain.clone(),
            logs,
            config.heartbeat_interval,
            tasks.clone(),
        );
        let app = Self {
            public,
            agent,
            domain,
            agents,
            desk: Arc::new(desk),
            ca: authority,
            trust_domain: config.trust_domain.as_str().into(),
            tasks,
        };
        let text = format!("{:#}\n", app.addresses());
        files::write(
            &config.data_dir.join(ADDRESSES),
            text.as_bytes(),
            files::READABLE,
        )?;
        Ok(app)
    }

    /// The bound addresses.
    pub(crate) fn addresses(&self) -> serde_json::Value {
        serde_json::json!({
            "listen": self.public.address.to_string(),
            "agent_listen": self.agent.address.to_string(),
        })
    }

    #[cfg(test)]
    pub(crate) fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Serves until `stop`, then drains for at most ten seconds.
    ///
    /// # Errors
    /// When a server ends by itself.
    pub(crate) async fn serve(self, stop: CancellationToken) -> anyhow::Result<()> {
        tracing::info!(
            listen = %self.public.address,
            agent_listen = %self.agent.address,
            version = env!("CARGO_PKG_VERSION"),
            "serving"
        );
        let draining = CancellationToken::new();
        self.agents.start(&draining);
        let incoming = |entrance: Entrance, door| {
            listener::accept(
                entrance.listener,
                entrance.tls,
                door,
                Limits::USUAL,
                draining.clone(),
                &self.tasks,
            )
        };
        let agent_door = Door::Agents {
            trust_domain: Arc::clone(&self.trust_domain),
        };
        let agent_connections = incoming(self.agent, agent_door);
        let public_connections = incoming(self.public, Door::Public);
        let health = tonic_health::server::HealthReporter::new();
        let mut public = tokio::spawn(server::public(
            self.domain.clone(),
            self.desk,
            self.agents.logs().clone(),
            health.clone(),
            draining.clone(),
            public_connections,
        )?);
        let mut agent = tokio::spawn(server::agent(
            self.agents.clone(),
            self.ca,
            draining.clone(),
            agent_connections,
        ));
        tokio::select! {
            () = stop.cancelled() => {}
            done = &mut public => {
                done?.context("the public server failed")?;
                anyhow::bail!("the public server ended by itself");
            }
            done = &mut agent => {
                done?.context("the agents' server failed")?;
                anyhow::bail!("the agents' server ended by itself");
            }
        }

        tracing::info!("draining");
        // Balancers look away; then nobody new comes, and those who are here are told.
        health
            .set_service_status("", tonic_health::ServingStatus::NotServing)
            .await;
        self.agents.drain();
        draining.cancel();
        self.tasks.close();
        let orderly = async {
            let _ = tokio::join!(&mut public, &mut agent, self.tasks.wait());
        };
        if tokio::time::timeout(DRAIN_DEADLINE, orderly).await.is_err() {
            tracing::warn!("some calls did not end in time and are cut");
            public.abort();
            agent.abort();
        }
        tracing::info!("stopped");
        Ok(())
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl Entrance {
    async fn bind(address: SocketAddr, tls: rustls::ServerConfig) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("can not listen on {address}"))?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            tls: Arc::new(tls),
        })
    }
}

/// `host:port` for each name by which agents reach us; IPv6 in brackets.
fn agent_addresses(names: &[String], port: u16) -> Vec<String> {
    names
        .iter()
        .map(|name| match name.parse() {
            Ok(ip) => SocketAddr::new(ip, port).to_string(),
            Err(_) => format!("{name}:{port}"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
