//! A viewer's end of a subscription: its queue, its window, and the place it has reached.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::stream::{Breach, LogStream};
use super::{CREDIT_STEP, LogEvent, QUEUE_MAX, lock};

/// What the agent's side fills and the viewer's side empties.
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
}

impl Viewer {
    pub(super) fn new(window: u64) -> Self {
        Self {
            queue: Mutex::new(Queue {
                events: VecDeque::new(),
                window,
                over: false,
            }),
            wake: Notify::new(),
        }
    }

    /// Takes an event; `false` when there is no room and the subscription is lost.
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
            LogEvent::Gap { .. } | LogEvent::CaughtUp { .. } | LogEvent::Lost { .. } => {}
        }
        let both_caught_up = matches!(event, LogEvent::CaughtUp { .. })
            && matches!(queue.events.back(), Some(LogEvent::CaughtUp { .. }));
        if both_caught_up {
            // Costs no credit, so it must not pile up.
            queue.events.pop_back();
        }
        if queue.events.len() < QUEUE_MAX || queue.over {
            queue.events.push_back(event);
        } else {
            queue.over = true;
            room = false;
        }
        drop(queue);
        self.wake.notify_one();
        Ok(room)
    }

    pub(super) fn lose(&self) {
        lock(&self.queue).over = true;
        self.wake.notify_one();
    }
}

/// A log as it comes from an agent. Dropping it ends it on the agent too.
#[derive(Debug)]
pub(crate) struct LogSubscription {
    stream: Arc<LogStream>,
    id: u64,
    viewer: Arc<Viewer>,
    /// Taken, and not yet given back as credit.
    taken: u64,
    position: Option<u64>,
}

impl LogSubscription {
    pub(super) fn new(stream: Arc<LogStream>, id: u64, viewer: Arc<Viewer>) -> Self {
        Self {
            stream,
            id,
            viewer,
            taken: 0,
            position: None,
        }
    }

    /// The next event. After `End` and `Lost` nothing comes: `Lost` again and again.
    ///
    /// Safe to cancel: an event is taken only when it is returned.
    pub(crate) async fn next(&mut self) -> LogEvent {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.viewer.wake.notified().await;
        }
    }

    fn take(&mut self) -> Option<LogEvent> {
        let event = {
            let mut queue = lock(&self.viewer.queue);
            match queue.events.pop_front() {
                Some(event) => event,
                None if queue.over => {
                    return Some(LogEvent::Lost {
                        position: self.position,
                    });
                }
                None => return None,
            }
        };
        match &event {
            LogEvent::Chunk {
                next_position,
                data,
                ..
            } => {
                self.position = Some(*next_position);
                self.give_back(data.len() as u64);
            }
            LogEvent::Gap { next_position, .. } => self.position = Some(*next_position),
            LogEvent::CaughtUp { position } => self.position = Some(*position),
            LogEvent::End { .. } | LogEvent::Lost { .. } => {}
        }
        Some(event)
    }

    fn give_back(&mut self, bytes: u64) {
        self.taken += bytes;
        if self.taken >= CREDIT_STEP {
            lock(&self.viewer.queue).window += self.taken;
            self.stream.credit(self.id, self.taken);
            self.taken = 0;
        }
    }
}

impl Drop for LogSubscription {
    fn drop(&mut self) {
        self.stream.unsubscribe(self.id);
    }
}
