//! What stands before every handler.

pub mod authn;
