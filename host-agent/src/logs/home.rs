//! Opening a log in a user's home, where everything may have been planted: symbolic and hard links, FIFOs, directories, and all
//! of them swapped at any moment. Runs with that user's identity; what it refuses leads nowhere.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fchmod, fstat, mkdirat,
    openat, openat2, renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use super::Owner;

/// The directory of all logs in a home.
const DIR: &str = ".zhylon";

/// Where the log file `name` of this owner is.
pub(super) fn path(owner: &Owner, name: &str) -> PathBuf {
    owner.home.join(DIR).join(name)
}

/// Why a log cannot be written now, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(super) struct Unwritable {
    pub(super) why: String,
    /// There is no room: the disk, or the user's share of it, is full.
    pub(super) no_room: bool,
}

impl Unwritable {
    /// For another reason than a failed call.
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            no_room: false,
        }
    }

    /// There is no room.
    pub(super) fn full(why: String) -> Self {
        Self { why, no_room: true }
    }

    /// `what` failed with `error`.
    pub(super) fn by(what: &str, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        Self {
            why: format!("{what}: {error}"),
            no_room: matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            ),
        }
    }
}

/// Opens the log file `name` in the owner's home; `None` if it is not there and is not to be made.
pub(super) fn open_log(
    owner: &Owner,
    name: &str,
    make: bool,
) -> Result<Option<(File, Stat)>, Unwritable> {
    let Some(dir) = log_dir(owner, make)? else {
        return Ok(None);
    };
    let path = || path(owner, name).display().to_string();
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
    let new = flags | OFlags::CREATE | OFlags::EXCL;
    let fd = match beneath(dir.as_fd(), name, flags, Mode::empty()) {
        Err(Errno::NOENT) if make => {
            // 0640 whatever the umask says. Should somebody else have been faster, the next attempt opens theirs.
            let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
            beneath(dir.as_fd(), name, new, mode).and_then(|fd| fchmod(&fd, mode).map(|()| fd))
        }
        Err(Errno::NOENT) => return Ok(None),
        opened => opened,
    };
    let fd = fd.map_err(|error| Unwritable::by(&format!("open {}", path()), error))?;
    let stat = fstat(&fd).map_err(|error| Unwritable::by(&format!("stat {}", path()), error))?;
    let refused = if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        Some("is not a regular file".to_owned())
    } else if stat.st_nlink != 1 {
        Some(format!("has {} links, must have one", stat.st_nlink))
    } else {
        foreign(&stat, owner)
    };
    match refused {
        Some(rule) => Err(Unwritable::new(format!("{} {rule}: remove it", path()))),
        None => Ok(Some((File::from(fd), stat))),
    }
}

/// Renames the log file `from`; nothing is replaced.
pub(super) fn rename_log(owner: &Owner, from: &str, to: &str) -> Result<(), Unwritable> {
    let Some(dir) = log_dir(owner, false)? else {
        return Err(Unwritable::new("its directory is gone"));
    };
    let renamed = match renameat_with(&dir, from, &dir, to, RenameFlags::NOREPLACE) {
        // File systems that can not promise it. Only this user could come in between, to the user's own loss.
        Err(Errno::INVAL | Errno::NOSYS) => {
            match beneath(dir.as_fd(), to, OFlags::PATH, Mode::empty()) {
                Err(Errno::NOENT) => renameat(&dir, from, &dir, to),
                _ => Err(Errno::EXIST),
            }
        }
        renamed => renamed,
    };
    renamed.map_err(|error| Unwritable::by("rename it", error))
}

/// Removes the log file `name`.
pub(super) fn remove_log(owner: &Owner, name: &str) -> Result<(), Unwritable> {
    let Some(dir) = log_dir(owner, false)? else {
        return Ok(());
    };
    unlinkat(&dir, name, AtFlags::empty()).map_err(|error| Unwritable::by("remove it", error))
}

/// Device and inode of what is at the log's path; `None` if nothing can be reached there.
pub(super) fn identity_at_path(owner: &Owner, name: &str) -> Option<(u64, u64)> {
    stat_at_path(owner, name).map(|stat| identity(&stat))
}

/// What is at the log's path; `None` if nothing can be reached there.
pub(super) fn stat_at_path(owner: &Owner, name: &str) -> Option<Stat> {
    let dir = log_dir(owner, false).ok()??;
    let fd = beneath(dir.as_fd(), name, OFlags::PATH, Mode::empty()).ok()?;
    fstat(fd).ok()
}

/// Device and inode.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn log_dir(owner: &Owner, make: bool) -> Result<Option<OwnedFd>, Unwritable> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = openat(CWD, &owner.home, flags, Mode::empty())
        .and_then(|fd| fstat(&fd).map(|stat| (fd, stat)));
    let shown = owner.home.display();
    let (home, stat) = home.map_err(|error| Unwritable::by(&format!("open {shown}"), error))?;
    if let Some(rule) = foreign(&stat, owner) {
        return Err(Unwritable::new(format!("{shown} {rule}: chown it")));
    }
    let mut dir = beneath(home.as_fd(), DIR, flags, Mode::empty());
    if dir.as_ref().is_err_and(|error| *error == Errno::NOENT) {
        if !make {
            return Ok(None);
        }
        // Failing here shows at the second attempt to open it.
        let made = mkdirat(&home, DIR, Mode::RWXU);
        dir = beneath(home.as_fd(), DIR, flags, Mode::empty())
            .map_err(|error| made.err().unwrap_or(error));
    }
    let dir = dir.and_then(|fd| fstat(&fd).map(|stat| (fd, stat)));
    let (dir, stat) = dir.map_err(|error| Unwritable::by(&format!("open {shown}/{DIR}"), error))?;
    match foreign(&stat, owner) {
        Some(rule) => Err(Unwritable::new(format!("{shown}/{DIR} {rule}: chown it"))),
        None => Ok(Some(dir)),
    }
}

fn foreign(stat: &Stat, owner: &Owner) -> Option<String> {
    (stat.st_uid != owner.uid).then(|| {
        let (is, name, uid) = (stat.st_uid, &owner.name, owner.uid);
        format!("belongs to uid {is}, not to {name} ({uid})")
    })
}

/// Opens one component below `dir`, never through a link.
fn beneath(
    dir: BorrowedFd<'_>,
    component: &str,
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(dir, component, flags, mode, resolve) {
        // Kernels before 5.6. One component with O_NOFOLLOW has no path to escape on.
        Err(Errno::NOSYS) => openat(dir, component, flags, mode),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{chown, symlink};

    use rustix::fs::mknodat;

    use super::*;

    fn refusal(plant: impl FnOnce(&std::path::Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner {
            name: "test".to_owned(),
            uid: rustix::process::geteuid().as_raw(),
            gid: 0,
            groups: Vec::new(),
            home: dir.path().to_owned(),
        };
        assert!(open_log(&owner, "log", false).unwrap().is_none());
        fs::create_dir(dir.path().join(DIR)).unwrap();
        plant(&dir.path().join(DIR).join("log"));
        let refused = open_log(&owner, "log", true).unwrap_err();
        refused
            .why
            .replace(&dir.path().display().to_string(), "HOME")
    }

    #[test]
    fn every_refusal_says_what_and_why() {
        let path = |at: &std::path::Path| at.with_extension("other");
        assert_eq!(
            refusal(|at| symlink("/etc/passwd", at).unwrap()),
            "open HOME/.zhylon/log: Too many levels of symbolic links (os error 40)"
        );
        assert_eq!(
            refusal(|at| fs::create_dir(at).unwrap()),
            "open HOME/.zhylon/log: Is a directory (os error 21)"
        );
        assert_eq!(
            refusal(|at| mknodat(CWD, at, FileType::Fifo, Mode::RWXU, 0).unwrap()),
            "HOME/.zhylon/log is not a regular file: remove it"
        );
        let linked = refusal(|at| {
            fs::write(path(at), "").unwrap();
            fs::hard_link(path(at), at).unwrap();
        });
        assert_eq!(
            linked,
            "HOME/.zhylon/log has 2 links, must have one: remove it"
        );
        if !rustix::process::geteuid().is_root() {
            let _ = std::io::Write::write_all(
                &mut std::io::stdout(),
                b"\nSKIPPED logs::home (the part about foreign owners): foreign owners need root\n",
            );
            return;
        }
        let foreign = refusal(|at| {
            fs::write(at, "").unwrap();
            chown(at, Some(7), None).unwrap();
        });
        let rule = "belongs to uid 7, not to test (0)";
        assert_eq!(foreign, format!("HOME/.zhylon/log {rule}: remove it"));
        let dir = refusal(|at| chown(at.parent().unwrap(), Some(7), None).unwrap());
        assert_eq!(dir, format!("HOME/.zhylon {rule}: chown it"));
        let home = refusal(|at| {
            chown(at.parent().unwrap().parent().unwrap(), Some(7), None).unwrap();
        });
        assert_eq!(home, format!("HOME {rule}: chown it"));
    }
}
