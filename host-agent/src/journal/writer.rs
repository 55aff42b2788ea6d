//! The thread that writes the ledger: one job after the other, all holds and notes that wait in one write.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use zhylon_shared::id::DaemonId;

use super::{
    DESIRED, DesiredLedger, JOBS_MAX, Job, JournalError, LOCAL, LocalLedger, NewHold, Note, Shared,
    file, lock,
};

/// The thread's own state.
pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) shared: Arc<Shared>,
    /// As on disk, but for notes whose write failed: they go with the next one.
    pub(super) local: LocalLedger,
}

impl Writer {
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        let mut batch = Vec::with_capacity(JOBS_MAX);
        while inbox.blocking_recv_many(&mut batch, JOBS_MAX) > 0 {
            self.local_part(&mut batch);
            for job in batch.drain(..) {
                if let Job::Desired(ledger, answer) = job {
                    // The caller may have gone; the ledger is durable all the same.
                    let _ = answer.send(self.write_desired(*ledger));
                }
            }
        }
    }

    fn write_desired(&self, ledger: DesiredLedger) -> Result<(), JournalError> {
        file::store(&self.dir, DESIRED, &ledger).map_err(|e| JournalError(e.to_string()))?;
        *lock(&self.shared.desired) = Arc::new(ledger);
        Ok(())
    }

    /// All notes and holds of a batch in one write.
    fn local_part(&mut self, batch: &mut Vec<Job>) {
        let before = self.local.clone();
        // Notes first: a note that was made after a hold was asked for can only be about an older hold, because the
        // engine hears of a hold after it is durable.
        let notes = std::mem::take(&mut *lock(&self.shared.notes));
        for ((daemon, _), note) in notes {
            self.apply(daemon, &note);
        }
        let noted = self.local.clone();
        let mut answers = Vec::new();
        for job in std::mem::take(batch) {
            match job {
                Job::Holds(holds, answer) => {
                    for hold in holds {
                        self.hold(hold);
                    }
                    answers.push(answer);
                }
                Job::Notes => {}
                other @ Job::Desired(..) => batch.push(other),
            }
        }
        if self.local == before && answers.is_empty() {
            return;
        }
        let written = file::store(&self.dir, LOCAL, &self.local);
        if let Err(error) = &written {
            tracing::error!(%error, "{LOCAL} could not be written");
            // A refused hold is none; notes are facts and stay.
            self.local = noted;
        }
        let written = written.map_err(|error| JournalError(error.to_string()));
        for answer in answers {
            let _ = answer.send(written.clone());
        }
    }

    fn hold(&mut self, (daemon, index, hold): NewHold) {
        self.hold_ended(daemon, index);
        match index {
            None => self.local.holds.push((daemon, hold)),
            Some(index) => self.local.instance_holds.push((daemon, index, hold)),
        }
    }

    fn hold_ended(&mut self, daemon: DaemonId, index: Option<u32>) {
        if index.is_none() {
            self.local.holds.retain(|(id, _)| *id != daemon);
        }
        let ended = |of: DaemonId, own: u32| of == daemon && index.is_none_or(|index| index == own);
        self.local
            .instance_holds
            .retain(|(of, own, _)| !ended(*of, *own));
    }

    fn apply(&mut self, daemon: DaemonId, note: &Note) {
        match note {
            Note::HoldEnded(index) => self.hold_ended(daemon, *index),
            Note::HoldsRebased(intent_generation) => {
                let of_daemons = self.local.holds.iter_mut();
                let of_daemons = of_daemons.filter(|(id, _)| *id == daemon);
                let of_instances = self.local.instance_holds.iter_mut();
                let of_instances = of_instances.filter(|(id, ..)| *id == daemon);
                let holds = of_daemons.map(|(_, hold)| hold);
                for hold in holds.chain(of_instances.map(|(.., hold)| hold)) {
                    hold.intent_generation = *intent_generation;
                }
            }
            Note::RolloutStopped(revision, why) => {
                self.local.stopped.retain(|(id, ..)| *id != daemon);
                let stopped = (daemon, *revision, why.clone());
                self.local.stopped.push(stopped);
            }
            Note::Settled(generation, outcome) => {
                self.local.settled.retain(|(id, ..)| *id != daemon);
                self.local.settled.push((daemon, *generation, *outcome));
            }
            Note::Forgotten => {
                self.hold_ended(daemon, None);
                self.local.settled.retain(|(id, ..)| *id != daemon);
                self.local.stopped.retain(|(id, ..)| *id != daemon);
            }
        }
    }
}
