//! A server in front of scripted daemons, in a thread of its own.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use super::fake::Fake;

/// A server over a [`Fake`]; ends when dropped.
pub(crate) struct Served {
    pub(crate) fake: Fake,
    pub(crate) socket: PathBuf,
    pub(crate) dir: tempfile::TempDir,
    cancel: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("supervisor.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (fake, cancel) = (Fake::new(), CancellationToken::new());
        let (door, cancelled) = (fake.clone(), cancel.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let served = crate::socket::serve_door(listener, door, cancelled);
            tokio::task::LocalSet::new()
                .block_on(&runtime, served)
                .unwrap();
        });
        Self {
            fake,
            socket,
            dir,
            cancel,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.cancel.cancel();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}
