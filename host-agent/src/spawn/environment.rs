//! What a program finds in its environment: the user's, ours, then the spec's. Nothing of the agent's own.

use std::collections::BTreeMap;
use std::ffi::CString;

use host_agent_engine::input::Slot;
use zhylon_shared::name;
use zhylon_shared::spec::DaemonSpec;

use super::tree::MARKER;
use super::users::Account;

const USER_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const ROOT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `KEY=VALUE` of everything, ordered by key.
///
/// # Errors
/// The variable that can not be passed on.
pub(crate) fn of(
    spec: &DaemonSpec,
    slot: &Slot,
    account: &Account,
) -> Result<Vec<CString>, String> {
    let owner = &account.owner;
    let home = owner.home.to_string_lossy();
    let shell = account.shell.to_string_lossy();
    let process = name::instance(&slot.daemon, slot.index);
    let group = name::group(&slot.daemon);
    let daemon = slot.daemon.to_string();
    let mut all = BTreeMap::from([
        ("HOME", &*home),
        ("USER", &owner.name),
        ("LOGNAME", &owner.name),
        ("SHELL", &*shell),
        ("PATH", path(spec, owner.uid)),
        ("LANG", "C.UTF-8"),
        ("SUPERVISOR_ENABLED", "1"),
        ("SUPERVISOR_GROUP_NAME", &group),
        ("ZHYLON_DAEMON_ID", &daemon),
    ]);
    for (name, value) in spec.environment() {
        all.insert(name, value.expose());
    }
    // Last: the tree of a run without cgroup is known by it.
    all.insert(MARKER, &process);
    all.into_iter()
        .map(|(name, value)| {
            CString::new(format!("{name}={value}"))
                .map_err(|_| format!("environment: {name} contains a NUL byte"))
        })
        .collect()
}

/// The PATH in which a spec's program is looked for.
pub(crate) fn path(spec: &DaemonSpec, uid: u32) -> &str {
    let default = if uid == 0 { ROOT_PATH } else { USER_PATH };
    spec.environment()
        .get("PATH")
        .map_or(default, |path| path.expose())
}

#[cfg(test)]
mod tests {
    use zhylon_shared::spec::SpecDraft;

    use super::*;
    use crate::spawn::users::{Users, Who};

    #[test]
    fn a_spec_may_change_what_is_the_users_but_not_what_a_tree_is_known_by() {
        let variables = [
            ("HOME", "/srv"),
            ("LANG", "de_DE.UTF-8"),
            (MARKER, "somebody:else"),
        ];
        let spec = DaemonSpec::check(SpecDraft {
            command: "true".to_owned(),
            environment: (variables.iter())
                .map(|(name, value)| {
                    (
                        (*name).to_owned(),
                        zhylon_shared::redact::Secret::new(*value),
                    )
                })
                .collect(),
            ..SpecDraft::default()
        })
        .unwrap();
        let slot = Slot {
            daemon: "h:H3hxDfKZE0mHsxTqwN".parse().unwrap(),
            index: 3,
        };
        let root = Users::asking_here().find(&Who::Uid(0)).unwrap();
        let all = of(&spec, &slot, &root).unwrap();
        let all: Vec<_> = all.iter().map(|one| one.to_str().unwrap()).collect();
        let marker = format!("{MARKER}={}", name::instance(&slot.daemon, 3));
        for expected in ["HOME=/srv", "LANG=de_DE.UTF-8", &marker, "USER=root"] {
            assert!(all.contains(&expected), "{expected}: {all:?}");
        }
        assert_eq!(all.iter().filter(|one| one.starts_with(MARKER)).count(), 1);
    }
}
