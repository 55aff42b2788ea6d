//! One page on its way: what the agent's side fills and the viewer's side empties.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::stream::Breach;
use super::{LogEvent, QUEUE_MAX, lock};

/// The queue of one page.
#[derive(Debug)]
pub(super) struct Viewer {
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Debug)]
struct Queue {
    events: VecDeque<LogEvent>,
    /// Bytes the agent may still send.
    window: u64,
    /// Nothing comes any more: the agent ended it, or it is lost.
    over: bool,
    /// Its place among the pages the agent reads; given back when the agent has sent it, taken or not.
    place: Option<OwnedSemaphorePermit>,
}

impl Viewer {
    pub(super) fn new(window: u64, place: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            queue: Mutex::new(Queue {
                events: VecDeque::new(),
                window,
                over: false,
                place,
            }),
            wake: Notify::new(),
        }
    }

    /// Takes an event; `false` when there is no room and the page is lost.
    pub(super) fn push(&self, event: LogEvent) -> Result<bool, Breach> {
        let mut queue = lock(&self.queue);
        if queue.over {
            return Ok(true);
        }
        let mut room = true;
        match &event {
            LogEvent::Chunk { data, .. } => {
                queue.window = queue.window.checked_sub(data.len() as u64).ok_or(Breach)?;
            }
            LogEvent::End { .. } => queue.over = true,
            // Costs no credit, so it must not pile up; the end says the same.
            LogEvent::CaughtUp { .. } => return Ok(true),
            LogEvent::Gap { .. } | LogEvent::Lost { .. } => {}
        }
        if queue.events.len() < QUEUE_MAX || queue.over {
            queue.events.push_back(event);
        } else {
            queue.over = true;
            room = false;
        }
        if queue.over {
            queue.place = None;
        }
        drop(queue);
        self.wake.notify_one();
        Ok(room)
    }

    pub(super) fn lose(&self) {
        {
            let mut queue = lock(&self.queue);
            queue.over = true;
            queue.place = None;
        }
        self.wake.notify_one();
    }

    /// The next event; `None`: it was lost, and nothing comes.
    ///
    /// Safe to cancel: an event is taken only when it is returned.
    pub(super) async fn next(&self) -> Option<LogEvent> {
        loop {
            {
                let mut queue = lock(&self.queue);
                if let Some(event) = queue.events.pop_front() {
                    return Some(event);
                }
                if queue.over {
                    return None;
                }
            }
            self.wake.notified().await;
        }
    }
}
