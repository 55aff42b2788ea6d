//! How data looks.

pub(crate) mod events;
pub(crate) mod json;
pub(crate) mod table;
