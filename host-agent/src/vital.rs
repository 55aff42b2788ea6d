//! Threads the worker can not do without. If one panics, the whole worker ends: the keeper starts a whole one within
//! milliseconds, and no daemon notices. Half a worker would be worse than none.

use std::io;

/// Starts such a thread. It may end; it may not panic.
///
/// # Errors
/// When there can be no more threads.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let guarded = move || {
        let _guard = AbortOnPanic;
        work();
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .map(drop)
}

/// As [`spawn`], for work that nobody waits for: it does not interrupt a start when there is something to do.
///
/// # Errors
/// As [`spawn`].
pub(crate) fn spawn_in_background(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    spawn(name, move || {
        if let Err(error) = host_agent_sys::schedule::in_background() {
            tracing::debug!(%error, "a thread keeps its ordinary priority");
        }
        work();
    })
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
