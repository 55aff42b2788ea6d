//! Names of daemons and instances where people type them: `daemon-h:ID` and `daemon-ID`, `…:*` for all instances,
//! `…:daemon-ID_00` for one. Everything that reads a name reads it here.

use crate::id::DaemonId;

/// What a typed name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// All instances of a daemon (`X`, `X:` or `X:*`).
    Daemon(DaemonId),
    /// One instance.
    Instance(DaemonId, u32),
}

/// `daemon-ID`, the name of the group of a daemon's instances.
#[must_use]
pub fn group(id: &DaemonId) -> String {
    format!("daemon-{}", id.bare())
}

/// `daemon-ID_00`, the name of one instance within its group.
#[must_use]
pub fn instance(id: &DaemonId, index: u32) -> String {
    format!("daemon-{}_{index:02}", id.bare())
}

/// `daemon-ID.log`, the name of a daemon's log file.
#[must_use]
pub fn log_file(id: &DaemonId) -> String {
    format!("daemon-{}.log", id.bare())
}

/// Reads a name in either spelling. `None` means that it is not the name of a daemon of ours (nothing is said about
/// whether such a daemon exists).
#[must_use]
pub fn parse(text: &str) -> Option<Target> {
    let rest = text.strip_prefix("daemon-")?;
    let rest = rest.strip_prefix("h:").unwrap_or(rest);
    let bare = rest.get(..crate::id::BARE_LEN)?;
    let id = DaemonId::from_bare(bare).ok()?;
    match rest.get(crate::id::BARE_LEN..)? {
        "" | ":" | ":*" => Some(Target::Daemon(id)),
        process => parse_instance(&id, process.strip_prefix(':')?).map(|n| Target::Instance(id, n)),
    }
}

/// Reads the name of an instance within the group of `id`: `daemon-ID_00` or `daemon-h:ID_00`.
#[must_use]
pub fn parse_instance(id: &DaemonId, process: &str) -> Option<u32> {
    let rest = process.strip_prefix("daemon-")?;
    let digits = rest
        .strip_prefix("h:")
        .unwrap_or(rest)
        .strip_prefix(id.bare())?
        .strip_prefix('_')?;
    // Exactly the digits that `instance` prints: no sign, no spare zero.
    let index: u32 = digits.parse().ok()?;
    (format!("{index:02}") == digits).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        let id: DaemonId = "h:H3hxDfKZE0mHsxTqwN".parse().unwrap();
        for spelling in ["daemon-h:H3hxDfKZE0mHsxTqwN", "daemon-H3hxDfKZE0mHsxTqwN"] {
            for suffix in ["", ":", ":*"] {
                assert_eq!(
                    parse(&format!("{spelling}{suffix}")),
                    Some(Target::Daemon(id))
                );
            }
            for process in [
                "daemon-H3hxDfKZE0mHsxTqwN_07",
                "daemon-h:H3hxDfKZE0mHsxTqwN_07",
            ] {
                assert_eq!(
                    parse(&format!("{spelling}:{process}")),
                    Some(Target::Instance(id, 7))
                );
            }
        }
        assert_eq!(instance(&id, 0), "daemon-H3hxDfKZE0mHsxTqwN_00");
    }

    #[test]
    fn refuses_other_names() {
        for text in [
            "",
            "daemon-",
            "daemon-h:",
            "H3hxDfKZE0mHsxTqwN",
            "daemon-H3hxDfKZE0mHsxTqw",
            "daemon-H3hxDfKZE0mHsxTqwN:**",
            "daemon-H3hxDfKZE0mHsxTqwN*",
            "daemon-H3hxDfKZE0mHsxTqwN:x",
            "daemon-H3hxDfKZE0mHsxTqwN:daemon-H3hxDfKZE0mHsxTqwN_7",
            "daemon-H3hxDfKZE0mHsxTqwN:daemon-H3hxDfKZE0mHsxTqwN_+7",
            "daemon-h:H3hxDfKZE0mHsxTqwN:* all",
            "daemon-h:h:H3hxDfKZE0mHsxTqwN",
            "web:web_00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
