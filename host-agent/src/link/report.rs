//! `run_dir/link.json`: how the link is, for `host-agent status`. Written by rename, never synced: it need not survive a
//! power cut. Must never hold a secret.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zhylon_proto::agent::v1::Reject;
use zhylon_shared::id::ServerId;
use zhylon_shared::tls::error_chain;

/// File name in `run_dir`.
const FILE: &str = "link.json";
/// Longest text kept of an error, characters: it may come from the other side. The rest is cut off.
const ERROR_MAX: usize = 500;
/// A time that is further from 1970 (seconds) is no clock's: it is as if none had been said.
const LATEST: u64 = 1 << 40;

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum LinkState {
    /// There is no identity yet: `host-agent enroll` makes one.
    NotEnrolled,
    /// Not connected; tried again and again.
    Connecting,
    /// Connected and accepted.
    Connected,
    /// The api-server has revoked this identity. Daemons go on; it is asked again every 10 minutes.
    Revoked,
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkReport {
    /// How the link is.
    pub(crate) state: LinkState,
    /// Since when, Unix seconds of the host's clock.
    pub(crate) since: u64,
    /// The server this host is enrolled as.
    pub(crate) server_id: Option<ServerId>,
    /// Why the link was last lost or could not be made; kept when it stands again.
    pub(crate) last_error: Option<String>,
    /// What the api-server's clock said when this host's boot clock was at zero, Unix milliseconds, by the newest welcome.
    /// So it stays true whoever sets the host's own clock meanwhile. `None`: no welcome yet.
    #[serde(default)]
    pub(crate) server_clock: Option<i64>,
    /// Why the newest try to renew the certificate failed; `None` if it did not.
    #[serde(default)]
    pub(crate) renewal_error: Option<String>,
}

impl LinkReport {
    /// Reads the file; `None` if no worker wrote one.
    ///
    /// # Errors
    /// When it can not be read, or is not such a report.
    pub(crate) fn read(run_dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(run_dir.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the api-server's clock says now, Unix milliseconds; exact but for the way of one message. `None`: not known.
    pub(crate) fn server_time(&self) -> Option<i64> {
        Some(self.server_clock?.saturating_add(boot_clock()))
    }
}

/// Since boot, milliseconds, the time asleep included.
fn boot_clock() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// Keeps the file.
#[derive(Debug)]
pub(super) struct Reporter {
    run_dir: PathBuf,
    report: Option<LinkReport>,
    server_clock: Option<i64>,
    renewal_error: Option<String>,
}

impl Reporter {
    pub(super) fn new(run_dir: PathBuf) -> Self {
        Self {
            run_dir,
            report: None,
            server_clock: None,
            renewal_error: None,
        }
    }

    /// How far the api-server's clock is ahead of the host's, in seconds; 0 where that is not known.
    pub(super) fn ahead(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let host = since.map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        });
        let server = self
            .server_clock
            .map(|zero| zero.saturating_add(boot_clock()));
        server.map_or(0, |server| server.saturating_sub(host) / 1000)
    }

    /// How a try to renew the certificate went.
    pub(super) fn tried_renewal(&mut self, error: Option<String>) {
        let error = error.map(|error| clip(&error));
        if self.renewal_error == error {
            return;
        }
        if let Some(why) = &error {
            tracing::warn!(
                why,
                "this host's certificate was not renewed; it is tried again, daemons go on"
            );
        }
        self.renewal_error = error;
        if let Some(report) = &mut self.report {
            report.renewal_error.clone_from(&self.renewal_error);
        }
        if let Some(report) = &self.report {
            self.try_write(report);
        }
    }

    /// The api-server just said what time it is (Unix seconds, and nanoseconds); written with the state that follows.
    pub(super) fn heard_time(&mut self, time: Option<(i64, i32)>) {
        let time = time.filter(|(seconds, _)| seconds.unsigned_abs() < LATEST);
        self.server_clock = time
            .map(|(seconds, nanos)| seconds * 1000 + i64::from(nanos) / 1_000_000 - boot_clock());
    }

    /// A connection is about to be tried. What an earlier worker left in the file is no longer true.
    pub(super) fn begin(&mut self, server: ServerId) {
        let state = self.report.as_ref().map(|report| report.state);
        if state != Some(LinkState::Revoked) {
            self.say(LinkState::Connecting, Some(server), None);
        }
    }

    /// Says how the link is now. `error` is why it is not better; `None` keeps the last one. Writes and logs on change
    /// only, so that a server that is away for a night is one line and not a thousand.
    pub(super) fn say(&mut self, state: LinkState, server: Option<ServerId>, error: Option<&str>) {
        let old = self.report.as_ref();
        let why = error.map(clip);
        let new = LinkReport {
            state,
            since: match old {
                Some(old) if old.state == state => old.since,
                _ => now(),
            },
            server_id: server,
            last_error: (why.clone()).or_else(|| old.and_then(|old| old.last_error.clone())),
            server_clock: self.server_clock,
            renewal_error: self.renewal_error.clone(),
        };
        if old == Some(&new) {
            return;
        }
        match (state, why) {
            (LinkState::NotEnrolled, None) => {
                tracing::info!("not enrolled: run `host-agent enroll`");
            }
            (LinkState::Connected, _) => match server {
                Some(server) => tracing::info!(%server, "connected"),
                None => tracing::info!("connected"),
            },
            (LinkState::NotEnrolled | LinkState::Connecting, Some(why)) => {
                tracing::warn!(why, "not connected; daemons go on");
            }
            // A try that begins; and a refusal, which is said every time by the one who waits.
            (LinkState::Connecting, None) | (LinkState::Revoked, _) => {}
        }
        self.try_write(&new);
        self.report = Some(new);
    }

    /// The worker ends: nobody keeps the file true any more.
    pub(super) fn end(&self) {
        let _ = std::fs::remove_file(self.run_dir.join(FILE));
    }

    fn try_write(&self, report: &LinkReport) {
        if let Err(error) = self.write(report) {
            tracing::warn!(%error, "{} could not be written", self.run_dir.join(FILE).display());
        }
    }

    fn write(&self, report: &LinkReport) -> io::Result<()> {
        let path = self.run_dir.join(FILE);
        let tmp = path.with_extension("json.tmp");
        let mut bytes = serde_json::to_vec(report)?;
        bytes.push(b'\n');
        std::fs::write(&tmp, bytes)?;
        std::fs::rename(tmp, path)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// One printable line of bounded length.
fn clip(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(ERROR_MAX)
        .collect()
}

/// What a refusal says, for people.
pub(super) fn refused(reject: &Reject) -> String {
    let name = reject.reason().as_str_name();
    let name = name.trim_start_matches("REJECT_REASON_");
    format!(
        "the api-server refuses this agent: {name}: {}",
        reject.message
    )
}

/// What a gRPC status says, for people, with all causes: for a refused certificate the reason is only there.
pub(super) fn describe(status: &tonic::Status) -> String {
    let mut cause = status.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof) {
            // What a killed api-server leaves; the libraries' words for it are three lines long.
            return "the connection broke off".to_owned();
        }
        cause = error.source();
    }
    let said = match status.message() {
        "" => status.code().description(),
        message => message,
    };
    match status.source() {
        Some(cause) => {
            let causes = error_chain(cause);
            if causes.contains(said) {
                causes
            } else {
                format!("{said}: {causes}")
            }
        }
        None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_happened_in_one_printable_line() {
        let status = tonic::Status::unavailable("going\naway");
        assert_eq!(clip(&describe(&status)), "going away");
        assert!(!describe(&tonic::Status::unavailable("")).is_empty());
        let eof = io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "no close_notify, see https://…",
        );
        let status = tonic::Status::from_error(Box::new(eof));
        assert_eq!(describe(&status), "the connection broke off");
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let status = tonic::Status::from_error(Box::new(refused));
        assert_eq!(
            describe(&status).matches("refused").count(),
            1,
            "{status:?}"
        );
        assert_eq!(clip(&"x".repeat(9999)).len(), ERROR_MAX);
    }
}
