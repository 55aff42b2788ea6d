//! Rules about source files: their size, and words that must not stand in some rooms.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Breach;
use crate::build::root;

/// Above this a file is refused (its authors should have thought at 300). Tests are not counted.
const MAX_LINES: usize = 400;

/// In files below the first, none of the words may stand: the reason is the last.
const ROOMS: &[(&str, &[&str], &str)] = &[
    (
        "api-server/src/domain",
        &["tonic::", "sqlx::", "crate::grpc"],
        "the domain names neither tonic nor sqlx",
    ),
    (
        "api-server/src/store",
        &["tonic::", "crate::bus", "crate::domain", "crate::grpc"],
        "the store knows only SQL",
    ),
    (
        "api-server/src/access",
        &[
            "crate::store",
            "crate::domain",
            "crate::grpc",
            "tonic::",
            "sqlx::",
        ],
        "access is pure",
    ),
    (
        "host-agent/src/link",
        &["crate::socket"],
        "two mouths, one ear",
    ),
    (
        "host-agent/src/socket",
        &["crate::link"],
        "two mouths, one ear",
    ),
    (
        "host-agent/src/logs",
        &["crate::link", "crate::socket", "crate::supervisor"],
        "logs are below the supervisor",
    ),
    (
        "host-agent/src/spawn",
        &["crate::link", "crate::socket"],
        "spawn is below the supervisor",
    ),
    (
        "host-agent/engine/src",
        &[
            "std::fs",
            "std::net",
            "std::time::Instant",
            "SystemTime",
            "std::thread",
            "tokio",
        ],
        "the engine is pure",
    ),
];

/// Words that only some files may hold.
const ONLY: &[(&str, &[&str], &str)] = &[
    (
        "unsafe {",
        &["host-agent/sys/src"],
        "host-agent/sys is the only crate with unsafe code",
    ),
    (
        "Status::with_error_details",
        &["api-server/src/grpc/status.rs"],
        "only grpc/status.rs makes a Status",
    ),
    (
        "AssertSqlSafe",
        &["api-server/src/store"],
        "SQL made at run time is the store's alone",
    ),
    ("unbounded_channel", &[], "every channel has a bound"),
    (
        "mpsc::channel()",
        &[],
        "every channel has a bound: use sync_channel",
    ),
];

pub(super) fn check() -> Result<Vec<Breach>> {
    let root = root();
    let mut files = Vec::new();
    for top in [
        "proto",
        "shared",
        "host-agent",
        "api-server",
        "cli",
        "tests",
        "xtask",
    ] {
        collect(&root.join(top), &mut files)?;
    }
    let mut breaches = Vec::new();
    for file in files {
        let path = file
            .strip_prefix(&root)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {path}"))?;
        check_file(&path, &text, &mut breaches);
    }
    Ok(breaches)
}

fn check_file(path: &str, text: &str, breaches: &mut Vec<Breach>) {
    let is_test = path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("/conformance.rs")
        || path.starts_with("tests/");
    let code = if is_test {
        text
    } else {
        text.split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or(text)
    };
    let lines = code.lines().count();
    if !is_test && lines > MAX_LINES {
        breaches.push(format!(
            "{path}: {lines} lines; more than {MAX_LINES} is more than one idea"
        ));
    }
    if !text.trim_start().starts_with("//!") && !is_test {
        breaches.push(format!("{path}: begins without `//!`: say what it owns"));
    }
    // This file names the words it looks for.
    if path == "xtask/src/tidy/sources.rs" {
        return;
    }
    for (number, line) in code.lines().enumerate() {
        let at = || format!("{path}:{}", number + 1);
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (room, words, why) in ROOMS {
            let inside = path
                .strip_prefix(room)
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'));
            for word in words
                .iter()
                .filter(|word| inside && !is_test && line.contains(**word))
            {
                breaches.push(format!("{}: `{word}` must not stand here: {why}", at()));
            }
        }
        for (word, homes, why) in ONLY {
            if line.contains(word) && !is_test && !homes.iter().any(|home| path.starts_with(home)) {
                breaches.push(format!("{}: `{word}`: {why}", at()));
            }
        }
        if ["TODO", "FIXME", "todo!(", "unimplemented!("]
            .iter()
            .any(|mark| line.contains(mark))
        {
            breaches.push(format!("{}: an unfinished mark", at()));
        }
    }
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_file;

    fn breaches(path: &str, text: &str) -> usize {
        let mut breaches = Vec::new();
        check_file(path, text, &mut breaches);
        breaches.len()
    }

    #[test]
    fn each_rule_bites() {
        assert_eq!(breaches("cli/src/a.rs", "//! A.\nfn f() {}\n"), 0);
        assert_eq!(breaches("cli/src/a.rs", "fn f() {}\n"), 1);
        assert_eq!(
            breaches("cli/src/a.rs", &format!("//! A.\n{}", "x\n".repeat(400))),
            1
        );
        assert_eq!(breaches("cli/src/a.rs", "//! A.\nunsafe { }\n"), 1);
        assert_eq!(
            breaches("host-agent/sys/src/a.rs", "//! A.\nunsafe { }\n"),
            0
        );
        assert_eq!(
            breaches(
                "host-agent/src/link/a.rs",
                "//! A.\nuse crate::socket::x;\n"
            ),
            1
        );
        assert_eq!(
            breaches("host-agent/src/link.rs", "//! A.\nuse crate::socket::x;\n"),
            1
        );
        assert_eq!(
            breaches("api-server/src/domain/a.rs", "//! A.\nuse sqlx::x;\n"),
            1
        );
        assert_eq!(
            breaches(
                "cli/src/a.rs",
                "//! A.\n// TODO in prose is fine\ntodo!()\n"
            ),
            1
        );
    }
}
