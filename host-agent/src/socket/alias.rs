//! `/run/supervisor.sock`, where Supervisor's clients look: a link to our socket, for as long as no Supervisor wants the
//! place. A Supervisor that starts at boot may find it taken for as long as [`LOOK_EVERY`], never longer.

use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How often to look whether a Supervisor has come or gone. Debian's unit tries again after 50 s.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Names under which Supervisor's service is known.
const SERVICES: [&str; 2] = ["supervisor", "supervisord"];

/// The link.
#[derive(Debug, Clone)]
pub(crate) struct Alias {
    /// Where clients look.
    pub(crate) path: PathBuf,
    /// Our socket.
    pub(crate) socket: PathBuf,
    /// Where the host keeps its services: `/etc`.
    pub(crate) etc: PathBuf,
}

impl Alias {
    /// Keeps the link as it should be until cancelled. It stays then: the next worker serves the same socket.
    pub(crate) async fn keep(self, cancel: CancellationToken) {
        let mut told = None;
        loop {
            let error = self.look().err().map(|error| error.to_string());
            // The same trouble is told once.
            if let Some(error) = error.as_ref().filter(|_| error != told) {
                tracing::warn!(path = %self.path.display(), error, "Supervisor's clients can not be served here");
            }
            told = error;
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Makes the link, takes it away, or leaves what is there alone.
    fn look(&self) -> io::Result<()> {
        let path = &self.path;
        match std::fs::read_link(path) {
            Ok(target) if target == self.socket => {
                if !self.is_wanted_by_supervisor() {
                    return Ok(());
                }
                tracing::info!(path = %path.display(), "given back: Supervisor's service is enabled");
                std::fs::remove_file(path)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if self.is_wanted_by_supervisor() {
                    return Ok(());
                }
                match symlink(&self.socket, path) {
                    Ok(()) => {
                        tracing::info!(path = %path.display(), "taken for Supervisor's clients");
                        Ok(())
                    }
                    // A Supervisor was faster.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                    Err(error) => Err(error),
                }
            }
            // A Supervisor's own socket, or somebody else's link.
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a Supervisor is started at boot, by systemd or by an init script.
    pub(crate) fn is_wanted_by_supervisor(&self) -> bool {
        let systemd = self.etc.join("systemd/system/multi-user.target.wants");
        let by_systemd = |name: &&str| is_there(&systemd.join(format!("{name}.service")));
        SERVICES.iter().any(by_systemd) || (2..=5).any(|level| self.is_started_at(level))
    }

    /// `rc3.d/S01supervisor`.
    fn is_started_at(&self, runlevel: u8) -> bool {
        let Ok(scripts) = std::fs::read_dir(self.etc.join(format!("rc{runlevel}.d"))) else {
            return false;
        };
        scripts.filter_map(Result::ok).any(|script| {
            let name = script.file_name();
            let service = name.to_str().and_then(|name| {
                let name = name.strip_prefix('S')?;
                Some(name.trim_start_matches(|c: char| c.is_ascii_digit()))
            });
            service.is_some_and(|service| SERVICES.contains(&service))
        })
    }
}

/// Also when it is a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;

    use super::*;

    struct Host {
        dir: tempfile::TempDir,
        alias: Alias,
    }

    impl Host {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            let alias = Alias {
                path: at("supervisor.sock"),
                socket: at("ours.sock"),
                etc: at("etc"),
            };
            let wants = at("etc/systemd/system/multi-user.target.wants");
            for dir in [wants, at("etc/rc3.d"), at("etc/rc0.d")] {
                fs::create_dir_all(dir).unwrap();
            }
            Self { dir, alias }
        }

        fn is_ours(&self) -> bool {
            self.alias.look().unwrap();
            fs::read_link(&self.alias.path).is_ok_and(|target| target == self.alias.socket)
        }
    }

    #[test]
    fn it_is_taken_when_nobody_wants_it_and_given_back_when_somebody_does() {
        let host = Host::new();
        let etc = host.dir.path().join("etc");
        assert!(host.is_ours() && host.is_ours());
        for service in [
            "systemd/system/multi-user.target.wants/supervisor.service",
            "systemd/system/multi-user.target.wants/supervisord.service",
            "rc3.d/S01supervisor",
        ] {
            symlink("/nowhere", etc.join(service)).unwrap();
            assert!(!host.is_ours(), "{service}");
            assert!(!is_there(&host.alias.path), "{service}");
            fs::remove_file(etc.join(service)).unwrap();
            assert!(host.is_ours(), "{service}");
        }
        for other in ["rc3.d/K01supervisor", "rc0.d/S01supervisor", "rc3.d/S01ssh"] {
            symlink("/nowhere", etc.join(other)).unwrap();
            assert!(host.is_ours(), "{other}");
        }
    }

    #[test]
    fn what_is_somebody_elses_is_left_alone() {
        let host = Host::new();
        let path = &host.alias.path;
        let theirs = UnixListener::bind(path).unwrap();
        assert!(!host.is_ours());
        drop(theirs);
        assert!(!host.is_ours(), "a dead one's");
        fs::remove_file(path).unwrap();
        symlink("/elsewhere", path).unwrap();
        assert!(!host.is_ours());
        fs::remove_file(path).unwrap();
        assert!(host.is_ours());
    }

    #[test]
    fn clients_reach_us_through_it() {
        let host = Host::new();
        let listener = UnixListener::bind(&host.alias.socket).unwrap();
        assert!(host.is_ours());
        let client = std::os::unix::net::UnixStream::connect(&host.alias.path);
        assert!(client.is_ok() && listener.accept().is_ok());
    }
}
