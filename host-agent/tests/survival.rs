//! The worker core with real processes: keeping alive, stopping, and what a kill of worker, keeper or both must not do.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the tests' own helpers: what is missing fails the test, and says so"
)]

#[path = "survival/agent.rs"]
mod agent;
#[path = "survival/door.rs"]
mod door;
#[path = "survival/kills.rs"]
mod kills;
#[path = "survival/life.rs"]
mod life;
#[path = "survival/limits.rs"]
mod limits;
#[path = "survival/neighbours.rs"]
mod neighbours;
#[path = "survival/past.rs"]
mod past;
#[path = "survival/trees.rs"]
mod trees;
#[path = "survival/unprivileged.rs"]
mod unprivileged;
#[path = "survival/upgrade.rs"]
mod upgrade;
