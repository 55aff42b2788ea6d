//! `shutdown`, `reload`, `open`: the server as a whole. Ours refuses the first two in its own words, and a real Supervisor
//! beside it is not touched by a word that may have been meant for the other.

use std::path::PathBuf;
use std::rc::Rc;

use super::beside::Beside;
use super::calls::{CallError, Server, theirs};
use super::real::AGENT;
use super::{Session, Stop, config, exit};

impl Session<'_> {
    pub(super) fn shutdown(&mut self, args: &[&str]) -> Result<(), Stop> {
        self.no_arguments("shutdown", args)?;
        if !self.really("Really shut the remote supervisord process down y/N? ")? {
            return Ok(());
        }
        match self.server.call("supervisor.shutdown", &[]) {
            Ok(_) => self.say("Shut down"),
            Err(error) if error.number() == Some(theirs::SHUTDOWN_STATE) => {
                self.say("ERROR: already shutting down")
            }
            Err(error @ (CallError::NoSocket(_) | CallError::Refused(_))) => {
                self.exit = exit::GENERIC;
                self.say(&format!("ERROR: {error} (already shut down?)"))
            }
            Err(error) => self.refused("shutdown", error),
        }
    }

    pub(super) fn reload(&mut self, args: &[&str]) -> Result<(), Stop> {
        self.no_arguments("reload", args)?;
        if !self.really("Really restart the remote supervisord process y/N? ")? {
            return Ok(());
        }
        match self.server.call("supervisor.restart", &[]) {
            Ok(_) => self.say("Restarted supervisord"),
            Err(error) if error.number() == Some(theirs::SHUTDOWN_STATE) => {
                self.exit = exit::GENERIC;
                self.say("ERROR: already shutting down")
            }
            Err(error) => self.refused("reload", error),
        }
    }

    fn refused(&mut self, command: &str, error: CallError) -> Result<(), Stop> {
        self.settle(Err(error.into()))?;
        match self.beside.answering() {
            Some(real) => {
                let text = format!(
                    "The Supervisor of this host goes on; it is meant by: {} {command}",
                    real.by_hand()
                );
                self.say(&text)
            }
            None => Ok(()),
        }
    }

    /// Asks, if there is somebody to ask and the server would do it.
    fn really(&mut self, question: &str) -> Result<bool, Stop> {
        if !self.interactive {
            return Ok(true);
        }
        let identification = self.server.call_text("supervisor.getIdentification");
        if identification.is_ok_and(|name| name == AGENT) {
            return Ok(true);
        }
        let answer = self.ask(question)?;
        Ok(answer.is_some_and(|answer| answer.to_lowercase().starts_with('y')))
    }

    /// Speaks to another server from here on, and to it alone.
    pub(super) fn open(&mut self, args: &[&str]) -> Result<(), Stop> {
        let url = args.join(" ");
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("unix" | "http")) {
            self.exit = exit::GENERIC;
            return self.say("ERROR: url must be http:// or unix://");
        }
        let Some(socket) = config::socket(&url) else {
            self.exit = exit::GENERIC;
            return self.say(&format!(
                "ERROR: {url}: only unix:// and an absolute path can be opened; for http:// use Supervisor's own client"
            ));
        };
        self.turn_to(socket);
        let before = self.exit;
        let shown = self.status(&[]);
        self.settle(shown)?;
        self.exit = before;
        Ok(())
    }

    fn turn_to(&mut self, socket: PathBuf) {
        self.server = Server::new(vec![socket]);
        self.beside = Rc::new(Beside::new(None));
    }
}
