//! The keeper's few words, for people, to standard error. Nothing depends on their arrival.

use std::io::Write;

/// One line. A reader that is gone or does not read is no reason to fail.
pub(crate) fn log(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "host-agent keeper: {text}");
}
