//! Who runs the agent. Without root it is a smaller agent: its own user's, in that user's directories.

use std::path::PathBuf;

/// Who runs the agent: decides defaults and what can be allowed at all.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    /// Login name; the number as text when the uid has none.
    pub(crate) name: String,
    pub(crate) home: PathBuf,
    pub(super) xdg_state: Option<PathBuf>,
    pub(super) xdg_runtime: Option<PathBuf>,
    pub(super) xdg_config: Option<PathBuf>,
}

impl Caller {
    /// The user this process runs as.
    pub(crate) fn current() -> Self {
        let uid = nix::unistd::geteuid();
        // Not for root, whom no name service need be asked for: the agent starts while that hangs.
        let user = (!uid.is_root())
            .then(|| nix::unistd::User::from_uid(uid).ok().flatten())
            .flatten();
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            uid: uid.as_raw(),
            name: user
                .as_ref()
                .map_or_else(|| own_name(uid.as_raw()), |user| user.name.clone()),
            home: user
                .map(|user| user.dir)
                .or_else(|| absolute("HOME"))
                .unwrap_or_else(|| PathBuf::from("/")),
            xdg_state: absolute("XDG_STATE_HOME"),
            xdg_runtime: absolute("XDG_RUNTIME_DIR"),
            xdg_config: absolute("XDG_CONFIG_HOME"),
        }
    }

    pub(super) fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Where the configuration lies when no flag says so. It may be absent there.
    pub(crate) fn default_file(&self) -> PathBuf {
        if self.is_root() {
            return PathBuf::from("/etc/zhylon-agent/config.toml");
        }
        let base = self.xdg_config.clone();
        base.unwrap_or_else(|| self.home.join(".config"))
            .join("zhylon-agent/config.toml")
    }

    pub(super) fn default_state_dir(&self) -> PathBuf {
        if self.is_root() {
            return PathBuf::from("/var/lib/zhylon-agent");
        }
        let base = self.xdg_state.clone();
        base.unwrap_or_else(|| self.home.join(".local/state"))
            .join("zhylon-agent")
    }

    pub(super) fn default_run_dir(&self) -> PathBuf {
        if self.is_root() {
            return PathBuf::from("/run/zhylon-agent");
        }
        match &self.xdg_runtime {
            Some(base) => base.join("zhylon-agent"),
            // Without a runtime directory (cron, containers) a place only this user writes to.
            None => self.default_state_dir().join("run"),
        }
    }
}

/// The name of a uid that no account has.
fn own_name(uid: u32) -> String {
    if uid == 0 {
        "root".to_owned()
    } else {
        uid.to_string()
    }
}
