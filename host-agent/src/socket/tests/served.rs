//! A server in front of scripted daemons, in a thread of its own.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use super::fake::{Fake, own_uid};
use crate::config::Operators;
use crate::socket::Judge;
use crate::spawn::users::Users;

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
        Self::with_operators(Operators::default())
    }

    pub(crate) fn with_operators(operators: Operators) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("supervisor.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (fake, cancel) = (Fake::new(), CancellationToken::new());
        let (door, cancelled) = (fake.clone(), cancel.clone());
        let judge = Judge {
            users: Arc::new(Users::asking_here()),
            operators: Arc::new(operators),
            privileged: own_uid() == 0,
        };
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let served = crate::socket::serve_door(listener, judge, door, cancelled);
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
