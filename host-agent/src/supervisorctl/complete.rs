//! What Tab offers, as Supervisor's client does: actions first, then the names an action takes. Our daemons in the
//! spelling that was begun. Knows names only; where they come from is the caller's.

/// All actions.
pub(super) const ACTIONS: [&str; 22] = [
    "add", "avail", "clear", "exit", "fg", "help", "maintail", "open", "pid", "quit", "reload",
    "remove", "reread", "restart", "shutdown", "signal", "start", "status", "stop", "tail",
    "update", "version",
];

/// A process' group and its name.
pub(super) type Process = (String, String);

/// The candidates for `word`, the end of `line`. `processes` is asked only where names are wanted.
pub(super) fn candidates(
    line: &str,
    word: &str,
    processes: impl FnOnce() -> Vec<Process>,
) -> Vec<String> {
    let mut words = line.split_whitespace();
    let (action, more) = (words.next().unwrap_or_default(), words.next());
    let names = if more.is_none() && !line.ends_with(char::is_whitespace) || action == "help" {
        ACTIONS.iter().map(|action| (*action).to_owned()).collect()
    } else {
        match action {
            "add" | "remove" | "update" => groups(processes()),
            "clear" | "fg" | "pid" | "restart" | "signal" | "start" | "status" | "stop"
            | "tail" => all(processes(), word),
            _ => Vec::new(),
        }
    };
    let begun = names.into_iter().filter(|name| name.starts_with(word));
    begun.map(|name| name + " ").collect()
}

fn groups(processes: Vec<Process>) -> Vec<String> {
    let mut groups: Vec<String> = processes.into_iter().map(|(group, _)| group).collect();
    groups.dedup();
    groups
}

fn all(processes: Vec<Process>, word: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (group, process) in processes {
        // `daemon-h:ID` only to who types it: everything would be there twice, and nothing be completed.
        let group = match group.strip_prefix("daemon-") {
            Some(bare) if word.starts_with("daemon-h:") => format!("daemon-h:{bare}"),
            _ => group,
        };
        if !word.contains(':') && process == group {
            names.push(process);
            continue;
        }
        names.push(format!("{group}:{process}"));
        let whole = format!("{group}:*");
        if !names.contains(&whole) {
            names.push(whole);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "web000000000000000";

    fn offered(line: &str) -> Vec<String> {
        let word = line.rsplit(' ').next().unwrap_or_default();
        let own = |index| (format!("daemon-{ID}"), format!("daemon-{ID}_0{index}"));
        let processes = || vec![own(0), own(1), ("cron".into(), "cron".into())];
        candidates(line, word, processes)
    }

    #[test]
    fn actions_then_names() {
        assert_eq!(offered("").len(), 22);
        assert_eq!(offered("sta"), ["start ", "status "]);
        assert_eq!(offered("help ma"), ["maintail "]);
        assert_eq!(offered("version x"), [""; 0]);
        assert_eq!(offered("update d"), [format!("daemon-{ID} ")]);
        let own = [
            format!("daemon-{ID}:daemon-{ID}_00 "),
            format!("daemon-{ID}:* "),
            format!("daemon-{ID}:daemon-{ID}_01 "),
        ];
        assert_eq!(offered("restart d"), own);
        assert_eq!(offered("restart daemon-web"), own);
        assert_eq!(offered("tail -f c"), ["cron "]);
        assert_eq!(offered("stop cron:"), ["cron:cron ", "cron:* "]);
        assert_eq!(offered("status ").len(), 4);
    }

    #[test]
    fn the_spelling_that_was_begun() {
        assert_eq!(
            offered("restart daemon-h:w"),
            [
                format!("daemon-h:{ID}:daemon-{ID}_00 "),
                format!("daemon-h:{ID}:* "),
                format!("daemon-h:{ID}:daemon-{ID}_01 "),
            ]
        );
    }
}
