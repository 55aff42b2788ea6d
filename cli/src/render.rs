//! How data looks.

pub(crate) mod json;
pub(crate) mod table;
