//! The lines of `status`: made from what a server answers, read back from what the real client prints.

use dxr::Value;

use super::names::{namespec, text};

/// Narrowest column of names.
const NAME_WIDTH: usize = 30;

/// All states, as they are printed.
const STATES: [&str; 8] = [
    "STOPPED", "STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "FATAL", "UNKNOWN",
];

/// Those in which nothing runs and nothing will by itself.
const STOPPED_STATES: [&str; 4] = ["STOPPED", "EXITED", "FATAL", "UNKNOWN"];

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) group: String,
    pub(super) process: String,
    state: String,
    description: String,
}

impl Row {
    /// From a struct of `getAllProcessInfo`.
    pub(super) fn of(info: &Value) -> Self {
        let own = |member| text(info, member).to_owned();
        Self {
            group: own("group"),
            process: own("name"),
            state: own("statename"),
            description: own("description"),
        }
    }

    /// From a line of `zhylon.status`.
    pub(super) fn of_line(line: &str) -> Option<Self> {
        let mut columns = line.split('\t').map(str::to_owned);
        let (group, process) = (columns.next()?, columns.next()?);
        let (state, description) = (columns.next()?, columns.next()?);
        Some(Self {
            group,
            process,
            state,
            description,
        })
    }

    /// From a line of the real client; `None` for what is no process, its errors for example.
    pub(super) fn read(line: &str) -> Option<Self> {
        let (name, rest) = line.split_once(' ')?;
        let rest = rest.trim_start();
        let (state, description) = rest.split_once(' ').unwrap_or((rest, ""));
        // No name of a process holds a colon, so this is where its group ends.
        let (group, process) = name.split_once(':').unwrap_or((name, name));
        STATES.contains(&state).then(|| Self {
            group: group.to_owned(),
            process: process.to_owned(),
            state: state.to_owned(),
            description: description.trim_start().to_owned(),
        })
    }

    pub(super) fn is_stopped(&self) -> bool {
        STOPPED_STATES.contains(&self.state.as_str())
    }
}

/// The table, aligned as Supervisor does.
pub(super) fn format(rows: &[Row]) -> String {
    let names: Vec<String> = rows
        .iter()
        .map(|row| namespec(&row.group, &row.process))
        .collect();
    let longest = names.iter().map(|name| name.chars().count()).max();
    let width = longest.unwrap_or(0).max(NAME_WIDTH) + 3;
    let mut table = String::new();
    for (name, row) in names.iter().zip(rows) {
        let (state, description) = (&row.state, &row.description);
        table += &format!("{name:width$}{state:10}{description}\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints_and_no_errors() {
        let lines = "\
bad                              FATAL     Exited too quickly (process log may have details)
off                              STOPPED   Not started
up                               STARTING  \nweb:web_00                       RUNNING   pid 15242, uptime 0:00:06
";
        let rows: Vec<Row> = lines.lines().filter_map(Row::read).collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(format(&rows), lines);
        let stopped: Vec<bool> = rows.iter().map(Row::is_stopped).collect();
        assert_eq!(stopped, [true, true, false, false]);
        for line in [
            "",
            "web: ERROR (no such process)",
            "unix:///var/run/supervisor.sock no such file",
            "error: <class 'PermissionError'>, [Errno 13] Permission denied: file: x line: 1",
        ] {
            assert_eq!(Row::read(line), None, "{line}");
        }
    }

    #[test]
    fn the_longest_name_makes_the_column() {
        let long = "x".repeat(40);
        let rows = [
            Row::read(&format!("{long} RUNNING   pid 1")).unwrap(),
            Row::read("a RUNNING   pid 2").unwrap(),
        ];
        let table = format(&rows);
        assert_eq!(table.lines().nth(1).unwrap().find("RUNNING"), Some(43));
    }
}
