//! Floor 2: what should happen next on a host. Sans-IO: no clock, no file, no socket, no randomness of its own.
//!
//! The shell (host-agent's `supervisor`) owns one [`Engine`] and calls, in this order, whenever anything happens:
//!
//! 1. [`Engine::handle`] with what happened and the time it happened;
//! 2. [`Engine::poll_effect`] until it returns `None`, carrying each effect out in order;
//! 3. [`Engine::next_deadline`], and [`Input::DeadlineReached`] once that time has come.
pub mod effect;
pub mod input;
pub mod time;
pub mod view;
