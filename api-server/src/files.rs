//! Files of the data directory: written whole or not at all; private ones refused when others can read them.

use std::fs::Permissions;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

/// Mode of what only we may read.
pub(crate) const PRIVATE: u32 = 0o600;
/// Mode of what everybody may read.
pub(crate) const READABLE: u32 = 0o644;
/// A private file of ours is a key; more than this is something else.
const PRIVATE_MAX: u64 = 64 * 1024;

/// Makes the data directory, 0700, unless it is there.
///
/// # Errors
/// The system's error, naming the path.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| named(path, &error))
}

/// Writes a file of this mode so that a reader, and a crash at any moment, finds the old one or the new one.
///
/// # Errors
/// The system's error, naming the path.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = directory.join(name);
    let attempt = || {
        // Not truncated in place: a leftover of another mode or owner must not be written into.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    };
    attempt().map_err(|error| named(path, &error))
}

/// Reads a private file; `None` if there is none.
///
/// # Errors
/// When group or others may read or write it, or the system's error; naming the path.
pub(crate) fn read_private(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(path, &error)),
    };
    let metadata = file.metadata().map_err(|error| named(path, &error))?;
    if metadata.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "{}: its mode is {:04o}, so others may have read this key: `chmod 600` it if you know they have not, \
                 else replace it",
                path.display(),
                metadata.mode() & 0o7777
            ),
        ));
    }
    let mut bytes = Vec::new();
    file.take(PRIVATE_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| named(path, &error))?;
    Ok(Some(bytes))
}

/// Reads the key of so many random bytes at `path`; makes it, private, when there is none.
///
/// # Errors
/// When it has another length or others may read it, or the system's error; naming the path.
pub(crate) fn random_key<const N: usize>(path: &Path) -> io::Result<[u8; N]> {
    if let Some(bytes) = read_private(path)? {
        return bytes.try_into().map_err(|bytes: Vec<u8>| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{}: is {} bytes long instead of {N}: restore it from a backup; what was encrypted with it is \
                     lost without it",
                    path.display(),
                    bytes.len()
                ),
            )
        });
    }
    let mut key = [0; N];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    write(path, &key, PRIVATE)?;
    Ok(key)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_refused_when_others_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env.key");
        let key: [u8; 32] = random_key(&path).unwrap();
        assert_ne!(key, [0; 32]);
        assert_eq!(random_key::<32>(&path).unwrap(), key);
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = random_key::<32>(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{mode:o}");
        }
        write(&path, b"short", PRIVATE).unwrap();
        let error = random_key::<32>(&path).unwrap_err().to_string();
        assert!(error.contains("5 bytes"), "{error}");
    }

    #[test]
    fn a_leftover_of_a_crash_is_not_written_into() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(dir.path().join("file.tmp"), b"half").unwrap();
        write(&path, b"whole", READABLE).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o644);
        assert!(!dir.path().join("file.tmp").exists());
    }
}
