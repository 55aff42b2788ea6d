//! `zhylon-exec`: the tiny program that becomes the daemon.
//!
//! Started as root by the worker with a constant argument, an empty environment and its orders in a sealed memfd, it
//! records itself, lays down everything of the agent's, becomes the user, and executes the daemon's program. It must
//! never act on a tenant's words while it is root: it only carries them.

#![no_main]

use std::ffi::CStr;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use host_agent_sys::orders::{
    HELPER_NAME, ORDERS_FD, RECORDS_FD, STATUS_FD, StartFailure, StartStep, VERSION,
};
use host_agent_sys::process::inherited_fd;

mod program;
mod record;
mod start;

/// Exit code when the daemon's program could not be started; what a shell says too.
const NOT_STARTED: u8 = 127;
/// Exit code when this program was not started by the agent.
const USAGE: u8 = 2;

host_agent_sys::begin_with!(run);

fn run(words: &[&CStr]) -> u8 {
    match words {
        [only] if *only == HELPER_NAME => {}
        [_, flag] if *flag == c"--version" => return version(),
        _ => return usage(),
    }
    let (Ok(orders), Ok(status), Ok(records)) = (
        inherited_fd(ORDERS_FD),
        inherited_fd(STATUS_FD),
        inherited_fd(RECORDS_FD),
    ) else {
        return usage();
    };
    let failure = start::start(orders, records);
    report(status, failure)
}

/// Says why no program runs. If nobody listens any more, the exit code has to do.
fn report(status: OwnedFd, failure: StartFailure) -> u8 {
    let _ = rustix::io::write(status, &failure.encode());
    NOT_STARTED
}

fn version() -> u8 {
    let version = env!("CARGO_PKG_VERSION");
    let line = writeln!(
        io::stdout().lock(),
        "zhylon-exec {version} orders {VERSION}"
    );
    u8::from(line.is_err())
}

fn usage() -> u8 {
    let text = "zhylon-exec is started by host-agent; by hand it only knows --version";
    let _ = writeln!(io::stderr().lock(), "{text}");
    USAGE
}

/// A step and the system's answer to it.
fn failed(step: StartStep, error: &io::Error) -> StartFailure {
    // Errors made by this program itself, not by the system, are about malformed orders.
    let invalid = rustix::io::Errno::INVAL.raw_os_error();
    StartFailure {
        step,
        errno: error.raw_os_error().unwrap_or(invalid),
    }
}
