use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use super::*;

fn is_pending(readiness: &Readiness) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(pin!(readiness.readable()).poll(&mut context), Poll::Pending)
}

#[test]
fn waits_for_events_and_forgets_none() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let event = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let set = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&set, &event, EventData::new_u64(7), EventFlags::IN).unwrap();
        let readiness = Readiness::new(set).unwrap();
        let deadline = Duration::from_secs(10);
        for _ in 0..3 {
            assert!(is_pending(&readiness));
            rustix::io::write(&event, &1_u64.to_ne_bytes()).unwrap();
            // Twice without reading: what is level-triggered stays ready.
            for _ in 0..2 {
                let ready = tokio::time::timeout(deadline, readiness.readable());
                ready.await.unwrap().unwrap();
            }
            rustix::io::read(&event, &mut [0; 8]).unwrap();
        }
        // Nothing is left, and it knows, although nobody said so.
        let ready = tokio::time::timeout(Duration::from_millis(20), readiness.readable());
        assert!(ready.await.is_err());
    });
}
