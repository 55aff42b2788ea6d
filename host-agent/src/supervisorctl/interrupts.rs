//! Ctrl-C, as something to wait for while a log is followed. At any other time it ends the program, as it would without us.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Whether somebody waits for Ctrl-C, and how it is told.
#[derive(Debug)]
pub(super) struct Interrupts {
    pressed: UnixStream,
    waited_for: Arc<AtomicBool>,
}

impl Interrupts {
    /// Listens from here on. While nobody waits for it, Ctrl-C ends the program with `status`.
    pub(super) fn listen(status: i32) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let (interrupts, mut told) = Self::pair()?;
        let waited_for = Arc::clone(&interrupts.waited_for);
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        thread::spawn(move || {
            runtime.block_on(async {
                let kind = tokio::signal::unix::SignalKind::interrupt();
                let listening = tokio::signal::unix::signal(kind);
                let mut signal = match listening {
                    Ok(signal) => signal,
                    Err(error) => return drop(ready.send(Err(error))),
                };
                if ready.send(Ok(())).is_err() {
                    return;
                }
                while signal.recv().await.is_some() {
                    if !waited_for.load(Ordering::SeqCst) {
                        end(status);
                    }
                    let _ = told.write(b"!");
                }
            });
        });
        match is_ready.recv() {
            Ok(Ok(())) => Ok(interrupts),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// One that is told by the other end.
    pub(super) fn pair() -> io::Result<(Self, UnixStream)> {
        let (pressed, told) = UnixStream::pair()?;
        pressed.set_nonblocking(true)?;
        told.set_nonblocking(true)?;
        let waited_for = Arc::default();
        Ok((
            Self {
                pressed,
                waited_for,
            },
            told,
        ))
    }

    /// Waits for it until [`Interrupts::forget`].
    pub(super) fn expect(&self) {
        self.waited_for.store(true, Ordering::SeqCst);
    }

    /// Back to ending the program. What was pressed meanwhile was meant for what is over now.
    pub(super) fn forget(&mut self) {
        self.waited_for.store(false, Ordering::SeqCst);
        let _ = self.pressed.read(&mut [0; 64]);
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pressed.as_fd()
    }
}

#[expect(
    clippy::exit,
    reason = "the thread that would return is in the middle of a call"
)]
fn end(status: i32) {
    // Not by `stdout()`: the other thread holds its lock.
    let _ = rustix::io::write(rustix::stdio::stdout(), b"\n");
    std::process::exit(status);
}
