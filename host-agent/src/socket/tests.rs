//! The server over a real socket, in front of scripted daemons.

pub(crate) mod clients;
pub(crate) mod fake;

mod debian;
mod golden;
mod http;
mod methods;
mod python;
