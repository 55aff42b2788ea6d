//! What is done with this repository: build, start, stop, test, measure, keep tidy. A library too, so that the tests
//! start the very programs that `up` starts.

pub mod bench;
pub mod build;
pub mod down;
pub mod runner;
pub mod soak;
pub mod test;
pub mod tidy;
pub mod up;

use std::io::Write as _;

/// This very program, even when the build that it ran has just replaced its file.
pub(crate) const THIS_PROGRAM: &str = "/proc/self/exe";

/// Prints a line for people or pipes. A reader that went away is nobody to tell.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a line to stderr.
pub fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
