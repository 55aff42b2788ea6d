//! The few kernel calls that need unsafe code, each behind a safe function.
//!
//! Owns every `unsafe` block of the workspace. What rustix offers safely is not wrapped again; nothing here keeps
//! state, starts threads, writes logs or decides anything.
#![expect(
    unsafe_code,
    reason = "this crate is where the workspace keeps its unsafe code"
)]

pub mod entry;
pub mod exec;
pub mod fail_point;
pub mod identity;
pub mod kernel;
#[cfg(test)]
mod older_kernel;
pub mod orders;
pub mod peer;
pub mod process;
#[cfg(feature = "tokio")]
pub mod readiness;
pub mod schedule;
pub mod signals;
pub mod spawn;
pub mod usage;
