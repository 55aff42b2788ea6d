//! The keeper with real processes: `examples/keeper_fixture.rs` is both programs.

mod ends;
mod harness;
mod house;
