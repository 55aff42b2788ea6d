//! What stands before every handler.

pub(crate) mod authn;
