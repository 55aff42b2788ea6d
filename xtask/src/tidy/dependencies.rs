//! Floors between members, who may touch which crate, licences and sources. All from `cargo metadata`.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Breach;
use crate::build::{cargo, root};

/// A floor uses lower floors only: each member and the members it may name.
const FLOORS: &[(&str, &[&str])] = &[
    ("zhylon-proto", &[]),
    ("zhylon-shared", &["zhylon-proto"]),
    ("host-agent-sys", &[]),
    ("host-agent-exec-helper", &["host-agent-sys"]),
    ("host-agent-keeper", &["host-agent-sys"]),
    ("host-agent-engine", &["zhylon-shared"]),
    (
        "host-agent",
        &[
            "host-agent-engine",
            "host-agent-keeper",
            "host-agent-sys",
            "zhylon-proto",
            "zhylon-shared",
        ],
    ),
    ("api-server", &["zhylon-proto", "zhylon-shared"]),
    ("zhylonctl", &["zhylon-proto", "zhylon-shared"]),
    ("xtask", &["zhylon-proto", "zhylon-shared"]),
    ("zhylon-tests", &["xtask", "zhylon-proto", "zhylon-shared"]),
];

/// Crates that only some members may name directly: what is not a dependency can not be called.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("sqlx", &["api-server"]),
    ("ring", &["api-server"]),
    ("rustls", &["api-server", "host-agent", "zhylon-shared"]),
    ("nix", &["host-agent"]),
    ("libc", &["host-agent-sys"]),
    (
        "anyhow",
        &[
            "api-server",
            "host-agent",
            "xtask",
            "zhylon-tests",
            "zhylonctl",
        ],
    ),
];

/// Members that must stay free of a crate, and why.
const ABSENT: &[(&str, &[&str], &str)] = &[
    (
        "host-agent-engine",
        &["tokio", "nix", "libc", "rustix", "getrandom"],
        "the engine never reads a clock, a file or a socket",
    ),
    (
        "host-agent-keeper",
        &["tokio", "tonic", "rustls", "hyper"],
        "the keeper is boring: no tokio, no network",
    ),
    (
        "host-agent-exec-helper",
        &["tokio", "tonic", "rustls", "serde"],
        "the exec helper is tiny",
    ),
];

/// Licences that may be linked. An expression is fine when one of its alternatives is made of these.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(super) fn check() -> Result<Vec<Breach>> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--locked"])
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed (is Cargo.lock up to date?)");
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let empty = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&empty);
    let members: BTreeSet<&str> = strings(&metadata["workspace_members"]).collect();
    let mut breaches = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if members.contains(package["id"].as_str().unwrap_or_default()) {
            check_member(name, package, &mut breaches);
        } else {
            check_foreign(name, package, &mut breaches);
        }
    }
    for (name, _) in FLOORS {
        if !packages.iter().any(|package| package["name"] == *name) {
            breaches.push(format!(
                "tidy: the floors name {name}, which is no member any more"
            ));
        }
    }
    Ok(breaches)
}

fn check_member(name: &str, package: &Value, breaches: &mut Vec<Breach>) {
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let Some((_, below)) = FLOORS.iter().find(|(member, _)| *member == name) else {
        breaches.push(format!(
            "{manifest}: {name} has no floor; give it one in xtask/src/tidy/dependencies.rs"
        ));
        return;
    };
    let empty = Vec::new();
    for dependency in package["dependencies"].as_array().unwrap_or(&empty) {
        let used = dependency["name"].as_str().unwrap_or_default();
        let ours = FLOORS.iter().any(|(member, _)| *member == used);
        if ours && !below.contains(&used) {
            breaches.push(format!(
                "{manifest}: {name} must not use {used}: a floor uses lower floors only"
            ));
        }
        let test_only = dependency["kind"] == "dev";
        if let Some((_, users)) = WRAPPERS.iter().find(|(crate_name, _)| *crate_name == used)
            && !test_only
            && !users.contains(&name)
        {
            breaches.push(format!(
                "{manifest}: only {} may name {used}",
                users.join(", ")
            ));
        }
        for (member, absent, why) in ABSENT {
            if *member == name && absent.contains(&used) && !test_only {
                breaches.push(format!("{manifest}: {used} must not be there: {why}"));
            }
        }
    }
    let text = std::fs::read_to_string(manifest).unwrap_or_default();
    if !text.contains("[lints]\nworkspace = true") {
        breaches.push(format!("{manifest}: `[lints] workspace = true` is missing"));
    }
    for line in text.lines().filter(|line| line.contains("version = \"")) {
        breaches.push(format!(
            "{manifest}: `{}` belongs to [workspace.dependencies] of {}",
            line.trim(),
            root().display()
        ));
    }
}

fn check_foreign(name: &str, package: &Value, breaches: &mut Vec<Breach>) {
    if !package["source"]
        .as_str()
        .unwrap_or_default()
        .contains("crates.io-index")
    {
        breaches.push(format!(
            "{name}: comes from {}, not from crates.io",
            package["source"]
        ));
    }
    let licence = package["license"].as_str().unwrap_or_default();
    if !allowed(licence) {
        breaches.push(format!(
            "{name}: licence {licence:?} is not on the list in xtask/src/tidy/dependencies.rs"
        ));
    }
}

/// `A OR B` needs one, `A AND B` all; `/` is the old spelling of OR. Parentheses are taken as one level.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    expression.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|licence| LICENCES.contains(&licence.trim()))
    })
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn licences() {
        assert!(allowed("MIT OR Apache-2.0"));
        assert!(allowed("MIT/Apache-2.0"));
        assert!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(allowed("GPL-3.0 OR MIT"));
        assert!(!allowed("GPL-3.0"));
        assert!(!allowed("MIT AND GPL-3.0"));
        assert!(!allowed(""));
    }
}
