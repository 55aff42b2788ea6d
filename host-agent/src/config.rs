//! The agent's configuration: TOML < `ZHYLON_…` environment < flags.

use std::path::PathBuf;

/// Where things lie and what this host allows.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// What must survive a reboot: identity, ledger, log indexes. 0700.
    pub(crate) state_dir: PathBuf,
    /// What need only survive a kill: socket, run records, FIFOs. 0755.
    pub(crate) run_dir: PathBuf,
    /// Whose processes may be started here.
    pub(crate) policy: Policy,
}

/// The host's own allow-list. The api-server can not change it.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// These users, by name.
    pub(crate) users: Vec<String>,
    /// Also every user with uid ≥ 1000 and a home under /home.
    pub(crate) home_users: bool,
}
