//! The one owner of stdout and stderr.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::exit::Failure;

/// Prints data. A reader that went away (`| head`) is no error.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())?;
    if text.ends_with('\n') {
        Ok(())
    } else {
        bytes(b"\n")
    }
}

/// Prints log bytes: as they are to a pipe or file; to a terminal with control characters made visible, because what a
/// daemon writes must not steer the reader's terminal.
pub(crate) fn log_bytes(raw: &[u8]) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        bytes(&visible(raw))
    } else {
        bytes(raw)
    }
}

/// Says something to the person, not to the program that reads stdout. What servers and hosts say may quote a daemon.
pub(crate) fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = match err.is_terminal() {
        true => err.write_all(&visible(text.as_bytes())),
        false => err.write_all(text.as_bytes()),
    };
    let _ = err.write_all(b"\n");
}

/// Says why the command failed; gives its exit code.
pub(crate) fn fail(failure: &Failure) -> ExitCode {
    let mut text = format!("error: {}", failure.message);
    for detail in &failure.details {
        text.push_str("\n  ");
        text.push_str(detail);
    }
    if let Some(hint) = &failure.hint {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    note(&text);
    ExitCode::from(failure.code)
}

fn bytes(raw: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(raw).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
        other => Ok(other?),
    }
}

/// Control characters as `\x1b`; line ends and tabs stay; C1 controls and what is not UTF-8 too.
fn visible(raw: &[u8]) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => out.push(c),
                c if c.is_control() => {
                    let _ = write!(out, "\\x{:02x}", u32::from(c));
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn no_escape_reaches_a_terminal() {
        let raw = b"a\x1b[2J\tb\r\n\x9b\xc2\x9bz\xff";
        let shown = String::from_utf8(visible(raw)).unwrap();
        assert_eq!(shown, "a\\x1b[2J\tb\\x0d\n\\x9b\\x9bz\\xff");
        for byte in 0..=255u8 {
            let shown = visible(&[byte]);
            assert!(
                shown
                    .iter()
                    .all(|b| *b == b'\n' || *b == b'\t' || (*b >= 0x20 && *b != 0x7f))
            );
        }
    }
}
