//! The machine of a story: its users, its sudo, and programs started as one of them.
//! Owns `/etc/passwd`, `group`, `shadow` and the sudoers there. Must never be used outside a namespace of `story`.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::namespace::run;

/// Everybody who lives there: name and uid; the group has the same name and number, the home lies under `/home`.
pub const PEOPLE: &[(&str, u32)] = &[
    ("zhylon", 2000),
    ("site1", 2001),
    ("site2", 2002),
    ("bob", 2003),
    ("anna", 2004),
];
/// The administrator: a member of the group `sudo`, who has to give her password.
pub const ADMINISTRATOR: &str = "anna";
/// Her password …
pub const PASSWORD: &str = "open sesame";
/// … as `/etc/shadow` holds it (`openssl passwd -6`).
const SHADOW: &str = "$6$zhylonstory$dKlz5/LH8EkWjeIJRiORGevjvgfS3HwXJhV4vwTaV/NBvyE.o42fvQ9pPw1Rd4GKjlhNrrWvUZqmN60Hp7uc9.";
/// `/etc/sudoers` as Debian ships it.
const SUDOERS: &str = "Defaults env_reset\nDefaults mail_badpass\n\
    Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\nDefaults use_pty\n\
    root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n#includedir /etc/sudoers.d\n";
/// A program that takes longer hangs: it would wait for a password, or for an answer that never comes.
const PATIENCE: &str = "180";

/// What a program said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit status; 124 if it hung.
    pub code: i32,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A machine nobody else has.
#[derive(Debug)]
pub struct Machine(());

impl Machine {
    /// Writes its users and its sudoers.
    pub(crate) fn settle() -> Self {
        let machine = Self(());
        for (file, line) in [
            (
                "passwd",
                (|name, uid| format!("{name}:x:{uid}:{uid}::/home/{name}:/bin/bash"))
                    as fn(&str, u32) -> String,
            ),
            ("group", |name, uid| format!("{name}:x:{uid}:")),
            ("shadow", |name, _| {
                let password = if name == ADMINISTRATOR { SHADOW } else { "*" };
                format!("{name}:{password}:19000:0:99999:7:::")
            }),
        ] {
            let path = Path::new("/etc").join(file);
            let text = std::fs::read_to_string(&path).expect("the machine's own");
            let ours: Vec<String> = PEOPLE.iter().map(|(name, uid)| line(name, *uid)).collect();
            // The machine may have users of these names and numbers, and members of sudo.
            let kept = text.lines().filter(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                let taken =
                    |name: &str, uid: u32| fields[0] == name || fields[2] == uid.to_string();
                fields[0] != "sudo" && !PEOPLE.iter().any(|(name, uid)| taken(name, *uid))
            });
            let mut lines: Vec<String> = kept.map(str::to_owned).chain(ours).collect();
            if file == "group" {
                lines.push(format!("sudo:x:27:{ADMINISTRATOR}"));
            }
            std::fs::write(&path, lines.join("\n") + "\n").expect("write it");
        }
        for (name, uid) in PEOPLE {
            let home = machine.home(name);
            std::fs::create_dir(&home).expect("a home");
            std::fs::set_permissions(&home, PermissionsExt::from_mode(0o750)).expect("its mode");
            std::os::unix::fs::chown(&home, Some(*uid), Some(*uid)).expect("its owner");
        }
        let _ = std::fs::remove_dir_all("/etc/sudoers.d");
        std::fs::create_dir("/etc/sudoers.d").expect("a directory for snippets");
        std::fs::remove_file("/etc/sudoers").expect("the machine's own rules go");
        place("/etc/sudoers", SUDOERS, 0o440);
        machine
    }

    /// Somebody's home.
    #[must_use]
    pub fn home(&self, user: &str) -> PathBuf {
        Path::new("/home").join(user)
    }

    /// Adds a snippet to the sudoers, and asks `visudo` about all of them.
    pub fn allow(&self, name: &str, text: &str) {
        place(format!("/etc/sudoers.d/{name}"), text, 0o440);
        run(Command::new("visudo").arg("-c"));
    }

    /// Writes a file that belongs to `user`.
    pub fn write(&self, user: &str, path: &Path, text: &str, mode: u32) {
        place(path, text, mode);
        let (_, uid) = PEOPLE.iter().find(|(name, _)| *name == user).expect("who");
        std::os::unix::fs::chown(path, Some(*uid), Some(*uid)).expect("its owner");
    }

    /// A program as `user`, as after a login: own home, own groups, own environment, no terminal, an empty stdin. It is
    /// ended after three minutes.
    #[must_use]
    pub fn command(&self, user: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("timeout");
        command
            .args([
                "--kill-after=5",
                PATIENCE,
                "setpriv",
                "--reset-env",
                "--init-groups",
            ])
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={user}"))
            .arg("--")
            .arg(program)
            .current_dir(if user == "root" {
                PathBuf::from("/root")
            } else {
                self.home(user)
            })
            .stdin(Stdio::null());
        command
    }

    /// Runs a program as `user`.
    #[must_use]
    pub fn run(&self, user: &str, line: &[&str]) -> Said {
        let mut command = self.command(user, line[0]);
        command.args(&line[1..]).output().expect("start it").into()
    }

    /// Runs shell lines as `user`.
    #[must_use]
    pub fn shell(&self, user: &str, text: &str) -> Said {
        self.run(user, &["/bin/bash", "-c", text])
    }
}

/// Writes a file with this mode, under any umask.
pub fn place(path: impl AsRef<Path>, text: &str, mode: u32) {
    std::fs::write(&path, text).expect("write it");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("its mode");
}
