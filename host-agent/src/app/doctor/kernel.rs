//! Newer calls of the kernel.

use host_agent_sys::kernel::FEATURES;

use super::{Finding, Patient};

pub(super) fn features(_: &Patient<'_>) -> Vec<Finding> {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let mut findings = Vec::new();
    for feature in FEATURES {
        let (name, since) = (feature.name, feature.since);
        match (feature.is_known(), feature.without) {
            (Ok(true), _) => {}
            (Ok(false), Some(without)) => findings.extend(
                Finding::warn(format!(
                    "Linux {release} has no {name} for us (Linux {since})"
                ))
                .means(without)
                .remedy("a newer kernel, or a container that does not forbid the call"),
            ),
            (Ok(false), None) => findings.extend(
                Finding::fail(format!(
                    "Linux {release} has no {name} for us (Linux {since})"
                ))
                .means("the agent can not do without it")
                .remedy("Linux 5.4 or later, in a container one that does not forbid the call"),
            ),
            (Err(error), _) => {
                findings.extend(Finding::warn(format!("{name}: {error}")).remedy(""))
            }
        }
    }
    if findings.is_empty() {
        return Finding::ok(format!("Linux {release} knows every call that is used"));
    }
    findings
}
