//! The shell: the same commands, typed or piped. What is piped gets a prompt, too, as in Supervisor's.

use super::editor::{Editor, Typed};
use super::interrupts::Interrupts;
use super::{Session, Stop, exit};

const PROMPT: &str = "supervisor> ";

impl Session<'_> {
    /// Runs until the input ends or says so. Its exit status is always that of success.
    pub(super) fn shell(&mut self) -> Result<(), Stop> {
        let mut editor = None;
        if self.terminal {
            self.interrupts = Some(Interrupts::listen(exit::SUCCESS.into())?);
            editor = Some(Editor::new(self.history.as_deref())?);
        }
        self.run_line("status")?;
        loop {
            self.out.flush()?;
            let line = match &mut editor {
                Some(editor) => match editor.read(PROMPT, &self.server, &self.beside)? {
                    Typed::Line(line) => line,
                    Typed::Leave => return Ok(()),
                },
                None => match self.ask(PROMPT)? {
                    Some(line) => line,
                    None => "EOF".to_owned(),
                },
            };
            match self.run_line(&line) {
                Err(Stop::Quit) => return Ok(()),
                done => done?,
            }
        }
    }

    fn run_line(&mut self, line: &str) -> Result<(), Stop> {
        // A blank line does not repeat the last one.
        if line.trim().is_empty() {
            return Ok(());
        }
        self.server.hang_up();
        let done = self.command(line);
        self.settle(done)
    }

    /// Shows a question and reads the answer; `None` at the end of input.
    pub(super) fn ask(&mut self, question: &str) -> Result<Option<String>, Stop> {
        self.out.write_all(question.as_bytes())?;
        self.out.flush()?;
        Ok(self.lines.next()?)
    }
}
