//! Standard input, line by line, and nothing read ahead of the line that is asked for: what follows may be for somebody
//! else, a program in the foreground for example.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Stdio;

use rustix::io::Errno;

/// Longest line; a longer one is an error, not memory.
const LINE_MAX: usize = 1024 * 1024;

/// Where lines come from.
#[derive(Debug)]
pub(crate) struct Lines(OwnedFd);

impl Lines {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The same for a program that reads it instead of us.
    pub(super) fn stdio(&self) -> io::Result<Stdio> {
        Ok(self.0.try_clone()?.into())
    }

    /// The next line without its end; `None` at the end of input.
    pub(super) fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            match rustix::io::read(&self.0, &mut byte) {
                Ok(0) if line.is_empty() => return Ok(None),
                Ok(0) => break,
                Ok(_) if byte == *b"\n" => break,
                Ok(_) if line.len() == LINE_MAX => {
                    let error = format!("a line is longer than {LINE_MAX} bytes");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                Ok(_) => line.extend(byte),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}

impl AsFd for Lines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_what_comes_after_them() {
        use std::io::Write;
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"one\r\n\n\xff\nlast").unwrap();
        let mut rest = OwnedFd::from(reader.try_clone().unwrap());
        let mut lines = Lines::new(reader.into());
        assert_eq!(lines.next().unwrap().as_deref(), Some("one"));
        assert_eq!(lines.next().unwrap().as_deref(), Some(""));
        assert_eq!(lines.next().unwrap().as_deref(), Some("\u{fffd}"));
        // Nothing was read ahead.
        let mut byte = [0];
        rustix::io::read(&mut rest, &mut byte).unwrap();
        assert_eq!(byte, *b"l");
        drop(writer);
        assert_eq!(lines.next().unwrap().as_deref(), Some("ast"));
        assert_eq!(lines.next().unwrap(), None);
    }
}
