//! The local door: its socket, its client, and the way to it through sudo.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Finding, Patient};

/// How long the socket may take to answer: it does so in a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);
/// The smallest question.
const CALL: &str =
    "<?xml version='1.0'?><methodCall><methodName>supervisor.getState</methodName></methodCall>";
/// Where sudo looks for programs (`secure_path`), as far as our client may be there.
const PATH: [&str; 2] = ["/usr/local/bin", "/usr/bin"];
const SUDOERS: &str = "/etc/sudoers.d/zhylon-supervisorctl";

pub(super) fn socket(patient: &Patient<'_>) -> Vec<Finding> {
    let path = patient.config().run_dir.join("supervisor.sock");
    match ask(&path) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => {
            Finding::ok(format!("{} answers", path.display()))
        }
        Ok(answer) => {
            let line = answer.lines().next().unwrap_or_default().to_owned();
            Finding::fail(format!("{} says {line:?}", path.display()))
                .means("supervisorctl does not work")
                .remedy("look at the agent's log")
        }
        Err(error) => Finding::fail(format!("{}: {error}", path.display()))
            .means("supervisorctl does not work")
            .remedy("start the agent; if it runs, look at its log"),
    }
}

fn ask(path: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let len = CALL.len();
    write!(
        stream,
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{CALL}"
    )?;
    let mut answer = [0; 64];
    let read = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

/// Which `supervisorctl` a person gets.
pub(super) fn client(patient: &Patient<'_>) -> Vec<Finding> {
    if !patient.is_root() {
        return Vec::new();
    }
    let first = PATH
        .iter()
        .map(|dir| Path::new(dir).join("supervisorctl"))
        .find(|path| path.exists());
    let remedy = "`ln -s` this program to /usr/local/bin/supervisorctl";
    let Some(first) = first else {
        return Finding::warn("there is no supervisorctl in /usr/local/bin or /usr/bin")
            .means("deploy scripts that restart their daemons do not work")
            .remedy(remedy);
    };
    let identity = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.dev(), file.ino()))
    };
    let own = std::env::current_exe().ok();
    if identity(&first).is_some() && identity(&first) == own.as_ref().and_then(identity) {
        return Finding::ok(format!("{} is this program", first.display()));
    }
    Finding::warn(format!("{} is another program", first.display()))
        .means("`supervisorctl restart daemon-h:…:*` works with ours only; others know the spelling without `h:`")
        .remedy(remedy)
}

/// The rule by which `zhylon` restarts a daemon without a password.
pub(super) fn sudoers(patient: &Patient<'_>) -> Vec<Finding> {
    if !patient.is_root() {
        return Vec::new();
    }
    let Ok(found) = std::fs::metadata(SUDOERS) else {
        return Finding::warn(format!("there is no {SUDOERS}"))
            .means("the user zhylon is asked for a password when it restarts a daemon")
            .remedy("install the one of deploy/sudoers.d: its first lines say how");
    };
    let broken = |what: String| {
        Finding::fail(what)
            .means("sudo does not obey it, or not for anybody")
            .remedy("install the one of deploy/sudoers.d anew: its first lines say how")
    };
    if found.uid() != 0 || found.mode() & 0o022 != 0 {
        let (uid, mode) = (found.uid(), found.mode() & 0o7777);
        return broken(format!(
            "{SUDOERS} belongs to uid {uid} and has mode {mode:04o}"
        ));
    }
    let mut visudo = Command::new("/usr/sbin/visudo");
    visudo.args(["-cf", SUDOERS]).stdin(Stdio::null());
    match visudo.output() {
        Ok(said) if said.status.success() => Finding::ok(format!("{SUDOERS} is valid")),
        Ok(said) => {
            let text = String::from_utf8_lossy(&said.stderr);
            broken(
                text.lines()
                    .next()
                    .unwrap_or("visudo refuses it")
                    .to_owned(),
            )
        }
        Err(error) => Finding::warn(format!("visudo: {error}")).remedy("install sudo"),
    }
}
