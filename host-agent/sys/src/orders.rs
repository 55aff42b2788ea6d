//! What the worker tells the exec helper: which program shall become which daemon.
//!
//! The orders travel in a sealed memfd, so that they can not change while they are read, and no word of a tenant stands
//! in the arguments or environment of a program that is still root. This module owns the format and its bounds; it must
//! never act on what it reads.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

mod failure;
mod memfd;
mod wire;

pub use failure::{StartFailure, StartStep};
pub use memfd::{read_sealed, to_sealed_memfd};

/// The exec helper's name, and its only argument.
pub const HELPER_NAME: &CStr = c"zhylon-exec";
/// Version of this format. A helper refuses any other.
pub const VERSION: u32 = 2;

/// The helper reads its orders here.
pub const ORDERS_FD: RawFd = 3;
/// The helper writes a [`StartFailure`] here; end of file without one: the program runs.
pub const STATUS_FD: RawFd = 4;
/// The helper writes its run record into this directory.
pub const RECORDS_FD: RawFd = 5;
/// The helper joins a cgroup by writing here (its `cgroup.procs`), if [`Orders::join_cgroup`] says so.
pub const CGROUP_FD: RawFd = 6;

/// Most bytes of all orders together: the rest of the bounds, with room. More is refused.
pub const MAX_BYTES: usize = 1 << 20;
/// Most bytes of a run record's template: a cgroup path (4096) and a dozen short lines. More is refused.
pub const MAX_RECORD: usize = 8 * 1024;
/// Most supplementary groups: the kernel's NGROUPS_MAX. More is refused.
pub const MAX_GROUPS: usize = 65_536;
/// Most arguments: a command of 4096 bytes has at most half as many words. More is refused.
pub const MAX_ARGS: usize = 4096;
/// Most environment entries: 64 of the spec and ours. More is refused.
pub const MAX_ENV: usize = 128;
/// Most bytes of one argument, entry or path: the kernel's MAX_ARG_STRLEN less its NUL. More is refused.
pub const MAX_STRING: usize = 128 * 1024 - 1;

/// Everything the helper needs to become the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// Lines `key=value` that go into the run record verbatim, each with its `\n`.
    pub record: String,
    /// Join the cgroup behind [`CGROUP_FD`] before anything else: the kernel could not spawn into it.
    pub join_cgroup: bool,
    /// The user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask, 0 to 0o777.
    pub umask: u32,
    /// Soft and hard limit of open files; `None`: as inherited.
    pub nofile: Option<(u64, u64)>,
    /// Where the program begins, absolute.
    pub directory: CString,
    /// The program and its arguments; without a `/` it is looked for in the PATH of `env`.
    pub argv: Vec<CString>,
    /// Its whole environment, `KEY=VALUE`.
    pub env: Vec<CString>,
}

/// Why orders are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrdersError {
    rule: &'static str,
}

impl std::fmt::Display for OrdersError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "orders refused: {}", self.rule)
    }
}

impl std::error::Error for OrdersError {}

impl From<OrdersError> for std::io::Error {
    fn from(error: OrdersError) -> Self {
        Self::new(std::io::ErrorKind::InvalidInput, error)
    }
}

impl Orders {
    /// The orders as bytes.
    ///
    /// # Errors
    /// When a field is out of its bounds; nothing is cut.
    pub fn encode(&self) -> Result<Vec<u8>, OrdersError> {
        self.check()?;
        let bytes = wire::encode(self);
        require(bytes.len() <= MAX_BYTES, "at most 1 MiB in all")?;
        Ok(bytes)
    }

    /// The orders from bytes.
    ///
    /// # Errors
    /// For bytes that [`Self::encode`] could not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, OrdersError> {
        require(bytes.len() <= MAX_BYTES, "at most 1 MiB in all")?;
        let orders = wire::decode(bytes)?;
        orders.check()?;
        Ok(orders)
    }

    fn check(&self) -> Result<(), OrdersError> {
        let record = &self.record;
        let whole_lines = record.is_empty() || record.ends_with('\n');
        require(whole_lines, "record: whole lines only")?;
        require(record.len() <= MAX_RECORD, "record: at most 8192 bytes")?;
        require(self.uid != u32::MAX, "uid: 4294967295 is no user")?;
        require(self.gid != u32::MAX, "gid: 4294967295 is no group")?;
        let groups = self.groups.len() <= MAX_GROUPS && !self.groups.contains(&u32::MAX);
        require(groups, "groups: at most 65536, and 4294967295 is none")?;
        require(self.umask <= 0o777, "umask: 0 to 0o777")?;
        let limits = self.nofile.is_none_or(|(soft, hard)| soft <= hard);
        require(limits, "nofile: soft at most hard")?;
        let absolute = self.directory.as_bytes().starts_with(b"/");
        require(absolute, "directory: an absolute path")?;
        let args = (1..=MAX_ARGS).contains(&self.argv.len());
        require(args, "argv: 1 to 4096 arguments")?;
        require(self.env.len() <= MAX_ENV, "env: at most 128 entries")?;
        let pairs = self.env.iter().all(|entry| is_pair(entry.as_bytes()));
        require(pairs, "env: KEY=VALUE")?;
        let strings = self.argv.iter().chain(&self.env).chain([&self.directory]);
        let short = strings
            .into_iter()
            .all(|s| s.as_bytes().len() <= MAX_STRING);
        require(short, "argv, env, directory: at most 131071 bytes each")
    }
}

fn is_pair(entry: &[u8]) -> bool {
    entry
        .iter()
        .position(|b| *b == b'=')
        .is_some_and(|at| at > 0)
}

fn require(holds: bool, rule: &'static str) -> Result<(), OrdersError> {
    if holds {
        Ok(())
    } else {
        Err(OrdersError { rule })
    }
}

#[cfg(test)]
mod tests;
