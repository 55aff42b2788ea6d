//! Whether a file says what root wrote. Who can write the configuration, or put another in its place, decides whose
//! processes run here: that must be root alone.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Write for the group, write for everybody.
const OTHERS_WRITE: u32 = 0o022;

/// Everything that lets others than root decide what stands in the opened file, each with its path and what to do.
///
/// # Errors
/// When it can not be looked at.
pub(super) fn faults(path: &Path, file: &File) -> io::Result<Vec<String>> {
    let mut faults = Vec::new();
    judge(path, &file.metadata()?, &mut faults);
    // Where the file lies, not where a link to it does. Should it be replaced just now, the opened one is judged above.
    let place = path.canonicalize()?;
    if let Some(directory) = place.parent() {
        judge(directory, &directory.metadata()?, &mut faults);
    }
    Ok(faults)
}

fn judge(path: &Path, found: &Metadata, faults: &mut Vec<String>) {
    let shown = path.display();
    if found.uid() != 0 {
        let uid = found.uid();
        faults.push(format!(
            "{shown}: belongs to uid {uid}, who could change the host's policy: `chown root {shown}`"
        ));
    }
    let mode = found.mode();
    if mode & OTHERS_WRITE != 0 {
        faults.push(format!(
            "{shown}: others than root may write to it (mode {:04o}), so they could change the host's policy: `chmod go-w \
             {shown}`",
            mode & 0o7777
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    #[test]
    fn a_file_that_others_could_write_or_replace_is_told_of() {
        if !rustix::process::geteuid().is_root() {
            let _ = io::Write::write_all(
                &mut io::stdout(),
                b"\nSKIPPED a_file_that_others_could_write_or_replace_is_told_of: needs root\n",
            );
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("etc");
        std::fs::create_dir(&place).unwrap();
        let path = place.join("config.toml");
        std::fs::write(&path, "").unwrap();
        // A link in a directory of anybody's leads to the same file.
        set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        let told = |path: &Path| {
            let faults = faults(path, &File::open(path).unwrap()).unwrap();
            faults
                .join("\n")
                .replace(&dir.path().display().to_string(), "DIR")
        };
        for (file, directory, expected) in [
            ((0o644, 0), (0o755, 0), &[][..]),
            ((0o600, 0), (0o700, 0), &[]),
            (
                (0o664, 0),
                (0o755, 0),
                &["DIR/etc/config.toml: others", "(mode 0664)"],
            ),
            ((0o646, 0), (0o755, 0), &["chmod go-w DIR/etc/config.toml"]),
            (
                (0o644, 7),
                (0o755, 0),
                &["DIR/etc/config.toml: belongs to uid 7", "chown root"],
            ),
            ((0o644, 0), (0o775, 0), &["DIR/etc: others than root"]),
            ((0o644, 0), (0o755, 7), &["DIR/etc: belongs to uid 7"]),
            (
                (0o666, 7),
                (0o777, 7),
                &["DIR/etc: bel", "DIR/etc: oth", "toml: bel", "toml: oth"],
            ),
        ] {
            for (path, (mode, uid)) in [(&path, file), (&place, directory)] {
                set_permissions(path, Permissions::from_mode(mode)).unwrap();
                chown(path, Some(uid), None).unwrap();
            }
            let text = told(&path);
            assert_eq!(text.is_empty(), expected.is_empty(), "{text}");
            for part in expected {
                assert!(text.contains(part), "{part}: {text}");
            }
            let by_link = told(&link).replace("DIR/link", "DIR/etc/config.toml");
            assert_eq!(by_link, text);
        }
    }
}
