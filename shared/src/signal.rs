//! Signals that may ask an instance to end.

use serde::{Deserialize, Serialize};

/// A stop signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    Term,
    /// SIGHUP.
    Hup,
    /// SIGINT.
    Int,
    /// SIGQUIT.
    Quit,
    /// SIGKILL.
    Kill,
    /// SIGUSR1.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

impl StopSignal {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Term,
        Self::Hup,
        Self::Int,
        Self::Quit,
        Self::Kill,
        Self::Usr1,
        Self::Usr2,
    ];

    /// Its number on Linux (x86-64 and arm64 agree).
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Term => 15,
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Kill => 9,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
        }
    }

    /// The signal with this number, if it is one of these.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|signal| signal.number() == number)
    }

    /// Its name without `SIG`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Hup => "HUP",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
        }
    }

    /// Reads `TERM`, `SIGTERM` or `15`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        Self::ALL
            .into_iter()
            .find(|signal| signal.name() == name || text.parse() == Ok(signal.number()))
    }
}
