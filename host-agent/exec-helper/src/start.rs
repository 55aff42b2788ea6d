//! The steps from root to the daemon, in the one order in which they are right.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, OwnedFd};

use host_agent_sys::fail_point::fail_point;
use host_agent_sys::identity::become_user;
use host_agent_sys::orders::{CGROUP_FD, ORDERS_FD, Orders, StartFailure, StartStep, read_sealed};
use host_agent_sys::process::{close_on_exec_from, inherited_fd};
use host_agent_sys::{schedule, signals};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, chdir, setrlimit, setsid, umask};
use rustix::stdio::dup2_stdin;

use crate::{failed, program, record};

/// Returns only if no program was started.
pub(crate) fn start(orders: OwnedFd, records: OwnedFd) -> StartFailure {
    match steps(orders, records) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn steps(orders: OwnedFd, records: OwnedFd) -> Result<std::convert::Infallible, StartFailure> {
    let at = |step| move |error: io::Error| failed(step, &error);

    let orders = read_sealed(orders).map_err(at(StartStep::Orders))?;
    if orders.join_cgroup {
        // Before the record: what is recorded can be killed by its cgroup.
        join_cgroup().map_err(at(StartStep::Cgroup))?;
    }
    // From here on whoever is killed, this process can be found again.
    fail_point(records.as_fd(), "exec-orders");
    record::write(records.as_fd(), &orders.record).map_err(at(StartStep::Record))?;
    fail_point(records.as_fd(), "exec-recorded");
    close_on_exec_from(ORDERS_FD).map_err(at(StartStep::Session))?;
    signals::reset().map_err(at(StartStep::Session))?;
    setsid().map_err(|error| failed(StartStep::Session, &error.into()))?;
    fail_point(records.as_fd(), "exec-session");
    ordinary_priority().map_err(at(StartStep::Priority))?;
    limit_files(&orders).map_err(at(StartStep::Nofile))?;
    umask(Mode::from_bits_truncate(orders.umask));
    no_input().map_err(at(StartStep::Stdin))?;
    become_user(orders.uid, orders.gid, &orders.groups).map_err(at(StartStep::User))?;
    // As the user, so that its own rights decide.
    chdir(&orders.directory).map_err(|error| failed(StartStep::Chdir, &error.into()))?;
    fail_point(records.as_fd(), "exec-program");
    let error = program::execute(&orders.argv, &orders.env);
    Err(failed(StartStep::Exec, &error))
}

/// Only where the kernel could not start this process in its cgroup.
fn join_cgroup() -> io::Result<()> {
    File::from(inherited_fd(CGROUP_FD)?).write_all(b"0")
}

/// The agent's own protection from the out-of-memory killer and its place in every queue are not for daemons.
fn ordinary_priority() -> io::Result<()> {
    let score = File::options().write(true).open("/proc/self/oom_score_adj");
    match score.and_then(|mut file| file.write_all(b"0")) {
        // Without privilege it can not be made stricter; the daemon then runs as its agent does.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        result => result?,
    }
    schedule::ordinary()
}

fn limit_files(orders: &Orders) -> io::Result<()> {
    let Some((soft, hard)) = orders.nofile else {
        return Ok(());
    };
    let limit = Rlimit {
        current: Some(soft),
        maximum: Some(hard),
    };
    Ok(setrlimit(Resource::Nofile, limit)?)
}

fn no_input() -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
    Ok(dup2_stdin(null)?)
}
