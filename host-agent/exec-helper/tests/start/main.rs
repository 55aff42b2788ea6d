//! The helper as the worker starts it: real processes, and real users where this runs as root.

mod errors;
mod harness;
mod program;
mod user;
