//! Frames and descriptors over one end of the SOCK_SEQPACKET pair, never waiting.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::protocol::MAX_FRAME;

/// What a read found.
#[derive(Debug)]
pub(crate) enum Received {
    /// Nothing yet.
    Nothing,
    /// The other end is closed, and all it sent has been read.
    Closed,
    /// One frame.
    Frame {
        /// Its bytes; empty when it was longer than a frame can be.
        bytes: Vec<u8>,
        /// The descriptor that came with it, close-on-exec.
        fd: Option<OwnedFd>,
    },
}

/// Sends one frame. WouldBlock when the other end does not read.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    frame: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut space = [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(socket, &[IoSlice::new(frame)], &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads one frame.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<Received> {
    let mut bytes = [0; MAX_FRAME];
    let mut space = [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut into = [IoSliceMut::new(&mut bytes)];
    let message = loop {
        match recvmsg(socket, &mut into, &mut control, flags) {
            Ok(message) => break message,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET) => return Ok(Received::Closed),
            Err(error) => return Err(error.into()),
        }
    };
    let mut fd = None;
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = item {
            fd = fds.last();
        }
    }
    if message.bytes == 0 {
        return Ok(Received::Closed);
    }
    let whole = !message.flags.contains(ReturnFlags::TRUNC);
    let len = if whole { message.bytes } else { 0 };
    let bytes = bytes[..len].to_vec();
    Ok(Received::Frame { bytes, fd })
}

#[cfg(test)]
mod tests;
