//! Reading logs where a home that hangs hangs alone: never on the main thread, which keeps processes alive.

use std::io;

use tokio::sync::Semaphore;

use super::door::Log;

/// Threads that read logs for local peers at once. More wait for their turn. A uid has eight connections at most, so one
/// user whose home hangs leaves most of them to others.
pub(crate) const READS_MAX: usize = 32;

static READS: Semaphore = Semaphore::const_new(READS_MAX);

/// Does `work` with the log on a thread of its own; gives both back.
///
/// # Errors
/// What `work` said; that the agent is ending. Then the log is gone, too.
pub(super) async fn off_thread<L: Log, T: Send + 'static>(
    log: L,
    work: impl FnOnce(&L) -> io::Result<T> + Send + 'static,
) -> io::Result<(L, T)> {
    let permit = READS.acquire().await.map_err(io::Error::other)?;
    let done = tokio::task::spawn_blocking(move || work(&log).map(|done| (log, done))).await;
    drop(permit);
    done.map_err(io::Error::other)?
}
