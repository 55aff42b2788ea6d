//! Starts whose user is being looked up. A name service that hangs keeps these, and no spawner: the starts of everybody
//! else go past them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::users::Who;
use super::{Ground, StartOrder};

/// Who waits, by user. At most one start per slot comes here: the engine asks for no second one before an answer.
#[derive(Debug)]
pub(super) struct Parked {
    waiting: Mutex<HashMap<String, Vec<StartOrder>>>,
    /// Where they come back to once their user is known, or known not to be.
    queue: Sender<StartOrder>,
}

impl Parked {
    pub(super) fn new(queue: Sender<StartOrder>) -> Self {
        let waiting = Mutex::default();
        Self { waiting, queue }
    }

    /// Gives the order back if the look-up of its user takes no time. Else it comes again by the queue.
    pub(super) fn pass(
        self: &Arc<Self>,
        ground: &Arc<Ground>,
        order: StartOrder,
    ) -> Option<StartOrder> {
        let who = Who::Name(order.spec.user().to_owned());
        let mut waiting = self.lock();
        // Under the lock: whoever takes the waiting ones out does so after the answer is there.
        if ground.users.answers_at_once(&who) {
            return Some(order);
        }
        let user = order.spec.user().to_owned();
        if let Some(others) = waiting.get_mut(&user) {
            others.push(order);
            return None;
        }
        let (parked, ground) = (Arc::clone(self), Arc::clone(ground));
        let waited_for = user.clone();
        let begun = crate::vital::spawn("starts' user", move || {
            // The start asks again, and is answered from memory.
            let _ = ground.users.find(&who);
            // The lock is let go first: a full queue is emptied by spawners, and they pass here.
            let waiting = parked.lock().remove(&waited_for);
            for order in waiting.into_iter().flatten() {
                // Without spawners the worker is about to end.
                let _ = parked.queue.send(order);
            }
        });
        match begun {
            Ok(()) => {
                waiting.insert(user, vec![order]);
                None
            }
            // No thread to be had: then the spawner waits itself.
            Err(_) => Some(order),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<StartOrder>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
