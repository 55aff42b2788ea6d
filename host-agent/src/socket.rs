//! Floor 4: the local socket. Speaks Supervisor's XML-RPC and its `/logtail`, so that its clients move our daemons. Who
//! may see and move what is decided here, by the peer's uid; what then happens is the supervisor's work. Never writes a
//! file and never talks to `link`.

pub(crate) mod fault;

mod admission;
mod alias;
mod catalogue;
mod codec;
mod command;
mod config_info;
mod door;
mod follow;
mod http;
mod info;
mod localtime;
mod methods;
mod multicall;
mod params;
mod peer;
mod read;
mod reading;
mod results;
mod session;
mod signal;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::net::SendFlags;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::admission::Admission;
pub(crate) use self::alias::Alias;
use self::door::{Door, Rooms};
use self::localtime::Zone;
use self::peer::Caller;
pub(crate) use self::peer::Judge;
pub(crate) use self::reading::READS_MAX;
use self::session::Session;
use crate::logs::Logs;
use crate::supervisor::SupervisorHandle;

/// Connections of one uid other than root; the next is answered 503 and closed. A client needs two.
const CONNECTIONS_PER_UID: usize = 8;

/// Connections of all uids other than root together: 16 of them at their limit.
const CONNECTIONS_OF_OTHERS: usize = 128;

/// Connections on top of that which only root can have, so that it is never kept out.
const CONNECTIONS_KEPT_FOR_ROOT: usize = 8;

/// Commands in flight: those somebody waits for are bounded by the connections, but one that is not waited for, or
/// whose peer hung up, goes on without. The next is refused with a text.
const COMMANDS_PER_UID: usize = 16;

/// See [`COMMANDS_PER_UID`]; all uids other than root together.
const COMMANDS_OF_OTHERS: usize = 256;

/// See [`COMMANDS_PER_UID`]; on top of that for root.
const COMMANDS_KEPT_FOR_ROOT: usize = 64;

/// Rest after a failed accept: descriptors may have run out, and trying again at once would burn a core.
const REST: Duration = Duration::from_millis(100);

/// What a connection too many is told before it is closed.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
Content-Length: 68\r\nConnection: close\r\n\r\n\
this user has too many connections to the agent open; end some first";

/// Serves the socket until cancelled. Runs inside a `LocalSet` of a current-thread runtime.
///
/// # Errors
/// When the listener can not be used at all.
pub(crate) async fn serve(
    listener: std::os::unix::net::UnixListener,
    judge: Judge,
    handle: SupervisorHandle,
    logs: Logs,
    cancel: CancellationToken,
) -> io::Result<()> {
    let door = Rooms {
        supervisor: handle,
        logs,
    };
    serve_door(listener, judge, door, cancel).await
}

async fn serve_door<D: Door>(
    listener: std::os::unix::net::UnixListener,
    judge: Judge,
    door: D,
    cancel: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let zone = Rc::new(Zone::of_host());
    let connections = Admission::new(
        CONNECTIONS_PER_UID,
        CONNECTIONS_OF_OTHERS,
        CONNECTIONS_KEPT_FOR_ROOT,
    );
    let commands = Admission::new(COMMANDS_PER_UID, COMMANDS_OF_OTHERS, COMMANDS_KEPT_FOR_ROOT);
    // Dropped with this future: cancelling ends every connection. Commands that were sent go on.
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the local socket could not accept a connection");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let caller = match Caller::of(&stream, judge.privileged) {
            Ok(caller) => caller,
            Err(error) => {
                tracing::debug!(%error, "who connected to the local socket is not known; it was closed");
                continue;
            }
        };
        let Some(place) = connections.admit(caller.uid()) else {
            // Not a warning: a peer that tries again and again must not fill the log.
            tracing::debug!(
                uid = caller.uid(),
                "too many connections to the local socket; one was closed"
            );
            // As much as fits at once: nobody waits here for a peer that does not read.
            let _ = rustix::net::send(&stream, FULL, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            continue;
        };
        let (judge, door) = (judge.clone(), door.clone());
        let (zone, commands) = (Rc::clone(&zone), Rc::clone(&commands));
        open.spawn_local(async move {
            let session = Session {
                door,
                peer: Rc::new(judge.judge(caller).await),
                zone,
                commands,
            };
            http::serve(stream, session).await;
            drop(place);
        });
    }
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(any(test, fuzzing))]
pub(crate) mod scripted;
#[cfg(test)]
pub(crate) mod tests;
