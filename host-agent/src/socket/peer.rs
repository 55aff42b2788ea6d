//! Who is at the other end of a connection and what that gives: the kernel says the uid; behind root's it is sudo's
//! word who asked. What can not be found out gives less, never more.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use host_agent_sys::peer::{has_ended, peer_pidfd};
use rustix::net::sockopt::socket_peercred;

use crate::config::Operators;
use crate::spawn::users::{Users, Who};

/// Largest environment that is looked through. The kernel allows 6 MiB of arguments and environment together.
const ENVIRONMENT_MAX: u64 = 8 * 1024 * 1024;

/// Set by sudo itself, whatever the caller's environment says.
const SUDO_UID: &[u8] = b"SUDO_UID=";

/// Which daemons a peer may see and move; to it, there are no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    All,
    /// Those that run as this uid.
    Of(u32),
}

/// One peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Who counts: the kernel's uid of the peer, or the one that called sudo. Limits are by this.
    pub(crate) uid: u32,
    pub(crate) rights: Rights,
    /// For holds, events and logs, if its name is known: `root (uid 0)`, `anna (uid 1001) as root through sudo`. Who
    /// is not root moves only daemons of its own user, so their user is its name.
    pub(crate) name: Option<String>,
}

/// The uid at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// This one, without sudo.
    Itself(u32),
    /// Root, on behalf of this one.
    Sudo(u32),
}

impl Caller {
    /// Asks the kernel, and for a uid-0 peer its environment. `privileged`: this agent runs as root. Without that it can
    /// not look into root's processes, and there is nothing to tell apart: all its daemons are one user's.
    ///
    /// # Errors
    /// When it can not be found out, for example since the peer is gone.
    pub(crate) fn of(socket: impl AsFd, privileged: bool) -> io::Result<Self> {
        let peer = socket_peercred(&socket)?;
        let uid = peer.uid.as_raw();
        if uid != 0 || !privileged {
            return Ok(Self::Itself(uid));
        }
        let pidfd = peer_pidfd(&socket)?;
        let environment = environment(&format!("/proc/{}/environ", peer.pid.as_raw_nonzero()))?;
        // Only now is it sure that the file was this process's and not that of a later one with its number.
        if has_ended(&pidfd)? {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "it has ended"));
        }
        match sudo_uid(&environment)? {
            None => Ok(Self::Itself(0)),
            Some(uid) => Ok(Self::Sudo(uid)),
        }
    }

    /// The uid whose limits count.
    pub(crate) fn uid(self) -> u32 {
        match self {
            Self::Itself(uid) | Self::Sudo(uid) => uid,
        }
    }
}

/// Judges callers.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    pub(crate) users: Arc<Users>,
    pub(crate) operators: Arc<Operators>,
    /// This agent runs as root.
    pub(crate) privileged: bool,
}

impl Judge {
    /// What the caller may. Asks the name service where sudo's word has to be understood.
    pub(crate) async fn judge(&self, caller: Caller) -> Peer {
        let uid = match caller {
            Caller::Itself(0) => return Peer::root(),
            Caller::Itself(uid) => {
                return Peer {
                    uid,
                    rights: Rights::Of(uid),
                    name: None,
                };
            }
            Caller::Sudo(uid) => uid,
        };
        let judge = self.clone();
        let asked = tokio::task::spawn_blocking(move || judge.operator(uid)).await;
        let (name, is_operator) = match asked.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(
                    uid,
                    error,
                    "who called sudo is not known: it moves only its own daemons"
                );
                (None, false)
            }
        };
        let name = match name {
            Some(name) => format!("{name} (uid {uid}) as root through sudo"),
            None => format!("uid {uid} as root through sudo"),
        };
        Peer {
            uid,
            rights: if is_operator {
                Rights::All
            } else {
                Rights::Of(uid)
            },
            name: Some(name),
        }
    }

    /// The name of this uid, and whether it is an operator's. Waits for the name service, with its deadline.
    fn operator(&self, uid: u32) -> Result<(Option<String>, bool), String> {
        if uid == 0 {
            return Ok((Some("root".to_owned()), true));
        }
        let account = self.users.find(&Who::Uid(uid))?;
        let owner = &account.owner;
        let mut is_operator = self.operators.users.contains(&owner.name);
        for group in &self.operators.groups {
            if is_operator {
                break;
            }
            let gid = self.users.group(group)?;
            is_operator = gid.is_some_and(|gid| owner.gid == gid || owner.groups.contains(&gid));
        }
        Ok((Some(owner.name.clone()), is_operator))
    }
}

impl Peer {
    fn root() -> Self {
        Self {
            uid: 0,
            rights: Rights::All,
            name: Some("root (uid 0)".to_owned()),
        }
    }
}

/// What a process was started with. Reading it waits for nothing but that process's own memory, which is root's.
fn environment(path: &str) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut environment = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(ENVIRONMENT_MAX + 1)
        .read_to_end(&mut environment)?;
    if environment.len() as u64 > ENVIRONMENT_MAX {
        return Err(io::Error::other("its environment is too long"));
    }
    Ok(environment)
}

/// The uid sudo was called by, if it was. What sudo would not write is an error: root by mistake is worse.
fn sudo_uid(environment: &[u8]) -> io::Result<Option<u32>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "its SUDO_UID is no single uid");
    let mut variables = environment.split(|byte| *byte == 0);
    let mut values = variables.by_ref().filter_map(|v| v.strip_prefix(SUDO_UID));
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.any(|other| other != first) {
        return Err(bad());
    }
    let digits = std::str::from_utf8(first).map_err(|_| bad())?;
    digits.parse().map(Some).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudos_word_is_read_exactly() {
        let read = |text: &[u8]| sudo_uid(text).map_err(|error| error.to_string());
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(b"PATH=/bin\0MY_SUDO_UID=7\0X=SUDO_UID=8\0"), Ok(None));
        assert_eq!(
            read(b"HOME=/root\0SUDO_UID=1001\0SUDO_GID=5\0"),
            Ok(Some(1001))
        );
        assert_eq!(read(b"SUDO_UID=0\0"), Ok(Some(0)));
        assert_eq!(read(b"SUDO_UID=7\0SUDO_UID=7\0"), Ok(Some(7)));
        for text in [
            &b"SUDO_UID=\0"[..],
            b"SUDO_UID=1001\0SUDO_UID=0\0",
            b"SUDO_UID=x\0",
            b"SUDO_UID=-1\0",
            b"SUDO_UID=4294967296\0",
            b"SUDO_UID= 0\0",
            b"SUDO_UID=\xff\0",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn only_operators_keep_roots_rights_through_sudo() {
        let judge = |users: &[&str], groups: &[&str]| Judge {
            users: Arc::new(Users::asking_here()),
            operators: Arc::new(Operators {
                users: users.iter().map(|name| (*name).to_owned()).collect(),
                groups: groups.iter().map(|name| (*name).to_owned()).collect(),
            }),
            privileged: true,
        };
        // In every passwd and group file: daemon is 1, of its own group.
        let name = "daemon (uid 1) as root through sudo";
        for (judge, rights) in [
            (judge(&[], &[]), Rights::Of(1)),
            (judge(&["bin"], &["no-such-group", "bin"]), Rights::Of(1)),
            (judge(&["bin", "daemon"], &[]), Rights::All),
            (judge(&[], &["no-such-group", "daemon"]), Rights::All),
        ] {
            let peer = judge.judge(Caller::Sudo(1)).await;
            assert_eq!((peer.rights, peer.name.as_deref()), (rights, Some(name)));
        }
        let judge = judge(&["daemon"], &["daemon"]);
        assert_eq!(judge.judge(Caller::Itself(0)).await, Peer::root());
        assert_eq!(judge.judge(Caller::Itself(1)).await.rights, Rights::Of(1));
        assert_eq!(judge.judge(Caller::Sudo(0)).await.rights, Rights::All);
        let nobody = judge.judge(Caller::Sudo(4_000_000_001)).await;
        assert_eq!(nobody.rights, Rights::Of(4_000_000_001));
        assert_eq!(
            nobody.name.as_deref(),
            Some("uid 4000000001 as root through sudo")
        );
    }
}
