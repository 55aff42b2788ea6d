//! One start, step by step. Whatever fails, nothing of it is left.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::{Duration, Instant};

use host_agent_engine::input::{Run, StartError};
use host_agent_keeper::WorkerEnd;
use host_agent_sys::fail_point::fail_point;
use host_agent_sys::orders::{
    CGROUP_FD, HELPER_NAME, ORDERS_FD, Orders, RECORDS_FD, STATUS_FD, to_sealed_memfd,
};
use host_agent_sys::spawn::{Seats, Spawn, spawn, spawn_with};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::cgroup::{Leaf, Way};
use super::fifo::Fifo;
use super::program::{allowed_user, directory, other};
use super::record::RunFacts;
use super::tree::Tree;
use super::users::Account;
use super::{Attempt, Born, Ground, StartOrder, environment, key, limits};

const UMASK: u32 = 0o022;
/// Longest wait for a keeper that does not read (it is stopped, or the machine is drowning). Then the start fails and is
/// tried again: a daemon nobody else holds the FIFO of would lose its words with the worker.
const KEEPER_PATIENCE: Duration = Duration::from_secs(2);

/// Makes a process of a spec.
///
/// # Errors
/// What was tried and the system's error, for people.
pub(super) fn start(
    ground: &Ground,
    seats: Option<&mut Seats>,
    order: &StartOrder,
) -> Result<Born, StartError> {
    let reached = |step| fail_point(ground.records.dir(), step);
    reached("start-begun");
    let policy = ground.policy();
    let account = allowed_user(&ground.users, &policy, &order.spec)?;
    reached("start-user");
    limits::check(ground.cgroups.as_ref(), order.spec.limits()).map_err(other)?;
    let most = policy.max_processes;
    let fifo = ground
        .fifos
        .make(&order.run, &account.owner, most)
        .map_err(|error| other(format!("log pipe: {error}")))?;
    let fifo = fifo.ok_or_else(|| {
        other(format!(
            "this host's policy lets at most {most} processes of daemons run at a time; a person with root may raise \
             `max_processes` under [policy] in the agent's configuration and run `host-agent reload`"
        ))
    })?;
    let name = fifo.name.clone();
    reached("start-fifo");
    start_with(ground, seats, order, &account, fifo).inspect_err(|_| {
        ground.fifos.remove(&name);
        // If the keeper does not hear it, it holds an empty pipe until it does not matter.
        let _ = ground.keeper.send_drop(&key(&order.run));
    })
}

fn start_with(
    ground: &Ground,
    seats: Option<&mut Seats>,
    order: &StartOrder,
    account: &Account,
    fifo: Fifo,
) -> Result<Born, StartError> {
    hold(&ground.keeper, &order.run, fifo.reader.as_fd())
        .map_err(|error| other(format!("log pipe: the keeper does not take it: {error}")))?;
    fail_point(ground.records.dir(), "start-held");
    let place = match &ground.cgroups {
        Some(cgroups) => Some(
            cgroups
                .make_leaf(&order.run, order.spec.limits())
                .map_err(|error| other(format!("cgroup: {error}")))?,
        ),
        None => None,
    };
    let leaf = place.as_ref().map(|(leaf, _)| leaf);
    fail_point(ground.records.dir(), "start-leaf");
    let orders = orders(ground, order, account, &fifo, leaf).map_err(other);
    orders
        .and_then(|mut orders| {
            orders.join_cgroup = matches!(place, Some((_, Way::Joins(_))));
            launch(ground, seats, order, account, fifo, place.as_ref(), &orders)
                .map_err(|error| other(format!("start zhylon-exec: {error}")))
        })
        .inspect_err(|_| {
            if let Some(leaf) = leaf {
                leaf.remove();
            }
        })
}

fn orders(
    ground: &Ground,
    order: &StartOrder,
    account: &Account,
    fifo: &Fifo,
    leaf: Option<&Leaf>,
) -> Result<Orders, String> {
    let (spec, owner) = (&order.spec, &account.owner);
    let facts = RunFacts {
        run: order.run,
        boot_id: ground.boot_id.clone(),
        spec_hash: spec.instance_hash(),
        restart_generation: order.restart_generation,
        stop_signal: spec.stop_signal(),
        stop_seconds: spec.stop_seconds(),
        uid: owner.uid,
        cgroup: leaf.map(|leaf| leaf.path().to_owned()),
        fifo: fifo.name.clone(),
    };
    let nul = |what: &str| format!("{what} contains a NUL byte");
    let directory = directory(spec, owner).as_os_str().as_bytes();
    let argv = spec.argv().iter().map(|word| CString::new(word.as_str()));
    Ok(Orders {
        record: facts.template(),
        join_cgroup: false,
        uid: owner.uid,
        gid: owner.gid,
        groups: owner.groups.clone(),
        umask: UMASK,
        nofile: match spec.limits().nofile() {
            Some(most) => Some((most.into(), most.into())),
            None => ground.nofile,
        },
        directory: CString::new(directory).map_err(|_| nul("directory"))?,
        argv: argv.collect::<Result<_, _>>().map_err(|_| nul("command"))?,
        env: environment::of(spec, &order.run.slot, account)?,
    })
}

fn launch(
    ground: &Ground,
    seats: Option<&mut Seats>,
    order: &StartOrder,
    account: &Account,
    fifo: Fifo,
    place: Option<&(Leaf, Way)>,
    orders: &Orders,
) -> io::Result<Born> {
    let memfd = to_sealed_memfd(orders)?;
    fail_point(ground.records.dir(), "start-orders");
    let (status, told) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&status, OFlags::NONBLOCK)?;
    let [out, err] = fifo.writers;
    fail_point(ground.records.dir(), "start-pipe");
    let mut fds = vec![
        (out.as_fd(), 1),
        (err.as_fd(), 2),
        (memfd.as_fd(), ORDERS_FD),
        (told.as_fd(), STATUS_FD),
        (ground.records.dir(), RECORDS_FD),
    ];
    let mut cgroup = None;
    match place.map(|(_, way)| way) {
        Some(Way::Born(dir)) => cgroup = Some(dir.as_fd()),
        Some(Way::Joins(procs)) => fds.push((procs.as_fd(), CGROUP_FD)),
        None => {}
    }
    let program = Spawn {
        exe: ground.helper.as_fd(),
        argv0: HELPER_NAME,
        cgroup,
        fds: &fds,
    };
    let child = match seats {
        Some(seats) => spawn_with(seats, &program)?,
        None => spawn(&program)?,
    };
    fail_point(ground.records.dir(), "start-cloned");
    let tree = match place {
        Some((leaf, _)) => Tree::Leaf(leaf.clone()),
        None => {
            let start_time = host_agent_sys::process::start_time(child.pid).ok();
            Tree::marked(child.pid, start_time, &order.run.slot, &fifo.name)
        }
    };
    Ok(Born {
        pid: child.pid,
        pidfd: child.pidfd,
        status,
        fifo: fifo.reader,
        fifo_name: fifo.name,
        tree,
        owner: account.owner.clone(),
        attempt: Attempt {
            program: order.spec.argv()[0].clone(),
            directory: directory(&order.spec, &account.owner).to_owned(),
        },
    })
}

/// Gives the read end to the keeper before there is anybody who could write.
///
/// # Errors
/// What the system said, or that the keeper did not read for [`KEEPER_PATIENCE`].
pub(crate) fn hold(keeper: &WorkerEnd, run: &Run, fifo: BorrowedFd<'_>) -> io::Result<()> {
    let deadline = Instant::now() + KEEPER_PATIENCE;
    loop {
        match keeper.send_hold(&key(run), fifo) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        poll(&mut [PollFd::new(keeper, PollFlags::OUT)], Some(&timeout))?;
    }
}
