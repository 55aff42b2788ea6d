//! Moving bytes out of FIFOs without taking them into our hands: `tee` looks, `splice` moves and consumes in one step, so that
//! a kill finds every byte either still in the FIFO or already in the file.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread, read};
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice, tee,
};

/// Size asked of every pipe: what the kernel gives without privilege. One that is smaller works too, with shorter turns.
pub(super) const PIPE_SIZE: usize = 1024 * 1024;
/// Bytes read at once to find a line end. Most lines are shorter; a longer one costs a second look.
const WINDOW: usize = 64 * 1024;

/// What is in a FIFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Bytes that can be moved now.
    pub(super) len: usize,
    /// How many of them end with the last line end.
    pub(super) lines: usize,
    /// Whether its writer has to wait, or soon will: ¾ of its bytes, or all of its pages (which small writes fill half) are
    /// used.
    pub(super) full: bool,
}

/// One thread's tools.
#[derive(Debug)]
pub(super) struct Pipes {
    /// Gets copies of the FIFO's pages. Always empty between calls.
    scratch_read: OwnedFd,
    scratch_write: OwnedFd,
    scratch_size: usize,
    /// Swallows bytes without reading them.
    null: File,
    window: Vec<u8>,
}

impl Pipes {
    pub(super) fn new() -> io::Result<Self> {
        let (scratch_read, scratch_write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused where the user's pipe pages are used up; then turns are shorter.
        let _ = fcntl_setpipe_size(&scratch_write, PIPE_SIZE);
        Ok(Self {
            scratch_size: fcntl_getpipe_size(&scratch_write)?,
            scratch_read,
            scratch_write,
            null: File::options().write(true).open("/dev/null")?,
            window: vec![0; WINDOW],
        })
    }

    /// Looks into a FIFO without taking anything.
    pub(super) fn look(&mut self, fifo: &OwnedFd) -> io::Result<Look> {
        let look = self.look_at_copy(fifo);
        if look.is_err() {
            discard(&self.scratch_read, &self.null, usize::MAX)?;
        }
        look
    }

    fn look_at_copy(&mut self, fifo: &OwnedFd) -> io::Result<Look> {
        let len = self.copy(fifo)?;
        if len == 0 {
            return Ok(Look::default());
        }
        let size = fcntl_getpipe_size(fifo)?.min(self.scratch_size);
        // The copy has exactly the FIFO's pages: if it has no room for another, nor has the FIFO.
        let full = 4 * len >= 3 * size || !self.has_room()?;
        let before = len.saturating_sub(WINDOW);
        discard(&self.scratch_read, &self.null, before)?;
        let mut lines = self.last_line_end(before, len)?;
        if lines == 0 && before > 0 {
            let again = self.copy(fifo)?;
            lines = self.last_line_end(0, before.min(again))?;
            discard(&self.scratch_read, &self.null, again - before.min(again))?;
        }
        Ok(Look { len, lines, full })
    }

    /// Throws away the next `len` bytes of a FIFO; says how many there were.
    pub(super) fn discard(&self, fifo: &OwnedFd, len: usize) -> io::Result<usize> {
        discard(fifo, &self.null, len)
    }

    fn copy(&self, fifo: &OwnedFd) -> io::Result<usize> {
        match tee(fifo, &self.scratch_write, PIPE_SIZE, SpliceFlags::NONBLOCK) {
            Ok(len) => Ok(len),
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn has_room(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.scratch_write, PollFlags::OUT)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        Ok(poll(&mut fds, Some(&now))? > 0)
    }

    /// Takes bytes `from` … `to` of the copy; says where the last line among them ends, 0 if none does.
    fn last_line_end(&mut self, from: usize, to: usize) -> io::Result<usize> {
        let (mut at, mut end) = (from, 0);
        while at < to {
            let wanted = (to - at).min(WINDOW);
            let got = read(&self.scratch_read, &mut self.window[..wanted])?;
            if got == 0 {
                break;
            }
            end = last_newline(&self.window[..got]).map_or(end, |newline| at + newline + 1);
            at += got;
        }
        Ok(end)
    }
}

/// Bytes that wait in a FIFO.
pub(super) fn waiting(fifo: &OwnedFd) -> u64 {
    ioctl_fionread(fifo).unwrap_or(0)
}

/// Moves up to `len` bytes to the file at `offset`: how many moved, and what stopped it.
pub(super) fn move_to_file(
    fifo: &OwnedFd,
    file: &File,
    mut offset: u64,
    len: usize,
) -> (usize, io::Result<()>) {
    let mut moved = 0;
    while moved < len {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match splice(fifo, None, file, Some(&mut offset), len - moved, flags) {
            // Less than we saw: somebody of that user reads the FIFO too, and harms only itself.
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(more) => moved += more,
            Err(Errno::INTR) => {}
            Err(error) => return (moved, Err(error.into())),
        }
    }
    (moved, Ok(()))
}

/// Where the last line end is.
pub(super) fn last_newline(bytes: &[u8]) -> Option<usize> {
    // Whole blocks first: `contains` on bytes looks at many at once.
    const BLOCK: usize = 256;
    let mut end = bytes.len();
    for block in bytes.rchunks(BLOCK) {
        if block.contains(&b'\n') {
            let at = block.iter().rposition(|byte| *byte == b'\n')?;
            return Some(end - block.len() + at);
        }
        end -= block.len();
    }
    None
}

fn discard(pipe: impl AsFd, null: &File, len: usize) -> io::Result<usize> {
    let mut gone = 0;
    while gone < len {
        match splice(
            &pipe,
            None,
            null,
            None,
            (len - gone).min(PIPE_SIZE),
            SpliceFlags::NONBLOCK,
        ) {
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(more) => gone += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        fcntl_setpipe_size(&write, PIPE_SIZE).unwrap();
        (read, write)
    }

    fn put(write: &OwnedFd, bytes: &[u8]) {
        assert_eq!(rustix::io::write(write, bytes).unwrap(), bytes.len());
    }

    #[test]
    fn looking_takes_nothing_and_finds_the_last_line_end() {
        let mut pipes = Pipes::new().unwrap();
        for (before, after) in [
            (0, 0),
            (0, 5),
            (9, 0),
            (200_000, 1),
            (1, 200_000),
            (80_000, 65_536),
        ] {
            let (read, write) = pipe();
            assert_eq!(pipes.look(&read).unwrap(), Look::default());
            put(&write, &vec![b'a'; before]);
            put(&write, b"\n");
            put(&write, &vec![b'b'; after]);
            for _ in 0..2 {
                let look = pipes.look(&read).unwrap();
                assert_eq!((look.len, look.lines), (before + 1 + after, before + 1));
            }
            assert_eq!(pipes.discard(&read, before + 1).unwrap(), before + 1);
            assert_eq!(pipes.look(&read).unwrap().lines, 0);
        }
    }

    #[test]
    fn full_is_said_before_a_writer_must_wait() {
        for chunk in [1, 100, 1366, 2049, 3000, 4096, 4097, 65_536] {
            let mut pipes = Pipes::new().unwrap();
            let (read, write) = pipe();
            let bytes = vec![b'x'; chunk];
            put(&write, &bytes);
            assert!(!pipes.look(&read).unwrap().full);
            while rustix::io::write(&write, &bytes).is_ok_and(|written| written == chunk) {}
            assert!(pipes.look(&read).unwrap().full, "{chunk}");
        }
    }

    #[test]
    fn last_newline_is_the_last() {
        assert_eq!(last_newline(b""), None);
        assert_eq!(last_newline(b"abc"), None);
        let mut bytes = vec![b'a'; 1000];
        for at in [0, 1, 231, 232, 488, 743, 744, 999] {
            bytes[at] = b'\n';
            assert_eq!(last_newline(&bytes), Some(at));
        }
    }
}
