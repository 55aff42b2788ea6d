//! Names as people type them: our daemons in both spellings, and Supervisor's `group:process` for everything else.

use dxr::Value;
use zhylon_shared::name::{self, Target};

/// A typed name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// As typed.
    pub(super) text: &'a str,
    /// Its group, as typed.
    pub(super) group: &'a str,
    /// Its process; `None` for the whole group.
    process: Option<&'a str>,
    /// The daemon or instance of ours it means.
    ours: Option<Target>,
}

impl<'a> Name<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let ours = name::parse(text);
        let (group, process) = match ours {
            // Supervisor splits at the first colon, which in `daemon-h:ID` is not the one that counts.
            Some(Target::Daemon(_)) => {
                let whole = text.strip_suffix(":*").or_else(|| text.strip_suffix(':'));
                (whole.unwrap_or(text), None)
            }
            _ => match text.split_once(':') {
                Some((group, "" | "*")) => (group, None),
                Some((group, process)) => (group, Some(process)),
                None => (text, Some(text)),
            },
        };
        Self {
            text,
            group,
            process,
            ours,
        }
    }

    /// Whether it means a group, and not one process.
    pub(super) fn is_group(&self) -> bool {
        self.process.is_none()
    }

    /// Whether it can be one of our daemons.
    pub(super) fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// Whether it was typed as a group (`X:*`): then an error says so, too.
    pub(super) fn says_group(&self) -> bool {
        self.is_group() && self.text.ends_with([':', '*'])
    }

    /// Whether it means this process.
    pub(super) fn means(&self, group: &str, process: &str) -> bool {
        match self.ours {
            Some(Target::Daemon(id)) => group == name::group(&id),
            Some(Target::Instance(id, index)) => {
                group == name::group(&id) && process == name::instance(&id, index)
            }
            None => group == self.group && self.process.is_none_or(|own| process == own),
        }
    }
}

/// `group:process`, or just one of them where they are equal.
pub(super) fn namespec(group: &str, process: &str) -> String {
    if group == process {
        process.to_owned()
    } else {
        format!("{group}:{process}")
    }
}

/// A member of a struct, as text; empty if it has none.
pub(super) fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    match value {
        Value::Struct(members) => match members.get(member) {
            Some(Value::String(text)) => text,
            _ => "",
        },
        _ => "",
    }
}

/// A member of a struct, as number; 0 if it has none.
pub(super) fn number(value: &Value, member: &str) -> i32 {
    match value {
        Value::Struct(members) => match members.get(member) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_processes() {
        let id = "H3hxDfKZE0mHsxTqwN";
        let own = (format!("daemon-{id}"), format!("daemon-{id}_00"));
        for (text, group, is_group, says_group, means) in [
            (
                format!("daemon-h:{id}:*"),
                format!("daemon-h:{id}"),
                true,
                true,
                true,
            ),
            (
                format!("daemon-{id}:"),
                format!("daemon-{id}"),
                true,
                true,
                true,
            ),
            (
                format!("daemon-h:{id}"),
                format!("daemon-h:{id}"),
                true,
                false,
                true,
            ),
            (
                format!("daemon-h:{id}:daemon-{id}_00"),
                "daemon-h".into(),
                false,
                false,
                true,
            ),
            (
                format!("daemon-{id}:daemon-{id}_01"),
                format!("daemon-{id}"),
                false,
                false,
                false,
            ),
            ("web:*".into(), "web".into(), true, true, false),
            ("web".into(), "web".into(), false, false, false),
            ("web:web_00".into(), "web".into(), false, false, false),
        ] {
            let name = Name::parse(&text);
            assert_eq!(name.group, group, "{text}");
            assert_eq!(name.is_group(), is_group, "{text}");
            assert_eq!(name.says_group(), says_group, "{text}");
            assert_eq!(name.means(&own.0, &own.1), means, "{text}");
        }
        assert!(Name::parse("web").means("web", "web"));
        assert!(Name::parse("web:*").means("web", "web_07"));
        assert!(!Name::parse("web:web_00").means("web", "web_07"));
    }
}
