//! The link against a real TLS server on loopback, and the fakes all of its tests share.

mod connection;
mod enrolment;
pub(super) mod fakes;
mod server;
