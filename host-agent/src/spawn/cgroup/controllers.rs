//! The kernel's controllers of memory and CPU: made available to our directory when a daemon first needs them, and set on
//! the daemon's directory (`d-<id>`), above all its runs.

use std::fmt;
use std::fs::{File, create_dir};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::process::{Pid, getpid, getppid};
use zhylon_shared::spec::Limits;

use super::{Cgroups, SELF_SUFFIX};

/// The period CPU is shared out in, microseconds: the kernel's default.
const PERIOD: u32 = 100_000;

/// A controller of the kernel that a limit needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Cpu,
    /// Needed by no limit; the one that is free on hosts where cgroup v1 has the others.
    #[cfg(test)]
    Hugetlb,
}

impl Controller {
    /// The field of `limits` that needs it.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Memory => "memory_max",
            Self::Cpu => "cpu_max",
            #[cfg(test)]
            Self::Hugetlb => "hugetlb_max",
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            #[cfg(test)]
            Self::Hugetlb => "hugetlb",
        })
    }
}

impl Cgroups {
    /// Makes a controller available to every daemon's directory. Does nothing where it is already.
    ///
    /// # Errors
    /// Why this host has none for us, for people.
    pub(crate) fn enable(&self, controller: Controller) -> Result<(), String> {
        // Keeper and worker: whatever else lives in the agent's own cgroup is not ours to move.
        let ours: Vec<Pid> = [Some(getpid()), getppid()].into_iter().flatten().collect();
        self.enable_beside(controller, &ours)
    }

    pub(super) fn enable_beside(&self, controller: Controller, ours: &[Pid]) -> Result<(), String> {
        self.controlled.store(true, Ordering::Relaxed);
        if has(&self.base, "cgroup.subtree_control", controller) {
            return Ok(());
        }
        let own = self.base.parent().unwrap_or(&self.base);
        if !has(own, "cgroup.subtree_control", controller) {
            if !has(own, "cgroup.controllers", controller) {
                let own = own.display();
                return Err(format!("{own} has no {controller} controller"));
            }
            let first = hand_down(own, controller);
            // A cgroup with processes of its own hands nothing down, unless it is the root.
            let busy = Some(Errno::BUSY.raw_os_error());
            match first {
                Err(error) if error.raw_os_error() == busy => {
                    self.step_aside(ours).map_err(|error| told(own, &error))?;
                    hand_down(own, controller)
                }
                first => first,
            }
            .map_err(|error| told(own, &error))?;
        }
        hand_down(&self.base, controller).map_err(|error| told(&self.base, &error))
    }

    /// Moves these processes out of the agent's own cgroup into one beside ours.
    fn step_aside(&self, ours: &[Pid]) -> io::Result<()> {
        let mut name = self.base.as_os_str().to_owned();
        name.push(SELF_SUFFIX);
        let aside = Path::new(&name);
        match create_dir(aside) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for pid in ours {
            set(
                &aside.join("cgroup.procs"),
                &pid.as_raw_nonzero().to_string(),
            )?;
        }
        Ok(())
    }
}

/// Sets a daemon's limits; takes those away that it has no more.
///
/// # Errors
/// What the system said, with the file.
pub(super) fn keep(daemon: &Path, limits: Limits) -> io::Result<()> {
    let memory = limits.memory_max().map(|max| max.to_string());
    let cpu = (limits.cpu_max()).map(|max| {
        // Thousandths of the period.
        let quota = u64::from(max) * u64::from(PERIOD) / 1000;
        format!("{quota} {PERIOD}")
    });
    for (file, value, none) in [
        ("memory.max", memory, "max"),
        ("cpu.max", cpu, "max 100000"),
    ] {
        let path = daemon.join(file);
        match set(&path, value.as_deref().unwrap_or(none)) {
            // No controller, no limit to take away.
            Err(error) if value.is_none() && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io::Error::other(format!("{}: {error}", path.display()))),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Whether the directories below this one have files of any controller's.
pub(super) fn any(directory: &Path) -> bool {
    let handed_down = std::fs::read_to_string(directory.join("cgroup.subtree_control"));
    handed_down.is_ok_and(|list| !list.trim().is_empty())
}

fn has(directory: &Path, file: &str, controller: Controller) -> bool {
    let list = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    let name = controller.to_string();
    list.split_whitespace().any(|word| word == name)
}

fn hand_down(directory: &Path, controller: Controller) -> io::Result<()> {
    set(
        &directory.join("cgroup.subtree_control"),
        &format!("+{controller}"),
    )
}

/// Writes a file of the kernel's, which never has to be made.
fn set(path: &Path, value: &str) -> io::Result<()> {
    let mut file = File::options().write(true).truncate(true).open(path)?;
    file.write_all(value.as_bytes())
}

fn told(directory: &Path, error: &io::Error) -> String {
    if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) {
        let own = directory.display();
        return format!("{own} holds processes that are not the agent's");
    }
    format!("{}: {error}", directory.display())
}

#[cfg(test)]
mod tests;
