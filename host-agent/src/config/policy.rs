//! Whose processes may run on this host, and how many: the last word, whatever the api-server says.
//!
//! Owns the rules and their words. Must never look at anything but names and numbers: a home that hangs is judged, too.

use std::fmt;
use std::path::{Component, Path};

use super::Caller;

/// Lowest uid that `home_users` covers: below it are system accounts.
pub(crate) const FIRST_HOME_UID: u32 = 1000;
/// Processes of daemons at a time when the file says nothing: more than any host has use for, and far from filling its
/// table of processes.
pub(crate) const DEFAULT_MAX_PROCESSES: u32 = 5000;
/// What uid 0 is called in `users`, whatever the account's own name.
const ROOT: &str = "root";

/// The host's own allow-list. The api-server can not change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// These users, by name. Uid 0 is root by any name: for it `root` must be here.
    pub(crate) users: Vec<String>,
    /// Also every user with uid ≥ 1000 and a home under /home.
    pub(crate) home_users: bool,
    /// Processes of daemons at a time, all users together.
    pub(crate) max_processes: u32,
    /// The agent runs without root: it can be nobody but this user.
    pub(crate) only: Option<String>,
}

/// What the policy says about a user, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// By `users`.
    Listed,
    /// By `home_users`.
    HomeUser,
    /// The agent runs as this very user.
    Own,
    /// The agent runs without root, as somebody else.
    NotOwn,
    /// Uid 0, and `root` is not in `users`.
    Root,
    /// Not in `users`, and that is all there is: `home_users` is off.
    NotListed,
    /// Not in `users`, and a uid below 1000.
    System,
    /// Not in `users`, and no home under /home.
    HomeElsewhere,
}

impl Policy {
    /// What this host allows to `caller`'s agent when the file says nothing.
    pub(super) fn default_of(caller: &Caller) -> Self {
        Self {
            users: vec![zhylon_shared::spec::DEFAULT_USER.to_owned()],
            home_users: true,
            max_processes: DEFAULT_MAX_PROCESSES,
            only: (!caller.is_root()).then(|| caller.name.clone()),
        }
    }

    /// Judges a user by its account.
    pub(crate) fn judge(&self, name: &str, uid: u32, home: &Path) -> Verdict {
        let listed = |name: &str| self.users.iter().any(|user| user == name);
        match &self.only {
            Some(own) if own == name => return Verdict::Own,
            Some(_) => return Verdict::NotOwn,
            None => {}
        }
        match uid {
            0 if listed(ROOT) => Verdict::Listed,
            0 => Verdict::Root,
            _ if listed(name) => Verdict::Listed,
            _ if !self.home_users => Verdict::NotListed,
            1..FIRST_HOME_UID => Verdict::System,
            _ if is_under_home(home) => Verdict::HomeUser,
            _ => Verdict::HomeElsewhere,
        }
    }
}

/// By its words alone: who a process runs as is decided by the uid, not by what lies behind a link in /home, which only
/// root could have put there. `..` is no way out.
fn is_under_home(home: &Path) -> bool {
    let mut parts = home.components();
    let begins = parts.next() == Some(Component::RootDir)
        && parts.next() == Some(Component::Normal("home".as_ref()));
    let rest: Vec<Component<'_>> = parts.collect();
    begins && !rest.is_empty() && rest.iter().all(|part| matches!(part, Component::Normal(_)))
}

impl Verdict {
    pub(crate) fn is_allowed(self) -> bool {
        matches!(self, Self::Listed | Self::HomeUser | Self::Own)
    }

    /// What a person with root may do about it; `None`: nothing can be done here.
    pub(crate) fn advice(self, name: &str) -> Option<String> {
        let name = match self {
            Self::Listed | Self::HomeUser | Self::Own => return None,
            Self::NotOwn => {
                return Some("run the agent as root to start daemons of other users".to_owned());
            }
            Self::Root => ROOT,
            Self::NotListed | Self::System | Self::HomeElsewhere => name,
        };
        Some(format!(
            "a person with root may add \"{name}\" to `users` under [policy] in the agent's configuration and run `host-agent \
             reload`"
        ))
    }
}

/// The rule, as a clause.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listed => "it is in `policy.users`",
            Self::HomeUser => {
                "`policy.home_users`: its uid is 1000 or above and its home is under /home"
            }
            Self::Own => "the agent runs as this user",
            Self::NotOwn => {
                "the agent runs without root, so it can start processes as its own user only"
            }
            Self::Root => "its uid is 0, so it is root, and `root` is not in `policy.users`",
            Self::NotListed => "it is not in `policy.users`, and `policy.home_users` is off",
            Self::System => "it is not in `policy.users`, and its uid is below 1000",
            Self::HomeElsewhere => "it is not in `policy.users`, and its home is not under /home",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(users: &[&str], home_users: bool) -> Policy {
        Policy {
            users: users.iter().map(|name| (*name).to_owned()).collect(),
            home_users,
            max_processes: 1,
            only: None,
        }
    }

    #[test]
    fn every_kind_of_user_is_judged_by_one_rule() {
        let default = policy(&["zhylon"], true);
        for (name, uid, home, verdict) in [
            ("zhylon", 999, "/srv/zhylon", Verdict::Listed),
            ("anna", 1000, "/home/anna", Verdict::HomeUser),
            ("anna", 999, "/home/anna", Verdict::System),
            ("www-data", 33, "/home/www", Verdict::System),
            ("eve", 1002, "/srv/eve", Verdict::HomeElsewhere),
            ("eve", 1002, "/homeless", Verdict::HomeElsewhere),
            ("eve", 1002, "/home", Verdict::HomeElsewhere),
            ("eve", 1002, "/home/", Verdict::HomeElsewhere),
            ("eve", 1002, "home/eve", Verdict::HomeElsewhere),
            ("eve", 1002, "/home/../root", Verdict::HomeElsewhere),
            ("eve", 1002, "/home/eve/../../root", Verdict::HomeElsewhere),
            ("eve", 1002, "/home/./eve", Verdict::HomeUser),
            ("root", 0, "/root", Verdict::Root),
            // Other names of root, one of them listed.
            ("toor", 0, "/home/toor", Verdict::Root),
            ("zhylon", 0, "/home/zhylon", Verdict::Root),
        ] {
            let found = default.judge(name, uid, Path::new(home));
            assert_eq!(found, verdict, "{name} {uid} {home}");
        }
        let root = policy(&["root", "eve"], false);
        for (name, uid, verdict) in [
            ("root", 0, Verdict::Listed),
            ("toor", 0, Verdict::Listed),
            ("eve", 1002, Verdict::Listed),
            ("anna", 1001, Verdict::NotListed),
            // The name alone makes nobody root.
            ("root", 1003, Verdict::Listed),
        ] {
            assert_eq!(
                root.judge(name, uid, Path::new("/home/x")),
                verdict,
                "{name}"
            );
        }
    }

    #[test]
    fn every_verdict_has_words_of_its_own() {
        let words = |verdict: Verdict, part: &str| {
            let words = verdict.to_string();
            assert!(words.contains(part), "{verdict:?}: {words}");
            words
        };
        let all = [
            words(Verdict::Listed, "is in `policy.users`"),
            words(Verdict::HomeUser, "home is under /home"),
            words(Verdict::Own, "runs as this user"),
            words(Verdict::NotOwn, "runs without root"),
            words(Verdict::Root, "uid is 0"),
            words(Verdict::NotListed, "`policy.home_users` is off"),
            words(Verdict::System, "uid is below 1000"),
            words(Verdict::HomeElsewhere, "home is not under /home"),
        ];
        let different = all.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn without_root_there_is_one_user() {
        let mut policy = policy(&["root", "eve"], true);
        policy.only = Some("anna".to_owned());
        let judge = |name, uid| policy.judge(name, uid, Path::new("/home/x"));
        assert_eq!(judge("anna", 1001), Verdict::Own);
        assert_eq!(judge("eve", 1002), Verdict::NotOwn);
        assert_eq!(judge("root", 0), Verdict::NotOwn);
    }

    #[test]
    fn a_refusal_names_the_line_to_add() {
        for (verdict, line) in [
            (Verdict::Root, Some("add \"root\" to")),
            (Verdict::System, Some("add \"eve\" to")),
            (Verdict::NotOwn, Some("run the agent as root")),
            (Verdict::Listed, None),
        ] {
            let advice = verdict.advice("eve");
            assert_eq!(advice.is_some(), line.is_some(), "{verdict:?}");
            assert!(advice.is_none_or(|advice| advice.contains(line.unwrap())));
            assert_eq!(verdict.is_allowed(), line.is_none());
        }
    }
}
