//! Lines typed at a terminal: editing, history, completion. A history is kept in a file only where one was named, in the
//! plain form Supervisor's client reads and writes.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Helper};

use super::beside::Beside;
use super::calls::Server;
use super::complete::{Process, candidates};
use super::table::Row;

/// Lines kept, in memory and in the file.
const HISTORY_LINES: usize = 1000;

/// What was typed.
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C or Ctrl-D.
    Leave,
}

/// A terminal with a history.
pub(super) struct Editor {
    editor: rustyline::Editor<Names, MemHistory>,
    file: Option<PathBuf>,
    /// What belongs into it.
    kept: VecDeque<String>,
}

impl Editor {
    pub(super) fn new(file: Option<&Path>) -> io::Result<Self> {
        let config = Config::builder()
            .max_history_size(HISTORY_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(io::Error::other)?
            .completion_type(CompletionType::List)
            .build();
        let history = MemHistory::with_config(&config);
        let editor = rustyline::Editor::with_history(config, history).map_err(io::Error::other)?;
        let mut editor = Self {
            editor,
            file: file.map(Path::to_owned),
            kept: VecDeque::new(),
        };
        // One that is not there yet is written at the first line.
        if let Some(bytes) = file.and_then(|file| std::fs::read(file).ok()) {
            for line in String::from_utf8_lossy(&bytes).lines() {
                editor.remember(line)?;
            }
        }
        Ok(editor)
    }

    /// The next line. Names are those of `server` and `beside`, asked for at the first Tab of each line.
    pub(super) fn read(
        &mut self,
        prompt: &str,
        server: &Server,
        beside: &Rc<Beside>,
    ) -> io::Result<Typed> {
        self.editor.set_helper(Some(Names {
            server: server.again(),
            beside: Rc::clone(beside),
            known: OnceCell::new(),
        }));
        match self.editor.readline(prompt) {
            Ok(line) => {
                if !line.trim().is_empty() {
                    self.remember(&line)?;
                    self.save();
                }
                Ok(Typed::Line(line))
            }
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(Typed::Leave),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn remember(&mut self, line: &str) -> io::Result<()> {
        let added = self.editor.add_history_entry(line);
        // Not if it repeats the one before.
        if added.map_err(io::Error::other)? {
            if self.kept.len() == HISTORY_LINES {
                self.kept.pop_front();
            }
            self.kept.push_back(line.to_owned());
        }
        Ok(())
    }

    /// After each line, so that nothing is lost with the terminal. A file that can not be written is no reason to keep
    /// somebody from his daemons; Supervisor's client says nothing about it either.
    fn save(&self) {
        let Some(file) = &self.file else { return };
        let text: String = self.kept.iter().map(|line| format!("{line}\n")).collect();
        let opened = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(file);
        let _ = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    }
}

/// The names Tab knows while one line is typed.
struct Names {
    server: Server,
    beside: Rc<Beside>,
    known: OnceCell<Vec<Process>>,
}

impl Names {
    /// Ours and theirs; who does not answer has none.
    fn processes(&self) -> Vec<Process> {
        let known = self.known.get_or_init(|| {
            let infos = self
                .server
                .again()
                .call_array("supervisor.getAllProcessInfo", &[]);
            let mut rows: Vec<Row> = infos.unwrap_or_default().iter().map(Row::of).collect();
            let theirs = self.beside.answering();
            if let Some(Ok(output)) = theirs.map(|real| real.output(&["status"])) {
                let text = String::from_utf8_lossy(&output.stdout);
                rows.extend(text.lines().filter_map(Row::read));
            }
            rows.into_iter()
                .map(|row| (row.group, row.process))
                .collect()
        });
        known.clone()
    }
}

impl Completer for Names {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let line = line.get(..pos).unwrap_or(line);
        let start = line.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = line.get(start..).unwrap_or_default();
        Ok((start, candidates(line, word, || self.processes())))
    }
}

impl Hinter for Names {
    type Hint = String;
}

impl Highlighter for Names {}

impl Validator for Names {}

impl Helper for Names {}
