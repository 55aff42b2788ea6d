//! The FIFOs that daemons write to, one per run: `run_dir/fifo/<bare id>.<index>.<generation>`. Made and first opened by
//! the agent (who pays for its pages), then the user's, so that a program may reopen `/dev/stdout`.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use host_agent_engine::input::{Run, Slot};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use zhylon_shared::id::DaemonId;

use crate::logs::Owner;

/// Room for what a daemon writes while nobody reads: as much as an unprivileged pipe may have. Root's alone reach it
/// for every daemon; others get what the kernel gives (64 KiB).
const PIPE_BYTES: usize = 1 << 20;

/// The directory of FIFOs.
#[derive(Debug)]
pub(crate) struct Fifos {
    path: PathBuf,
    privileged: bool,
    /// How many there are: one per run, until nothing of that is left.
    count: AtomicU32,
}

/// A FIFO just made.
#[derive(Debug)]
pub(crate) struct Fifo {
    pub(crate) name: String,
    /// Non-blocking.
    pub(crate) reader: OwnedFd,
    /// For standard output and standard error: two, because a program may set flags on either.
    pub(crate) writers: [OwnedFd; 2],
}

impl Fifos {
    /// The keeper made the directory. `privileged`: FIFOs can be given to their users and be large.
    pub(crate) fn new(path: PathBuf, privileged: bool) -> Self {
        let fifos = Self {
            path,
            privileged,
            count: AtomicU32::new(0),
        };
        let found = u32::try_from(fifos.all().len()).unwrap_or(u32::MAX);
        fifos.count.store(found, Ordering::Relaxed);
        fifos
    }

    /// Makes the FIFO of a run; `None`: there are `most` runs already. Two that are made at the same time do not take the
    /// last place both.
    ///
    /// # Errors
    /// What the system said; then there is none.
    pub(crate) fn make(&self, run: &Run, owner: &Owner, most: u32) -> io::Result<Option<Fifo>> {
        let one_more = |count| (count < most).then_some(count + 1);
        let taken = (self.count).fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if taken.is_err() {
            return Ok(None);
        }
        let name = name(run);
        let path = self.path.join(&name);
        let private = Mode::RUSR | Mode::WUSR;
        if let Err(error) = rustix::fs::mknodat(CWD, &path, FileType::Fifo, private, 0) {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(error.into());
        }
        self.open_new(&name, owner)
            .map(Some)
            .inspect_err(|_| self.remove(&name))
    }

    fn open_new(&self, name: &str, owner: &Owner) -> io::Result<Fifo> {
        let reader = self.open(name)?;
        if self.privileged {
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            rustix::fs::fchown(&reader, Some(uid), Some(gid))?;
        }
        // Both ways, so that it never ends for its writers: no SIGPIPE while nobody reads.
        let both = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let writer = || rustix::fs::open(self.path.join(name), both, Mode::empty());
        Ok(Fifo {
            name: name.to_owned(),
            reader,
            writers: [writer()?, writer()?],
        })
    }

    /// Opens the read end of a FIFO, non-blocking.
    ///
    /// # Errors
    /// What the system said, or that it is none.
    pub(crate) fn open(&self, name: &str) -> io::Result<OwnedFd> {
        use std::os::unix::fs::FileTypeExt as _;
        let read = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let reader = rustix::fs::open(self.path.join(name), read, Mode::empty())?;
        let reader = File::from(reader);
        if !reader.metadata()?.file_type().is_fifo() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{name} is no FIFO"),
            ));
        }
        let reader = OwnedFd::from(reader);
        if self.privileged
            && let Err(error) = rustix::pipe::fcntl_setpipe_size(&reader, PIPE_BYTES)
        {
            tracing::debug!(%error, name, "the log pipe stays small");
        }
        Ok(reader)
    }

    /// Removes a FIFO. What is not there need not be removed.
    pub(crate) fn remove(&self, name: &str) {
        if std::fs::remove_file(self.path.join(name)).is_ok() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Every FIFO there is, with the run it was made for.
    pub(crate) fn all(&self) -> Vec<(Run, String)> {
        let Ok(entries) = std::fs::read_dir(&self.path) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some((parse(&name)?, name))
            })
            .collect()
    }
}

/// The name of a run's FIFO.
pub(crate) fn name(run: &Run) -> String {
    let Slot { daemon, index } = &run.slot;
    format!("{}.{index}.{}", daemon.bare(), run.generation)
}

fn parse(name: &str) -> Option<Run> {
    let mut parts = name.split('.');
    let daemon = DaemonId::from_bare(parts.next()?).ok()?;
    let index = parts.next()?.parse().ok()?;
    let generation = parts.next()?.parse().ok()?;
    let slot = Slot { daemon, index };
    parts.next().is_none().then_some(Run { slot, generation })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn what_was_written_is_there_for_the_next_reader() {
        let dir = tempfile::tempdir().unwrap();
        let fifos = Fifos::new(dir.path().to_owned(), false);
        let slot = Slot {
            daemon: DaemonId::random().unwrap(),
            index: 2,
        };
        let run = Run {
            slot,
            generation: 9,
        };
        let owner = Owner {
            name: "x".to_owned(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            home: "/".into(),
        };
        let fifo = fifos.make(&run, &owner, 2).unwrap().unwrap();
        assert!(fifos.make(&run, &owner, 2).is_err(), "a run has one FIFO");
        let mut next = run;
        next.generation += 1;
        assert!(fifos.make(&next, &owner, 1).unwrap().is_none(), "no room");
        let [out, _err] = fifo.writers;
        File::from(out).write_all(b"last words").unwrap();
        let mut next = File::from(fifos.open(&fifo.name).unwrap());
        drop(fifo.reader);
        let mut bytes = [0; 10];
        next.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"last words");
        assert_eq!(fifos.all(), [(run, fifo.name.clone())]);
        let count = |fifos: &Fifos| fifos.count.load(Ordering::Relaxed);
        assert_eq!(count(&fifos), 1);
        assert_eq!(count(&Fifos::new(dir.path().to_owned(), false)), 1);
        fifos.remove(&fifo.name);
        fifos.remove(&fifo.name);
        assert_eq!(fifos.all(), []);
        assert_eq!(count(&fifos), 0);
    }

    #[test]
    fn something_else_than_a_fifo_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let fifos = Fifos::new(dir.path().to_owned(), false);
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert!(fifos.open("file").is_err());
        assert!(fifos.open("link").is_err());
    }
}
