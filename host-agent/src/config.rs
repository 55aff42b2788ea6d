//! The agent's configuration: TOML < `ZHYLON_…` environment < flags. Everything wrong is told at once, with its key.
//!
//! Owns where things lie and whose processes this host allows. Must never be changed by the api-server.

use std::path::{Path, PathBuf};

use toml::Table;
use zhylon_shared::telemetry::LogFormat;

pub(crate) use self::caller::Caller;
pub(crate) use self::policy::Policy;
use self::reader::Reader;
use crate::logs::Rules;

mod caller;
mod logs;
pub(crate) mod policy;
mod reader;
mod trust;

/// Log filter when none is given.
const DEFAULT_LOG_FILTER: &str = "info";
/// Where Supervisor's clients look unless told otherwise (Debian's `supervisord.conf`).
const SUPERVISORS_SOCKET: &str = "/run/supervisor.sock";
/// A configuration of this size is a wrong file: it is refused unread.
const CONFIG_MAX_BYTES: u64 = 1024 * 1024;

/// Where things lie and what this host allows.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// What must survive a reboot: identity, ledger, log indexes. 0700.
    pub(crate) state_dir: PathBuf,
    /// What need only survive a kill: socket, run records, FIFOs. 0755.
    pub(crate) run_dir: PathBuf,
    /// Whose processes may be started here.
    pub(crate) policy: Policy,
    /// Where clients of Supervisor look, served while no Supervisor wants the place; `None`: nowhere.
    pub(crate) supervisor_socket: Option<PathBuf>,
    /// How log files are rotated, and what happens when there is no room for them.
    pub(crate) logs: Rules,
    /// Who keeps root's rights at the local socket when it comes through sudo.
    pub(crate) operators: Operators,
}

/// Users who may move every daemon when they come through sudo; others move only their own, as without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operators {
    /// By name. Root is one anyway.
    pub(crate) users: Vec<String>,
    /// Members of these groups, too.
    pub(crate) groups: Vec<String>,
}

impl Default for Operators {
    /// The panel's own user and the groups by which distributions give full sudo.
    fn default() -> Self {
        Self {
            users: vec![zhylon_shared::spec::DEFAULT_USER.to_owned()],
            groups: ["sudo", "admin", "wheel"].map(str::to_owned).to_vec(),
        }
    }
}

/// How the agent writes its own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

/// Everything the file, the environment and the flags say.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) log: LogSettings,
    /// Where the file is (it may be absent), and what was laid above it: to read it again.
    source: Source,
    /// What lets others than root decide what stands there; empty without root.
    faults: Vec<String>,
}

#[derive(Debug, Clone, Default)]
struct Source {
    file: Option<PathBuf>,
    overrides: Overrides,
}

/// What stands above the file. `None` leaves it to the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) run_dir: Option<PathBuf>,
    pub(crate) log_format: Option<LogFormat>,
    pub(crate) log_filter: Option<String>,
}

/// Everything wrong with a configuration, one line each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub(crate) struct InvalidConfig(pub(crate) Vec<String>);

impl Settings {
    /// Reads the file (the default one may be absent), lays `overrides` above it and checks all of it.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub(crate) fn load(
        file: Option<&Path>,
        overrides: Overrides,
        caller: &Caller,
    ) -> Result<Self, InvalidConfig> {
        let default_file = caller.default_file();
        let path = file.unwrap_or(&default_file);
        let (text, faults) = match read(path) {
            Ok((text, faults)) if caller.is_root() => (text, faults),
            Ok((text, _)) => (text, Vec::new()),
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                (String::new(), Vec::new())
            }
            Err(error) => {
                let text = format!("{}: {error}", path.display());
                return Err(InvalidConfig(vec![text]));
            }
        };
        let source = Source {
            file: file.map(Path::to_owned),
            overrides: overrides.clone(),
        };
        let settings = Self::parse(&text, overrides, caller);
        settings
            .map(|settings| Self {
                source,
                faults,
                ..settings
            })
            .map_err(|InvalidConfig(errors)| {
                let place = path.display();
                InvalidConfig(errors.iter().map(|e| format!("{place}: {e}")).collect())
            })
    }

    /// Reads the same file again.
    ///
    /// # Errors
    /// Everything that is wrong with it now, at once.
    pub(crate) fn again(&self, caller: &Caller) -> Result<Self, InvalidConfig> {
        let Source { file, overrides } = self.source.clone();
        Self::load(file.as_deref(), overrides, caller)?.trusted()
    }

    /// These settings, if as root only root could have written them. What merely ends or shows an agent asks nobody: root
    /// may do so with a user's own one.
    ///
    /// # Errors
    /// Who else could have written them, and what to do.
    pub(crate) fn trusted(self) -> Result<Self, InvalidConfig> {
        if self.faults.is_empty() {
            Ok(self)
        } else {
            Err(InvalidConfig(self.faults))
        }
    }

    /// Where the file is, or would be.
    pub(crate) fn file(&self, caller: &Caller) -> PathBuf {
        self.source
            .file
            .clone()
            .unwrap_or_else(|| caller.default_file())
    }

    /// Like [`Settings::load`], from the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub(crate) fn parse(
        text: &str,
        overrides: Overrides,
        caller: &Caller,
    ) -> Result<Self, InvalidConfig> {
        let table = text
            .parse::<Table>()
            .map_err(|error| InvalidConfig(vec![error.to_string().trim_end().to_owned()]))?;
        let mut file = Reader::new("", table);
        let state_dir = file.directory("state_dir");
        let run_dir = file.directory("run_dir");
        let format = file.log_format("log_format");
        let filter = file.text("log_filter");
        let policy = file.policy("policy", caller);
        let operators = file.operators("operators");
        let logs = file.logs("logs");
        let supervisor_socket = file.directory("supervisor_socket");
        let mut errors = file.finish();

        let state_dir = overrides.state_dir.or(state_dir);
        let run_dir = overrides.run_dir.or(run_dir);
        let run_dir = run_dir.unwrap_or_else(|| caller.default_run_dir());
        // Several agents may live on a host; the one in its default place is the host's.
        let supervisor_socket = match supervisor_socket {
            Some(path) => (path != Path::new("")).then_some(path),
            None if caller.is_root() && run_dir == caller.default_run_dir() => {
                Some(PathBuf::from(SUPERVISORS_SOCKET))
            }
            None => None,
        };
        let config = Config {
            state_dir: state_dir.unwrap_or_else(|| caller.default_state_dir()),
            run_dir,
            policy,
            supervisor_socket,
            operators,
            logs,
        };
        let paths = [
            ("state_dir", Some(&config.state_dir)),
            ("run_dir", Some(&config.run_dir)),
            ("supervisor_socket", config.supervisor_socket.as_ref()),
        ];
        for (key, dir) in paths.into_iter().filter_map(|(key, dir)| Some((key, dir?))) {
            if !dir.is_absolute() {
                errors.push(format!(
                    "{key}: must be an absolute path, is `{}`",
                    dir.display()
                ));
            }
        }
        if config.state_dir == config.run_dir {
            errors.push("run_dir: must not be the same directory as state_dir".to_owned());
        }
        if !errors.is_empty() {
            return Err(InvalidConfig(errors));
        }
        Ok(Self {
            source: Source::default(),
            faults: Vec::new(),
            config,
            log: LogSettings {
                format: overrides.log_format.or(format).unwrap_or_default(),
                filter: overrides
                    .log_filter
                    .or(filter)
                    .unwrap_or_else(|| DEFAULT_LOG_FILTER.to_owned()),
            },
        })
    }
}

/// The file's text, and who else than root could have written it.
fn read(path: &Path) -> std::io::Result<(String, Vec<String>)> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let faults = trust::faults(path, &file)?;
    file.take(CONFIG_MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CONFIG_MAX_BYTES {
        return Err(std::io::Error::other(format!(
            "is longer than {CONFIG_MAX_BYTES} bytes: not a configuration"
        )));
    }
    Ok((text, faults))
}

#[cfg(test)]
mod tests;
