use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

fn pair() -> (OwnedFd, OwnedFd) {
    let (unix, packets) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    socketpair(unix, packets, SocketFlags::CLOEXEC, None).unwrap()
}

#[test]
fn a_descriptor_outlives_the_sender_that_dies_right_after() {
    let (ours, theirs) = pair();
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    rustix::io::write(&write, b"last words").unwrap();
    send(theirs.as_fd(), b"x", Some(read.as_fd())).unwrap();
    drop((read, write, theirs));
    let Received::Frame { bytes, fd } = receive(ours.as_fd()).unwrap() else {
        panic!("no frame");
    };
    assert_eq!(bytes, b"x");
    let mut words = [0; 20];
    let len = rustix::io::read(fd.unwrap(), &mut words).unwrap();
    assert_eq!(&words[..len], b"last words");
    // Programs that other tests start at this moment have a copy of the other end until they exec.
    let begin = Instant::now();
    while !matches!(receive(ours.as_fd()).unwrap(), Received::Closed) {
        assert!(begin.elapsed() < Duration::from_secs(30), "never closed");
    }
}

#[test]
fn a_frame_that_is_too_long_is_told_apart_from_one_that_is_not() {
    let (ours, theirs) = pair();
    for (sent, received) in [(MAX_FRAME, MAX_FRAME), (MAX_FRAME + 1, 0)] {
        send(theirs.as_fd(), &vec![7; sent], None).unwrap();
        let Received::Frame { bytes, fd: None } = receive(ours.as_fd()).unwrap() else {
            panic!("no frame");
        };
        assert_eq!(bytes.len(), received);
    }
    assert!(matches!(receive(ours.as_fd()).unwrap(), Received::Nothing));
}

#[test]
fn nobody_waits_for_an_end_that_does_not_read() {
    let (ours, _theirs) = pair();
    let full = (0..100_000).find_map(|_| send(ours.as_fd(), b"x", None).err());
    assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
}
