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

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
