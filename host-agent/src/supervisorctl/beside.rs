//! Ours and theirs: which names go to our agent and which to the real Supervisor's client, and what both together exit
//! with. A name is theirs when it can be no daemon of ours and there is a real Supervisor; looked for only then, so that
//! a deploy script's line costs nothing.

use std::cell::OnceCell;
use std::process::Stdio;

use dxr::Value;

use super::calls::Server;
use super::names::Name;
use super::real::{Place, Reach, Real};
use super::{Session, Stop, exit};

/// The real Supervisor, once somebody asked for it.
#[derive(Debug)]
pub(super) struct Beside {
    place: Option<Place>,
    /// Asked first whether the caller, root by sudo's grace, has its rights over everything.
    judge: Option<Server>,
    found: OnceCell<Option<Real>>,
}

impl Beside {
    /// `place` is where to look; `None` where a server was named: then it alone is meant.
    pub(super) fn new(place: Option<Place>) -> Self {
        Self {
            place,
            judge: None,
            found: OnceCell::new(),
        }
    }

    /// Looks only if `judge` says that the caller may move everything: a rule for one daemon of ours must not lead to the
    /// other's programs. Without an answer it may not.
    pub(super) fn judged_by(self, judge: Option<Server>) -> Self {
        Self { judge, ..self }
    }

    fn may_look(&self) -> bool {
        let Some(judge) = &self.judge else {
            return true;
        };
        let answer = judge.again().call("zhylon.mayMoveAll", &[]);
        matches!(answer, Ok(Value::Boolean(true)))
    }

    pub(super) fn real(&self) -> Option<&Real> {
        let found = self.found.get_or_init(|| {
            let found = self.place.as_ref().and_then(Real::find)?;
            self.may_look().then_some(found)
        });
        found.as_ref()
    }

    /// The real one, if it answers. What is meant for everything leaves it out else: that a caller may not speak to it,
    /// or that it does not run, is nobody's concern who did not name a program of it.
    pub(super) fn answering(&self) -> Option<&Real> {
        self.real().filter(|real| real.reach() == Reach::Answers)
    }
}

/// The names of one command line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shares<'a> {
    pub(super) own: Vec<&'a str>,
    pub(super) theirs: Vec<&'a str>,
}

impl<'a> Shares<'a> {
    /// Whether our agent has to be asked. It answers for what nobody knows, and for no names at all.
    pub(super) fn concern_us(&self) -> bool {
        !self.own.is_empty() || self.theirs.is_empty()
    }
}

impl Session<'_> {
    /// Who is meant by which name. `all` is both.
    pub(super) fn shares<'n>(&self, names: &[&'n str]) -> Shares<'n> {
        if names.contains(&"all") {
            let theirs = self.beside.answering().map(|_| "all");
            return Shares {
                own: vec!["all"],
                theirs: theirs.into_iter().collect(),
            };
        }
        let is_own = |name: &&str| Name::parse(name).is_ours();
        if names.iter().all(is_own) || self.beside.real().is_none() {
            return Shares {
                own: names.to_vec(),
                theirs: Vec::new(),
            };
        }
        let (own, theirs) = names.iter().partition(|name| is_own(name));
        Shares { own, theirs }
    }

    /// Whether this one name is theirs.
    pub(super) fn is_theirs(&self, name: &str) -> bool {
        !Name::parse(name).is_ours() && self.beside.real().is_some()
    }

    /// Does our part of a command that takes names by `ours` and has theirs done by one call of `command`.
    pub(super) fn share(
        &mut self,
        command: &[&str],
        names: &[&str],
        ours: impl FnOnce(&mut Self, &[&str]) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let shares = self.shares(names);
        if shares.concern_us() {
            // Ours may fail as it likes; theirs is theirs.
            let done = ours(self, &shares.own);
            self.settle(done)?;
        }
        if shares.theirs.is_empty() {
            return Ok(());
        }
        self.hand_on(&[command, &shares.theirs].concat())
    }

    /// Has the real client carry this out, if there is one. Its last failure decides.
    pub(super) fn hand_on(&mut self, args: &[&str]) -> Result<(), Stop> {
        self.hand_on_with(args, Stdio::null())
    }

    pub(super) fn hand_on_with(&mut self, args: &[&str], stdin: Stdio) -> Result<(), Stop> {
        let Some(real) = self.beside.real() else {
            return Ok(());
        };
        self.out.flush()?;
        match real.pass(args, stdin, self.out, self.err) {
            Ok(exit::SUCCESS) => {}
            Ok(status) => self.exit = status,
            Err(error) => {
                self.exit = exit::GENERIC;
                let by_hand = real.by_hand();
                let command = args.first().copied().unwrap_or_default();
                self.say(&format!(
                    "error: {command} could not be handed on to the Supervisor of this host ({error}); try: {by_hand} {command}"
                ))?;
            }
        }
        Ok(())
    }
}
