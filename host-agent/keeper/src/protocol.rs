//! What keeper and worker say to each other: one small frame per packet of a SOCK_SEQPACKET pair.
//!
//! Both ends are the same program, so there is no version to agree on; a frame that is not understood is reported and
//! skipped. Descriptors travel beside a frame, never inside.

/// Most bytes of a frame; longer packets are cut by the kernel and refused.
pub const MAX_FRAME: usize = 256;

/// One spawn of one instance, as the keeper knows it: a label, nothing it would look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunKey {
    /// The daemon's id without `h:`.
    pub daemon: [u8; 18],
    /// Which instance of it.
    pub index: u32,
    /// Which spawn of that.
    pub generation: u64,
}

/// From worker to keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToKeeper {
    /// The worker listens. Answered by every [`ToWorker::Exited`] still kept, then [`ToWorker::HelloDone`].
    Hello,
    /// Keep the descriptor sent with this frame (the read end of a run's FIFO) until [`Self::Drop`].
    Hold {
        /// Whose.
        run: RunKey,
    },
    /// Close it.
    Drop {
        /// Whose.
        run: RunKey,
    },
    /// The end told by [`ToWorker::Exited`] is recorded, or none of the worker's: reap it.
    Ack {
        /// Its process id.
        pid: i32,
        /// Its start time, as told.
        start_time: u64,
    },
}

/// From keeper to worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToWorker {
    /// A process with a run record ended as the keeper's child. Comes again to the next worker until it is acknowledged.
    Exited {
        /// Its process id, not used again before the acknowledgement.
        pid: i32,
        /// When it started (`/proc/PID/stat` field 22).
        start_time: u64,
        /// How it ended.
        status: ExitStatus,
    },
    /// All that was kept at [`ToKeeper::Hello`] has been told.
    HelloDone {
        /// How many descriptors are held.
        held: u32,
    },
    /// End soon and leave the programs running; SIGKILL follows after ten seconds.
    Terminate,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl ToKeeper {
    /// The frame, at most [`MAX_FRAME`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Hello => vec![b'h'],
            Self::Hold { run } => run_frame(b'+', run),
            Self::Drop { run } => run_frame(b'-', run),
            Self::Ack { pid, start_time } => {
                [&b"a"[..], &pid.to_le_bytes(), &start_time.to_le_bytes()].concat()
            }
        }
    }

    /// From a frame; `None` for bytes that [`Self::encode`] could not have written.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        let (kind, mut rest) = frame.split_first()?;
        let message = match kind {
            b'h' => Self::Hello,
            b'+' => Self::Hold {
                run: run(&mut rest)?,
            },
            b'-' => Self::Drop {
                run: run(&mut rest)?,
            },
            b'a' => Self::Ack {
                pid: i32::from_le_bytes(take(&mut rest)?),
                start_time: u64::from_le_bytes(take(&mut rest)?),
            },
            _ => return None,
        };
        rest.is_empty().then_some(message)
    }
}

impl ToWorker {
    /// The frame, at most [`MAX_FRAME`] bytes.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Exited {
                pid,
                start_time,
                status,
            } => {
                let (kind, number) = match status {
                    ExitStatus::Code(code) => (b"c", code),
                    ExitStatus::Signal(signal) => (b"s", signal),
                };
                let number = number.to_le_bytes();
                let (pid, start_time) = (pid.to_le_bytes(), start_time.to_le_bytes());
                [&kind[..], &pid, &start_time, &number].concat()
            }
            Self::HelloDone { held } => [&b"d"[..], &held.to_le_bytes()].concat(),
            Self::Terminate => vec![b't'],
        }
    }

    /// From a frame; `None` for bytes that [`Self::encode`] could not have written.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        let (kind, mut rest) = frame.split_first()?;
        let message = match kind {
            b'c' | b's' => Self::Exited {
                pid: i32::from_le_bytes(take(&mut rest)?),
                start_time: u64::from_le_bytes(take(&mut rest)?),
                status: match (kind, i32::from_le_bytes(take(&mut rest)?)) {
                    (b'c', code) => ExitStatus::Code(code),
                    (_, signal) => ExitStatus::Signal(signal),
                },
            },
            b'd' => Self::HelloDone {
                held: u32::from_le_bytes(take(&mut rest)?),
            },
            b't' => Self::Terminate,
            _ => return None,
        };
        rest.is_empty().then_some(message)
    }
}

fn run_frame(kind: u8, run: RunKey) -> Vec<u8> {
    let (index, generation) = (run.index.to_le_bytes(), run.generation.to_le_bytes());
    [&[kind][..], &run.daemon, &index, &generation].concat()
}

fn run(rest: &mut &[u8]) -> Option<RunKey> {
    Some(RunKey {
        daemon: take(rest)?,
        index: u32::from_le_bytes(take(rest)?),
        generation: u64::from_le_bytes(take(rest)?),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests;
