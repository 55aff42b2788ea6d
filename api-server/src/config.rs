//! The configuration: TOML file < `ZHYLON_…` environment < flags, one value per key, all mistakes told at once.
//!
//! Never reads a secret: those come by file, and only their paths stand here.

mod layers;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::DnsName;
use zhylon_shared::telemetry::LogFormat;
use zhylon_shared::tls;

use layers::Layers;

/// Where the public API listens unless told.
const DEFAULT_LISTEN: &str = "127.0.0.1:8443";
/// Where agents are awaited unless told.
const DEFAULT_AGENT_LISTEN: &str = "127.0.0.1:8444";
/// Names both listeners' certificates carry unless told: enough for a first try on one machine.
const DEFAULT_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Where everything of the api-server lies unless told.
const DEFAULT_DATA_DIR: &str = "/var/lib/zhylon-api-server";
/// First part of agents' SPIFFE ids unless told.
const DEFAULT_TRUST_DOMAIN: &str = "daemons.zhylon.net";
/// What is logged unless told.
const DEFAULT_LOG_FILTER: &str = "info";
/// How often both ends of a link send a sign of life unless told.
const DEFAULT_HEARTBEAT_MS: u64 = 15_000;
/// What agents follow. Shorter heartbeats would be noise; with longer ones an agent, which waits 45 s for one, would take
/// a live link for a dead one.
const HEARTBEAT_MS: std::ops::RangeInclusive<u64> = 1_000..=20_000;
/// More names than this in one certificate is a mistake.
const NAMES_MAX: usize = 64;

/// Flags that override the file and the environment. Every one of them is also a key of the file and, in capitals
/// after `ZHYLON_`, a variable of the environment.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(long, env = "ZHYLON_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Address of the public API; port 0 takes a free one [default: 127.0.0.1:8443]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Option<String>,
    /// Address agents connect to; port 0 takes a free one [default: 127.0.0.1:8444]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) agent_listen: Option<String>,
    /// Names and IPs by which clients reach the public API [default: localhost,127.0.0.1,::1]
    #[arg(long, value_name = "NAME,…")]
    pub(crate) public_names: Option<String>,
    /// Names and IPs by which agents reach their listener, the preferred one first [default: localhost,127.0.0.1,::1]
    #[arg(long, value_name = "NAME,…")]
    pub(crate) agent_names: Option<String>,
    /// Directory of database, keys and certificate authorities [default: /var/lib/zhylon-api-server]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Trust domain of the agents' SPIFFE ids [default: daemons.zhylon.net]
    #[arg(long, value_name = "NAME")]
    pub(crate) trust_domain: Option<String>,
    /// Certificate chain of the public API, PEM; made by ourselves if absent
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_certificate_file: Option<String>,
    /// Private key of that certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key_file: Option<String>,
    /// `text` or `json` [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// What is logged, e.g. `info,api_server=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log_filter: Option<String>,
    /// Heartbeat of agents' links in milliseconds, 1000 to 20000 [default: 15000]
    #[arg(long, value_name = "MS")]
    pub(crate) heartbeat_interval_ms: Option<String>,
}

/// A configuration in which every value keeps its rule.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where the public API listens.
    pub(crate) listen: SocketAddr,
    /// Where agents are awaited.
    pub(crate) agent_listen: SocketAddr,
    /// Names and IPs in the public listener's own certificate; at least one.
    pub(crate) public_names: Vec<String>,
    /// Names and IPs in the agent listener's certificate and in the addresses agents are given; at least one.
    pub(crate) agent_names: Vec<String>,
    /// Directory of database, keys and authorities. 0700.
    pub(crate) data_dir: PathBuf,
    /// Trust domain of the agents' SPIFFE ids.
    pub(crate) trust_domain: String,
    /// The public listener's certificate, if it is not to be made by ourselves.
    pub(crate) tls_files: Option<TlsFiles>,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
    /// What is logged.
    pub(crate) log_filter: String,
    /// How often both ends of a link send a sign of life.
    pub(crate) heartbeat_interval: Duration,
}

/// A certificate somebody else made. Known to be readable and to fit together when the configuration was read.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    /// The chain, leaf first, PEM.
    pub(crate) certificate: PathBuf,
    /// The leaf's private key, PEM.
    pub(crate) key: PathBuf,
}

/// All mistakes of a configuration, one per line, each with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigErrors(pub(crate) Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// All mistakes at once.
    pub(crate) fn load(
        args: &ConfigArgs,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        let mut from = Layers::new(args, &env);
        let listen = address(&mut from, "listen", DEFAULT_LISTEN);
        let agent_listen = address(&mut from, "agent_listen", DEFAULT_AGENT_LISTEN);
        let public_names = names(&mut from, "public_names");
        let agent_names = names(&mut from, "agent_names");
        let data_dir = from.text("data_dir").unwrap_or(DEFAULT_DATA_DIR.to_owned());
        if data_dir.is_empty() {
            from.refuse("data_dir", "must not be empty: name a directory");
        }
        let trust_domain = trust_domain(&mut from);
        let tls_files = tls_files(&mut from);
        let log_format = match from.text("log_format").map(|text| text.parse()) {
            Some(Err(reason)) => {
                from.refuse("log_format", reason);
                LogFormat::default()
            }
            Some(Ok(format)) => format,
            None => LogFormat::default(),
        };
        let log_filter = from
            .text("log_filter")
            .unwrap_or(DEFAULT_LOG_FILTER.to_owned());
        let heartbeat = from
            .number("heartbeat_interval_ms")
            .unwrap_or(DEFAULT_HEARTBEAT_MS);
        if !HEARTBEAT_MS.contains(&heartbeat) {
            let (low, high) = (HEARTBEAT_MS.start(), HEARTBEAT_MS.end());
            from.refuse(
                "heartbeat_interval_ms",
                format!("{heartbeat} is not between {low} and {high}"),
            );
        }
        from.finish()?;
        Ok(Self {
            listen,
            agent_listen,
            public_names,
            agent_names,
            data_dir: data_dir.into(),
            trust_domain,
            tls_files,
            log_format,
            log_filter,
            heartbeat_interval: Duration::from_millis(heartbeat),
        })
    }
}

fn address(from: &mut Layers<'_>, key: &'static str, default: &str) -> SocketAddr {
    let text = from.text(key).unwrap_or_else(|| default.to_owned());
    text.parse().unwrap_or_else(|_| {
        from.refuse(
            key,
            format!("{text:?} is not an address: expected `IP:PORT` such as {default}"),
        );
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

fn names(from: &mut Layers<'_>, key: &'static str) -> Vec<String> {
    let Some(names) = from.list(key) else {
        return DEFAULT_NAMES.map(str::to_owned).to_vec();
    };
    if names.is_empty() || names.len() > NAMES_MAX {
        from.refuse(key, format!("must hold 1 to {NAMES_MAX} names or IPs"));
    }
    for name in &names {
        if name.parse::<IpAddr>().is_err() && DnsName::try_from(name.as_str()).is_err() {
            from.refuse(key, format!("{name:?} is neither a DNS name nor an IP"));
        }
    }
    names
}

fn trust_domain(from: &mut Layers<'_>) -> String {
    let text = from
        .text("trust_domain")
        .unwrap_or_else(|| DEFAULT_TRUST_DOMAIN.to_owned());
    let allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
        from.refuse(
            "trust_domain",
            format!("{text:?} is not a trust domain: 1 to 255 of [a-z0-9._-]"),
        );
    }
    text
}

fn tls_files(from: &mut Layers<'_>) -> Option<TlsFiles> {
    let certificate = from.text("tls_certificate_file");
    let key = from.text("tls_key_file");
    let (certificate, key) = match (certificate, key) {
        (None, None) => return None,
        (Some(certificate), Some(key)) => (PathBuf::from(certificate), PathBuf::from(key)),
        (Some(_), None) => {
            from.refuse("tls_key_file", "is missing: tls_certificate_file needs it");
            return None;
        }
        (None, Some(_)) => {
            from.refuse(
                "tls_certificate_file",
                "is missing: tls_key_file makes no sense without it",
            );
            return None;
        }
    };
    let chain = tls::read(&certificate).map_err(|e| from.refuse("tls_certificate_file", e));
    let secret = tls::read(&key).map_err(|e| from.refuse("tls_key_file", e));
    if let (Ok(chain), Ok(secret)) = (chain, secret)
        && let Err(error) = tls::public_server(&chain, &secret)
    {
        from.refuse("tls_certificate_file", error);
    }
    Some(TlsFiles { certificate, key })
}

#[cfg(test)]
mod tests;
