//! The helper as the worker starts it: real processes, and real users where this runs as root.

#[cfg(test)]
mod errors;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod nothing_inherited;
#[cfg(test)]
mod program;
#[cfg(test)]
mod user;
