//! The control plane: checks team permissions, persists daemon specs, steers the agents.

mod access;
mod bus;
mod clock;
mod domain;
mod grpc;
mod store;

fn main() {}
