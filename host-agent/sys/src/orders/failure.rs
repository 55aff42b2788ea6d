//! What the exec helper says when it could not become the daemon.

use std::fmt;
use std::io;

/// The steps of a start. The numbers are what travels; they are never used again for another step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StartStep {
    /// Reading the orders.
    Orders = 1,
    /// Writing the run record.
    Record = 2,
    /// Keeping descriptors and signals from the program, and its own session.
    Session = 3,
    /// Out-of-memory score and priority.
    Priority = 4,
    /// The limit of open files.
    Nofile = 5,
    /// `/dev/null` as standard input.
    Stdin = 6,
    /// Groups, gid, uid.
    User = 7,
    /// The directory.
    Chdir = 8,
    /// The program.
    Exec = 9,
    /// Joining the cgroup; comes right after the orders.
    Cgroup = 10,
}

impl StartStep {
    const ALL: [Self; 10] = [
        Self::Orders,
        Self::Record,
        Self::Session,
        Self::Priority,
        Self::Nofile,
        Self::Stdin,
        Self::User,
        Self::Chdir,
        Self::Exec,
        Self::Cgroup,
    ];

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Record => "run record",
            Self::Session => "session",
            Self::Priority => "priority",
            Self::Nofile => "rlimit nofile",
            Self::Stdin => "open /dev/null",
            Self::User => "user switch",
            Self::Chdir => "chdir",
            Self::Exec => "exec",
            Self::Cgroup => "cgroup",
        }
    }
}

/// Which step failed, and the system's error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartFailure {
    /// The step.
    pub step: StartStep,
    /// Its errno.
    pub errno: i32,
}

impl StartFailure {
    /// Bytes on the status pipe; below PIPE_BUF, so they arrive whole or not at all.
    pub const BYTES: usize = 5;

    /// As written to the status pipe.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let [a, b, c, d] = self.errno.to_le_bytes();
        [self.step as u8, a, b, c, d]
    }

    /// From all that came out of the status pipe; `None` for anything [`Self::encode`] could not have written.
    /// Nothing at all (end of file at once) means that the program runs, and is not for this function.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [step, errno @ ..] = bytes else {
            return None;
        };
        let step = StartStep::ALL.into_iter().find(|s| *s as u8 == *step)?;
        let errno = i32::from_le_bytes(errno.try_into().ok()?);
        Some(Self { step, errno })
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = io::Error::from_raw_os_error(self.errno);
        write!(f, "{}: {error}", self.step.words())
    }
}
