//! What handles ask, what was found out about users, and what the complete set says besides what the engine notes.

use std::collections::BTreeSet;
use std::sync::Arc;

use host_agent_engine::input::{DesiredDaemon, Input, Ticket};
use zhylon_shared::id::DaemonId;

use super::{Core, Stage};
use crate::logs::Owner;
use crate::supervisor::Request;
use crate::supervisor::queries::Answer;

impl Core {
    pub(super) fn on_request(&mut self, request: Request) {
        match request {
            // Dropping the answer says that the agent is ending.
            Request::Desire(..) | Request::Command { .. } if self.stage != Stage::Serving => {}
            Request::Desire(set, answer) => {
                match self.restore.take() {
                    Some(restore) => self.restore(restore, set),
                    None => {
                        self.know(&set);
                        self.inputs.push_back(Input::Desired(set));
                    }
                }
                self.settle();
                let _ = answer.send(());
            }
            // Without a ledger no daemon is known.
            Request::Command { answer, .. } if self.restore.is_some() => {
                let _ = answer.send(Vec::new());
            }
            Request::Command {
                action,
                targets,
                hold,
                answer,
            } => {
                self.next_ticket += 1;
                let ticket = Ticket(self.next_ticket);
                self.tickets.insert(ticket, answer);
                self.inputs.push_back(Input::Command {
                    ticket,
                    action,
                    targets,
                    hold,
                });
            }
            Request::Forget(id, answer) => {
                self.forget(id);
                let _ = answer.send(());
            }
            Request::StopDaemons => {
                if self.stage == Stage::Serving {
                    tracing::info!("stopping every daemon, as asked");
                    self.stage = Stage::Stopping;
                    self.inputs
                        .push_back(Input::Shutdown { stop_daemons: true });
                }
            }
        }
    }

    fn forget(&mut self, id: DaemonId) {
        if self.board.daemon(&id).is_some_and(|entry| entry.gone) {
            self.board.remove(&id);
            self.specs.remove(&id);
            self.owners.remove(&id);
            self.logs.forget(id);
            self.journal.forget(id);
        }
    }

    /// Notes what the complete set says besides what the engine notes.
    pub(super) fn know(&mut self, set: &[DesiredDaemon]) {
        let intents = set.iter().map(|d| (d.id, d.intent_generation)).collect();
        self.board.set_intents(intents);
        let mut users = BTreeSet::new();
        for daemon in set {
            users.insert(daemon.spec.user().to_owned());
            let old = self.specs.insert(daemon.id, Arc::clone(&daemon.spec));
            if old.as_ref() != Some(&daemon.spec) {
                self.changed.insert(daemon.id);
            }
        }
        for user in users {
            self.queries.user(user);
        }
    }

    pub(super) fn on_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Checked {
                daemon,
                revision,
                result,
            } => self.inputs.push_back(Input::Checked {
                daemon,
                revision,
                result,
            }),
            // A look-up that failed takes nothing back: the name service may be away.
            Answer::User { account: None, .. } => {}
            Answer::User {
                name,
                account: Some(account),
            } => self.on_user(&name, &account.owner),
            Answer::Owner { run, uid, account } => self.on_owner(run, uid, account),
        }
    }

    fn on_user(&mut self, name: &str, owner: &Owner) {
        let before = self.uids.insert(name.to_owned(), owner.uid);
        let daemons = self.specs.iter().filter(|(_, spec)| spec.user() == name);
        let daemons: Vec<DaemonId> = daemons.map(|(id, _)| *id).collect();
        for daemon in daemons {
            if before != Some(owner.uid) {
                self.changed.insert(daemon);
            }
            // So that an old log can be read while nothing runs. What runs says itself whose it is.
            if !self.owners.contains_key(&daemon) {
                self.own(daemon, owner.clone());
            }
        }
    }

    /// Whose a daemon is until its user was looked up: whoever it runs as already, if it was started as it is now. So that
    /// this user's own client finds it from the first moment on.
    pub(in crate::supervisor) fn presume_user(&mut self, daemon: DaemonId, of: &str, uid: u32) {
        if let Some(spec) = self.specs.get(&daemon)
            && spec.instance_hash() == of
        {
            self.uids.entry(spec.user().to_owned()).or_insert(uid);
        }
    }

    /// From now on this daemon's log is this user's.
    pub(in crate::supervisor) fn own(&mut self, daemon: DaemonId, owner: Owner) {
        let uid = Some(owner.uid);
        if self.uids.insert(owner.name.clone(), owner.uid) != uid {
            self.changed.insert(daemon);
        }
        if self.owners.get(&daemon) != Some(&owner) {
            self.owners.insert(daemon, owner.clone());
            self.logs.register(daemon, owner);
        }
    }
}
