//! ReactPHP from Debian's packages: unpacked beside the tests, not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The autoloader of the ReactPHP that Debian packs for Icinga Web; fetched once per target directory.
///
/// # Errors
/// When the package can not be had; says why.
pub fn reactphp() -> Result<PathBuf, String> {
    if !Path::new("/usr/bin/php8.2").exists() {
        return Err("php8.2-cli is not installed".to_owned());
    }
    let cache = crate::world::programs()
        .dir
        .parent()
        .ok_or("no target directory")?
        .join("reactphp");
    let autoload = cache.join("usr/share/icingaweb2/modules/reactbundle/vendor/autoload.php");
    if autoload.exists() {
        return Ok(autoload);
    }
    let work = tempfile::tempdir().map_err(|error| error.to_string())?;
    // apt's download sandbox user could not enter a private directory.
    let options = [
        "-qq",
        "-o",
        "APT::Sandbox::User=root",
        "download",
        "icingaweb2-module-reactbundle",
    ];
    let download = || {
        run(Command::new("apt-get")
            .args(options)
            .current_dir(work.path()))
    };
    if download().is_err() {
        // A new machine has no package lists yet.
        run(Command::new("apt-get").args(["-qq", "update"]))?;
        download()?;
    }
    let package = std::fs::read_dir(work.path())
        .map_err(|error| error.to_string())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or("apt-get download left no package")?;
    let unpacked = tempfile::tempdir_in(cache.parent().ok_or("no target directory")?)
        .map_err(|e| e.to_string())?;
    run(Command::new("dpkg")
        .arg("-x")
        .arg(package)
        .arg(unpacked.path()))?;
    // Another test program may have been faster: then its copy is as good.
    if std::fs::rename(unpacked.path(), &cache).is_ok() {
        let _ = unpacked.keep();
    }
    if autoload.exists() {
        Ok(autoload)
    } else {
        Err(format!("{} is not in the package", autoload.display()))
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
