//! What a keeper leaves to the one it becomes: when it executes a newer program in its place, its pid and its children
//! stay, and so must what it holds. The descriptors stay open and a sealed list, found by its number in the environment,
//! says which is which. A program that does not understand the list closes them all and begins anew.

use std::ffi::{CString, OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use host_agent_sys::exec::execve;
use host_agent_sys::process::inherited_fd;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::protocol::RunKey;

/// Where the list's descriptor number stands.
pub(crate) const VARIABLE: &str = "ZHYLON_KEEPER_HANDOVER";
/// First line of the list. Another version is not understood.
const HEAD: &str = "zhylon-keeper 1";
/// Last line, so that a cut list is seen.
const END: &str = "end";
/// A longer list is none: as many FIFOs as can be held stay far below.
const LIST_MAX: u64 = 4 * 1024 * 1024;
/// First descriptor that is not one of the three everybody has.
const FIRST: RawFd = 3;

/// What goes from one to the next.
#[derive(Debug)]
pub(crate) struct Handover<Fd> {
    /// The two directories; the next must live in the same.
    pub(crate) dirs: [PathBuf; 2],
    /// Their locks.
    pub(crate) locks: [Fd; 2],
    /// The local socket: who connects meanwhile waits.
    pub(crate) listener: Fd,
    /// The FIFOs that are held.
    pub(crate) fifos: Vec<(RunKey, Fd)>,
}

impl<Fd: AsFd> Handover<Fd> {
    /// Becomes the program at `path`. Returns only if that failed; then nothing has changed.
    pub(crate) fn execute(&self, path: &Path, args: &[OsString]) -> io::Error {
        let open = |on: bool| {
            let flags = if on {
                FdFlags::empty()
            } else {
                FdFlags::CLOEXEC
            };
            let all = self.locks.iter().chain([&self.listener]);
            let mut all = all.chain(self.fifos.iter().map(|(_, fd)| fd));
            all.try_for_each(|fd| fcntl_setfd(fd, flags))
        };
        let tried = || -> io::Result<io::Error> {
            let list = self.list()?;
            let path = c_string(&[path.as_os_str()])?;
            let argv = args.iter().map(|arg| c_string(&[arg]));
            let argv = argv.collect::<io::Result<Vec<_>>>()?;
            let mut env = environment()?;
            let number = list.as_raw_fd().to_string();
            env.push(c_string(&[
                VARIABLE.as_ref(),
                "=".as_ref(),
                number.as_ref(),
            ])?);
            open(true)?;
            fcntl_setfd(&list, FdFlags::empty())?;
            Ok(execve(&path, &argv, &env))
        };
        let error = tried().unwrap_or_else(|error| error);
        // Else the next worker would inherit them. Setting a flag of an open descriptor does not fail.
        let _ = open(false);
        error
    }

    fn list(&self) -> io::Result<File> {
        let mut text = format!("{HEAD}\n");
        for dir in &self.dirs {
            let bytes = dir.as_os_str().as_bytes().iter();
            let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "dir {hex}");
        }
        for lock in &self.locks {
            let _ = writeln!(text, "lock {}", lock.as_fd().as_raw_fd());
        }
        let _ = writeln!(text, "listener {}", self.listener.as_fd().as_raw_fd());
        for (run, fifo) in &self.fifos {
            let daemon = String::from_utf8_lossy(&run.daemon);
            let (index, generation) = (run.index, run.generation);
            let fd = fifo.as_fd().as_raw_fd();
            let _ = writeln!(text, "fifo {daemon} {index} {generation} {fd}");
        }
        let _ = writeln!(text, "{END}");
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut list = File::from(memfd_create("zhylon-handover", flags)?);
        list.write_all(text.as_bytes())?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&list, seals)?;
        Ok(list)
    }
}

impl Handover<OwnedFd> {
    /// Takes over what the keeper before left; `None` if there was none. Call it before anything is opened.
    ///
    /// # Errors
    /// When it left something that is not understood; then all of it is closed.
    pub(crate) fn take() -> io::Result<Option<Self>> {
        let Some(number) = std::env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let taken = number
            .to_str()
            .and_then(|number| number.parse::<RawFd>().ok())
            .filter(|number| *number >= FIRST)
            .ok_or_else(|| io::Error::other("the number of the list"))
            .and_then(inherited_fd)
            .and_then(|list| read(File::from(list)))
            .and_then(|text| parse(&text).ok_or_else(|| io::Error::other("the list")))
            .and_then(|left| left.open());
        if taken.is_err() {
            close_all()?;
        }
        taken.map(Some)
    }
}

impl Handover<RawFd> {
    fn open(self) -> io::Result<Handover<OwnedFd>> {
        let [state, run] = self.locks;
        let fifos = self.fifos.into_iter();
        Ok(Handover {
            dirs: self.dirs,
            locks: [inherited_fd(state)?, inherited_fd(run)?],
            listener: inherited_fd(self.listener)?,
            fifos: fifos
                .map(|(run, fd)| Ok((run, inherited_fd(fd)?)))
                .collect::<io::Result<_>>()?,
        })
    }
}

/// This process's environment, without what is meant for it alone.
pub(crate) fn environment() -> io::Result<Vec<CString>> {
    let variables = std::env::vars_os().filter(|(key, _)| key != VARIABLE);
    variables
        .map(|(key, value)| c_string(&[&key, OsStr::new("="), &value]))
        .collect()
}

pub(crate) fn c_string(parts: &[&OsStr]) -> io::Result<CString> {
    let bytes: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    Ok(CString::new(bytes.concat())?)
}

fn read(mut list: File) -> io::Result<String> {
    let mut text = String::new();
    list.rewind()?;
    list.take(LIST_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Option<Handover<RawFd>> {
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        return None;
    }
    let mut seen = std::collections::HashSet::new();
    let mut number = |text: &str| {
        let number: RawFd = text.parse().ok()?;
        // Two owners of one descriptor would close each other's.
        (number >= FIRST && seen.insert(number)).then_some(number)
    };
    let (mut dirs, mut locks, mut listener) = (Vec::new(), Vec::new(), None);
    let mut fifos = Vec::new();
    loop {
        let words: Vec<&str> = lines.next()?.split(' ').collect();
        match words[..] {
            ["dir", hex] => dirs.push(path(hex)?),
            ["lock", fd] => locks.push(number(fd)?),
            ["listener", fd] if listener.is_none() => listener = Some(number(fd)?),
            ["fifo", daemon, index, generation, fd] => {
                let run = RunKey {
                    daemon: daemon.as_bytes().try_into().ok()?,
                    index: index.parse().ok()?,
                    generation: generation.parse().ok()?,
                };
                fifos.push((run, number(fd)?));
            }
            [END] => break,
            _ => return None,
        }
    }
    Some(Handover {
        dirs: dirs.try_into().ok()?,
        locks: locks.try_into().ok()?,
        listener: listener?,
        fifos,
    })
}

fn path(hex: &str) -> Option<PathBuf> {
    let pairs = hex.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes = bytes.collect::<Option<Vec<u8>>>()?;
    Some(OsStr::from_bytes(&bytes).into())
}

fn close_all() -> io::Result<()> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<RawFd> = numbers.filter(|number| *number >= FIRST).collect();
    for number in numbers {
        // The one the directory was read with is closed already.
        drop(inherited_fd(number));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written_and_nothing_else_is() {
        let fd = || OwnedFd::from(File::open("/dev/null").unwrap());
        let run = |generation| RunKey {
            daemon: *b"H3hxDfKZE0mHsxTqwN",
            index: 2,
            generation,
        };
        let left = Handover {
            dirs: [
                "/var/lib/a b".into(),
                OsStr::from_bytes(b"/run/\xff\n").into(),
            ],
            locks: [fd(), fd()],
            listener: fd(),
            fifos: vec![(run(1), fd()), (run(2), fd())],
        };
        let text = read(left.list().unwrap()).unwrap();
        let found = parse(&text).unwrap();
        assert_eq!(found.dirs, left.dirs);
        assert_eq!(found.locks, left.locks.each_ref().map(|fd| fd.as_raw_fd()));
        assert_eq!(found.listener, left.listener.as_raw_fd());
        let fifos = left.fifos.iter().map(|(run, fd)| (*run, fd.as_raw_fd()));
        assert_eq!(found.fifos, fifos.collect::<Vec<_>>());

        // Cut anywhere, of another version, or with a descriptor twice.
        for end in 0..text.len() - 1 {
            assert!(parse(&text[..end]).is_none(), "{end}");
        }
        assert!(parse(&text.replace("keeper 1", "keeper 2")).is_none());
        let listener = format!("listener {}", found.listener);
        for wrong in [
            "listener 2",
            "listener -1",
            &format!("listener {}", found.locks[0]),
        ] {
            assert!(parse(&text.replace(&listener, wrong)).is_none(), "{wrong}");
        }
    }

    #[test]
    fn lists_of_every_version_so_far_are_read_and_of_newer_ones_are_not() {
        let recorded = include_str!("fixtures/handover-v1");
        let found = parse(recorded).unwrap();
        let dirs: [PathBuf; 2] = ["/var/lib/zhylon-agent".into(), "/run/zhylon-agent".into()];
        assert_eq!((found.dirs, found.locks, found.listener), (dirs, [3, 4], 5));
        let fifos = found.fifos.iter();
        let fifos: Vec<_> = fifos
            .map(|(run, fd)| (run.index, run.generation, *fd))
            .collect();
        assert_eq!(fifos, [(0, 1_000_000_003, 9), (1, 1_000_000_004, 11)]);
        assert!(parse(&recorded.replacen("keeper 1", "keeper 2", 1)).is_none());
    }

    #[test]
    fn a_program_that_is_not_there_changes_nothing() {
        let fd = || OwnedFd::from(File::open("/dev/null").unwrap());
        let left = Handover {
            dirs: ["/a".into(), "/b".into()],
            locks: [fd(), fd()],
            listener: fd(),
            fifos: Vec::new(),
        };
        let error = left.execute(Path::new("/does/not/exist"), &["x".into()]);
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        for fd in left.locks.iter().chain([&left.listener]) {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(FdFlags::CLOEXEC));
        }
    }
}
