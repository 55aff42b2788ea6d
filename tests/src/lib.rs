//! The roof: a whole system as a person gets it from `cargo xtask up`, and the words tests tell their stories with.
//! Public behaviour only; nothing here imports the api-server or the agent.

pub mod daemons;
pub mod forge;
pub mod machine;
pub mod namespace;
pub mod php;
pub mod promises;
pub mod random;
pub mod streams;
pub mod world;

use std::io::Write as _;
use std::time::{Duration, Instant};

pub use world::World;

/// The longest wait for anything that should take seconds at most, on a slow machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `look` gives something; panics with `what` when it does not within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same for something that must be asked asynchronously.
pub async fn eventually_async<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A port of loopback that is free, below those that the kernel gives to whoever asks for any: no other program's
/// connection takes it before the daemon that is told to listen there does.
///
/// # Panics
/// When none is.
#[must_use]
pub fn free_port() -> u16 {
    let mut random = random::Random::seeded();
    (0..1000)
        .map(|_| 10_240 + random.below(20_000) as u16)
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// Whether a test that needs root can run; if not, says so past the test runner's capture.
#[must_use]
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "needs root");
    }
    root
}

/// Says that a test is skipped, and why, past the test runner's capture.
pub fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stdout().lock(), "\nSKIPPED {test}: {why}");
}
