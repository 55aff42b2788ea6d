//! Floor 2: what should happen next on a host. Sans-IO: no clock, no file, no socket, no randomness of its own.
pub mod effect;
pub mod input;
pub mod time;
pub mod view;

mod ctx;
mod engine;
mod group;
mod instance;
mod outbox;
mod phase;
mod plan;
mod policy;
mod ticket;
mod timer;

pub use engine::Engine;
