//! The one build function: fills the directory of programs that `up`, the tests and the benchmarks use.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The programs, side by side in one directory (`ZHYLON_BIN_DIR`).
#[derive(Debug, Clone)]
pub struct Programs {
    /// The directory: `api-server`, `host-agent`, `zhylonctl`, `zhylon-exec`, and `supervisorctl` (the agent by its
    /// other name).
    pub dir: PathBuf,
    /// The target `zhylon-exec` was built for.
    pub helper_target: String,
}

impl Programs {
    /// Programs that were built before.
    ///
    /// # Errors
    /// When the directory does not exist.
    pub fn existing(dir: &Path) -> Result<Self> {
        let dir = dir
            .canonicalize()
            .with_context(|| format!("no programs in {}", dir.display()))?;
        Ok(Self {
            dir,
            helper_target: helper_target(),
        })
    }

    /// Path of one program.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }
}

/// Optimised or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build; what the tests use.
    Dev,
    /// What is shipped and measured.
    Release,
}

impl Profile {
    fn dir(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
        .to_owned()
}

/// Builds everything and lays the programs side by side.
///
/// # Errors
/// When cargo fails; its own messages are on stderr.
pub fn build(profile: Profile) -> Result<Programs> {
    let mut all = cargo();
    all.args(["build", "--workspace", "--bins"]);
    if profile == Profile::Release {
        all.arg("--release");
    }
    run(&mut all)?;
    lay_out(profile)
}

/// Builds the programs with the features that `cargo test --workspace` unifies (the tests' own included), so that next to
/// nothing is built a second time.
///
/// # Errors
/// When cargo fails; its own messages are on stderr.
pub fn build_for_tests() -> Result<Programs> {
    run(cargo().args(["build", "--workspace", "--all-targets", "--quiet"]))?;
    lay_out(Profile::Dev)
}

/// Builds the helper and lays the programs side by side.
fn lay_out(profile: Profile) -> Result<Programs> {
    let target_dir = target_dir()?;
    // The helper is always optimised: it runs at every start of a daemon, and std's own start is most of it.
    let helper_target = helper_target();
    let mut helper = cargo();
    helper.args([
        "build",
        "--release",
        "--package",
        "host-agent-exec-helper",
        "--target",
        &helper_target,
    ]);
    // A static program starts without a dynamic loader, so no LD_PRELOAD and no loader cost.
    helper.env(
        "RUSTFLAGS",
        "-C target-feature=+crt-static -C relocation-model=static",
    );
    run(&mut helper)?;

    let built = target_dir.join(profile.dir());
    let dir = built.join("zhylon");
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    for program in ["api-server", "host-agent", "zhylonctl"] {
        place(&built.join(program), &dir.join(program))?;
    }
    place(
        &target_dir.join(&helper_target).join("release/zhylon-exec"),
        &dir.join("zhylon-exec"),
    )?;
    let client = dir.join("supervisorctl");
    if std::fs::read_link(&client).ok().as_deref() != Some(Path::new("host-agent")) {
        let _ = std::fs::remove_file(&client);
        std::os::unix::fs::symlink("host-agent", &client).context("link supervisorctl")?;
    }
    Ok(Programs { dir, helper_target })
}

/// musl where that target is installed (smallest start), else the host's own target, linked statically.
fn helper_target() -> String {
    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let libdir = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", &musl])
        .output();
    let installed = libdir.is_ok_and(|out| {
        out.status.success() && Path::new(String::from_utf8_lossy(&out.stdout).trim()).is_dir()
    });
    if installed {
        musl
    } else {
        format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
    }
}

/// Puts a program in place by rename, and only if it is another one: a running program keeps its file.
fn place(from: &Path, to: &Path) -> Result<()> {
    let same = match (std::fs::metadata(from), std::fs::metadata(to)) {
        (Ok(a), Ok(b)) => a.len() == b.len() && a.modified().ok() <= b.modified().ok(),
        _ => false,
    };
    if same {
        return Ok(());
    }
    // Test programs may build at the same time: each has its own temporary name.
    let temporary = to.with_extension(format!("new.{}", std::process::id()));
    std::fs::copy(from, &temporary).with_context(|| format!("copy {}", from.display()))?;
    std::fs::rename(&temporary, to).with_context(|| format!("place {}", to.display()))
}

/// cargo without what an outer cargo put into our environment: some build scripts would take it for a change and
/// build half the graph again.
pub(crate) fn cargo() -> Command {
    let mut command =
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let inherited = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
        ];
        if inherited.iter().any(|prefix| text.starts_with(prefix))
            || text == "CARGO"
            || text == "RUST_RECURSION_COUNT"
        {
            command.env_remove(&name);
        }
    }
    command.env_remove("RUSTFLAGS");
    command
}

/// Where cargo builds to.
pub(crate) fn target_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        return Ok(root().join(dir));
    }
    Ok(root().join("target"))
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    if !status.success() {
        bail!(
            "{:?} {:?} failed: {status}",
            command.get_program(),
            command.get_args().collect::<Vec<_>>()
        );
    }
    Ok(())
}
