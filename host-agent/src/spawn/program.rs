//! What a spec needs of the host, found out without starting anything: a user that may run here, a directory, a program.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host_agent_engine::input::{StartError, StartErrorKind};
use zhylon_shared::spec::DaemonSpec;

use super::users::{Account, Users, Who};
use super::{Ground, environment, limits};
use crate::config::Policy;
use crate::logs::Owner;

/// Any of the three execute bits: which one counts is for the kernel to judge at the start.
const EXECUTE: u32 = 0o111;

/// The user of a spec, if this host lets it run daemons.
///
/// # Errors
/// Why not, for people.
pub(crate) fn allowed_user(
    users: &Users,
    policy: &Policy,
    spec: &DaemonSpec,
) -> Result<Arc<Account>, StartError> {
    let name = spec.user();
    let account = users.find(&Who::Name(name.to_owned())).map_err(other)?;
    let Owner { uid, home, .. } = &account.owner;
    let verdict = policy.judge(name, *uid, home);
    match verdict.advice(name) {
        None => Ok(account),
        Some(advice) => Err(other(format!(
            "user {name}: this host's policy does not let it run daemons: {verdict}; {advice}"
        ))),
    }
}

/// Where a spec's instances begin: its directory, or the user's home.
pub(crate) fn directory<'a>(spec: &'a DaemonSpec, owner: &'a Owner) -> &'a Path {
    if spec.directory().is_empty() {
        &owner.home
    } else {
        Path::new(spec.directory())
    }
}

/// Finds out whether user, directory and program of a spec resolve, and whether its limits can be kept. It looks at files that may be a network away: never
/// call it where others wait.
///
/// # Errors
/// The first that does not, in the words a start would have used.
pub(crate) fn check(ground: &Ground, spec: &DaemonSpec) -> Result<(), StartError> {
    let account = allowed_user(&ground.users, &ground.policy(), spec)?;
    limits::check(ground.cgroups.as_ref(), spec.limits()).map_err(other)?;
    let directory = directory(spec, &account.owner);
    let failed = |error: &io::Error| other(format!("chdir {}: {error}", directory.display()));
    let found = std::fs::metadata(directory).map_err(|error| failed(&error))?;
    if !found.is_dir() {
        return Err(failed(&io::Error::from(rustix::io::Errno::NOTDIR)));
    }
    let path = environment::path(spec, account.owner.uid);
    find_program(&spec.argv()[0], path, directory).map(drop)
}

/// The file that `execvp` would run.
///
/// # Errors
/// `NoFile` or `NotExecutable`, in the words a start would have used.
fn find_program(program: &str, path: &str, directory: &Path) -> Result<PathBuf, StartError> {
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![directory.join(program)]
    } else {
        // As for execvp, an empty entry is the working directory.
        path.split(':')
            .map(|entry| directory.join(entry).join(program))
            .collect()
    };
    let mut in_the_way = false;
    for candidate in candidates {
        let Ok(found) = std::fs::metadata(&candidate) else {
            continue;
        };
        if found.is_file() && found.permissions().mode() & EXECUTE != 0 {
            return Ok(candidate);
        }
        in_the_way = true;
    }
    let errno = if in_the_way {
        rustix::io::Errno::ACCESS
    } else {
        rustix::io::Errno::NOENT
    };
    Err(exec_error(program, &io::Error::from(errno)))
}

/// What a failed `execve` of this program means.
pub(crate) fn exec_error(program: &str, error: &io::Error) -> StartError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => StartErrorKind::NoFile,
        io::ErrorKind::PermissionDenied => StartErrorKind::NotExecutable,
        _ => StartErrorKind::Other,
    };
    StartError {
        message: format!("exec {program}: {error}"),
        kind,
    }
}

/// A start error that Supervisor's clients know as SPAWN_ERROR.
pub(crate) fn other(message: impl Into<String>) -> StartError {
    StartError {
        message: message.into(),
        kind: StartErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    fn kind(program: &str, path: &str, directory: &Path) -> Result<PathBuf, StartErrorKind> {
        find_program(program, path, directory).map_err(|error| error.kind)
    }

    #[test]
    fn programs_are_found_as_execvp_finds_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        std::fs::create_dir(at.join("bin")).unwrap();
        std::fs::create_dir(at.join("tool")).unwrap();
        for (name, mode) in [("bin/tool", 0o755), ("plain", 0o644)] {
            std::fs::write(at.join(name), "").unwrap();
            std::fs::set_permissions(at.join(name), Permissions::from_mode(mode)).unwrap();
        }
        let path = format!("/nowhere:{0}:{0}/bin", at.display());
        // The directory `tool` comes first and is skipped.
        assert_eq!(kind("tool", &path, at), Ok(at.join("bin/tool")));
        assert_eq!(kind("bin/tool", "", at), Ok(at.join("bin/tool")));
        assert_eq!(kind("./bin/tool", "", at), Ok(at.join("./bin/tool")));
        assert_eq!(kind("plain", &path, at), Err(StartErrorKind::NotExecutable));
        assert_eq!(kind("absent", &path, at), Err(StartErrorKind::NoFile));
        assert_eq!(kind("/absent", &path, at), Err(StartErrorKind::NoFile));
        assert_eq!(
            find_program("absent", &path, at).unwrap_err().message,
            "exec absent: No such file or directory (os error 2)"
        );
    }
}
