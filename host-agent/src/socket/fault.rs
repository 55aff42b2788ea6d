//! Supervisor's faults: the only place that knows their numbers (`supervisor/xmlrpc.py` of 4.2.5).

use std::fmt;

/// Which fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    UnknownMethod,
    IncorrectParameters,
    BadArguments,
    /// `methodHelp` of what is not there.
    SignatureUnsupported,
    BadName,
    BadSignal,
    NoFile,
    NotExecutable,
    Failed,
    AbnormalTermination,
    SpawnError,
    AlreadyStarted,
    NotRunning,
    /// Not a fault: the status of what went well in an array of results.
    Success,
}

impl Code {
    const ALL: [(Self, i32, &'static str); 14] = [
        (Self::UnknownMethod, 1, "UNKNOWN_METHOD"),
        (Self::IncorrectParameters, 2, "INCORRECT_PARAMETERS"),
        (Self::BadArguments, 3, "BAD_ARGUMENTS"),
        (Self::SignatureUnsupported, 4, "SIGNATURE_UNSUPPORTED"),
        (Self::BadName, 10, "BAD_NAME"),
        (Self::BadSignal, 11, "BAD_SIGNAL"),
        (Self::NoFile, 20, "NO_FILE"),
        (Self::NotExecutable, 21, "NOT_EXECUTABLE"),
        (Self::Failed, 30, "FAILED"),
        (Self::AbnormalTermination, 40, "ABNORMAL_TERMINATION"),
        (Self::SpawnError, 50, "SPAWN_ERROR"),
        (Self::AlreadyStarted, 60, "ALREADY_STARTED"),
        (Self::NotRunning, 70, "NOT_RUNNING"),
        (Self::Success, 80, "SUCCESS"),
    ];

    /// Its number on the wire.
    pub(crate) fn number(self) -> i32 {
        Self::ALL
            .iter()
            .find(|row| row.0 == self)
            .map_or(0, |row| row.1)
    }

    /// The code with this number, if it is one of these.
    pub(crate) fn from_number(number: i32) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|row| row.1 == number)
            .map(|row| row.0)
    }

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|row| row.0 == self)
            .map_or("", |row| row.2)
    }
}

/// An answer that says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Which.
    pub(crate) code: Code,
    detail: Option<String>,
}

impl Fault {
    /// A fault that says no more than its name.
    pub(crate) fn plain(code: Code) -> Self {
        Self { code, detail: None }
    }

    /// A fault about something: `BAD_NAME: x`.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: Some(detail.into()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_a_bijection() {
        for (code, number, name) in Code::ALL {
            assert_eq!(code.number(), number);
            assert_eq!(Code::from_number(number), Some(code));
            assert_eq!(Fault::new(code, "x").to_string(), format!("{name}: x"));
            assert_eq!(Fault::plain(code).to_string(), name);
        }
        assert_eq!(Code::from_number(0), None);
    }
}
