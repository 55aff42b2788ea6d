//! `cargo xtask tidy`: house rules that a compiler does not check. Each is one function that returns what breaks it.

mod dependencies;
mod sources;

use anyhow::{Result, bail};

use crate::{say, say_error};

/// One broken rule: where, and what to do.
pub(crate) type Breach = String;

/// Runs all checks.
///
/// # Errors
/// When a rule is broken; all of them are printed.
pub fn run() -> Result<()> {
    let mut breaches = dependencies::check()?;
    breaches.extend(sources::check()?);
    for breach in &breaches {
        say_error(breach);
    }
    if !breaches.is_empty() {
        bail!("{} house rules are broken", breaches.len());
    }
    say("tidy: floors, dependencies, licences, sources, lints and files are in order");
    Ok(())
}
