//! `--install-supervisorctl`: our client under the path that people and sudoers rules name, and the socket where it
//! looks. Only what is absent is made; `down` removes exactly that.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::layout::Record;

const CLIENT: &str = "/usr/local/bin/supervisorctl";
const RUN_DIR: &str = "/run/zhylon-agent";

/// Makes both links.
///
/// # Errors
/// When something of somebody else is in the way.
pub(super) fn install(record: &mut Record) -> Result<()> {
    let links = [
        (record.bin_dir.join("supervisorctl"), Path::new(CLIENT)),
        (record.run_dir.clone(), Path::new(RUN_DIR)),
    ];
    for (target, link) in links {
        if std::fs::read_link(link).ok().as_deref() == Some(target.as_path()) {
            continue;
        }
        if link.symlink_metadata().is_ok() {
            bail!(
                "{} is there already and not ours; nothing was replaced",
                link.display()
            );
        }
        symlink(&target, link).with_context(|| format!("link {}", link.display()))?;
        record.installed.push(link.to_owned());
    }
    Ok(())
}
