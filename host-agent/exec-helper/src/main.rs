//! `zhylon-exec`: the tiny program that becomes the daemon.
//!
//! Started as root by the worker with a constant argument, an empty environment and its orders in a sealed memfd, it
//! records itself, lays down everything of the agent's, becomes the user, and executes the daemon's program. It must
//! never act on a tenant's words while it is root: it only carries them.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

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

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let name = HELPER_NAME.to_bytes();
    match args.as_slice() {
        [only] if only.as_encoded_bytes() == name => {}
        [_, flag] if flag == "--version" => return version(),
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
fn report(status: OwnedFd, failure: StartFailure) -> ExitCode {
    let _ = rustix::io::write(status, &failure.encode());
    ExitCode::from(NOT_STARTED)
}

fn version() -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    let line = writeln!(
        io::stdout().lock(),
        "zhylon-exec {version} orders {VERSION}"
    );
    match line {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn usage() -> ExitCode {
    let text = "zhylon-exec is started by host-agent; by hand it only knows --version";
    let _ = writeln!(io::stderr().lock(), "{text}");
    ExitCode::from(USAGE)
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
