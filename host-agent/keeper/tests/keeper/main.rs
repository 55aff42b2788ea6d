//! The keeper with real processes: `examples/keeper_fixture.rs` is both programs.

#[cfg(test)]
mod ends;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod house;
#[cfg(test)]
mod upgrade;
