//! Floor 2: what should happen next on a host. Sans-IO: no clock, no file, no socket, no randomness of its own.
//!
//! # The contract
//!
//! The shell (host-agent's `supervisor`) owns one [`Engine`] and calls, in this order, whenever anything happens:
//!
//! 1. [`Engine::handle`] with what happened and the time it happened;
//! 2. [`Engine::poll_effect`] until it returns `None`, carrying each effect out in order;
//! 3. [`Engine::next_deadline`], and [`input::Input::DeadlineReached`] once that time has come.
//!
//! [`Engine::view`] and [`Engine::daemons`] may be read at any time. The first input is [`input::Input::Restore`].
//!
//! The shell promises: every `Spawn` is answered by `Spawned` or `SpawnFailed`; a spawned run by `Exited`, once; a tree
//! that was left by `TreeGone`; and after `KillTree` both come. Every `Check` is answered by `Checked`.
//!
//! # What always holds
//!
//! * Never two runs of a slot: a spawn follows only once nothing of the run before it is left.
//! * A generation is never used twice; what is told of any run but a slot's newest is dropped.
//! * Intent (goal, hold, desire) and fact (phase) are separate: intent changes at any time, fact only by events.
//! * Effects of one input come in this order: what must be durable, what acts on processes, what is announced (once per
//!   daemon), answers to commands. Persist, act, announce.
//! * Every command is answered exactly once, except those handed in after [`effect::Effect::Terminated`].
//! * The next deadline is later than the last input: there is no busy loop.
//! * Memory is bounded by the number of slots; what could pile up has a named bound where it is kept.
//!
//! # One instance
//!
//! ```text
//!            Start                  Spawned           start_seconds
//!  Stopped ─────────▶ Spawning ───────────▶ Starting ───────────────▶ Running
//!     ▲                │  ▲  ▲                 │                        │
//!     │                │  │  └───── Backoff ◀──┤ ended too early        │ ended unasked
//!     │           Stop │  └─ Pausing ◀─────────┼────────────────────────┤
//!     │                ▼         (recycle)     │                        │
//!     │             Aborting                   └──────── Stop ──────────┤
//!     │                │ Spawned                                        │
//!     │                ▼                                                │
//!     └── Clearing ◀─ Stopping ◀────────────────────────────────────────┘
//!  tree gone     main ended
//! ```
//!
//! Wherever a tree is left after an unasked end, *Leftover* comes in between until it is gone. *Exited* and *Fatal* are
//! what a policy makes of an end. After Aborting, Stopping and Clearing a new run follows if the instance is wanted to
//! run, which is how it is replaced. People see Spawning, Starting and Pausing as STARTING; Aborting, Stopping and
//! Clearing as STOPPING; Leftover as what follows it.
//!
//! # Replacing
//!
//! An instance is outdated if it was made of another spec, or for another generation of a restart that is not settled.
//! All at once, whatever is outdated is replaced. Rolling, what is outdated and down is replaced at once, and of the rest
//! the lowest, once everything that is up to date runs; at the first of those that fails, or is late, the rollout stops,
//! and that is remembered for the daemon's revision. Nothing else about a rollout is state.
//!
//! # The matrix
//!
//! An empty cell means that nothing changes; *noted* that only something about the run does. The process had been
//! RUNNING where the row says so and ends with exit code 1.
//!
#![doc = include_str!("matrix.md")]

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

#[cfg(test)]
mod tests;
