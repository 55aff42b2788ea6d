//! One peer at the socket: who it is, which daemons it may see, and what the names it sends mean to it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use dxr::Value;
use host_agent_engine::input::{CommandTarget, Slot};
use host_agent_engine::view::InstanceView;
use zhylon_shared::name::{self, Target};

use super::admission::Admission;
use super::door::Door;
use super::fault::{Code, Fault};
use super::info::{Clock, process_info};
use super::localtime::Zone;
use crate::supervisor::{DaemonEntry, Operator};

/// One peer. To a peer other than root a daemon of another user does not exist.
#[derive(Debug, Clone)]
pub(crate) struct Session<D> {
    pub(crate) door: D,
    /// The peer's uid, from the kernel.
    pub(crate) uid: u32,
    pub(crate) zone: Rc<Zone>,
    /// Bounds the commands in flight.
    pub(crate) commands: Rc<Admission>,
}

/// What a name means: a daemon this peer may see, and which of its instances (`None`: all).
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) entry: Arc<DaemonEntry>,
    pub(crate) index: Option<u32>,
}

impl Named {
    pub(crate) fn target(&self) -> CommandTarget {
        let daemon = self.entry.view.id;
        match self.index {
            Some(index) => CommandTarget::Instance(Slot { daemon, index }),
            None => CommandTarget::Daemon(daemon),
        }
    }

    /// The instances it means.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &InstanceView> {
        let all = self.entry.view.instances.iter();
        all.filter(|one| self.index.is_none_or(|index| one.index == index))
    }
}

impl<D: Door> Session<D> {
    /// Whether this peer may see and do everything.
    pub(crate) fn has_all_rights(&self) -> bool {
        self.uid == 0
    }

    fn may_see(&self, entry: &DaemonEntry) -> bool {
        !entry.gone && (self.uid == 0 || entry.uid == Some(self.uid))
    }

    /// All daemons of this peer, ordered by id and thus by group name.
    pub(crate) fn all(&self) -> Vec<Named> {
        let daemons = self.door.daemons().into_values();
        daemons
            .filter(|entry| self.may_see(entry))
            .map(|entry| Named { entry, index: None })
            .collect()
    }

    /// What a name means to this peer, in either spelling; BAD_NAME for what it may not see.
    pub(crate) fn resolve(&self, text: &str) -> Result<Named, Fault> {
        let bad_name = || Fault::new(Code::BadName, text);
        let (id, index) = match name::parse(text).ok_or_else(bad_name)? {
            Target::Daemon(id) => (id, None),
            Target::Instance(id, index) => (id, Some(index)),
        };
        let entry = self.door.daemon(&id).ok_or_else(bad_name)?;
        let named = Named { entry, index };
        // A daemon with no instance yet can be named, an instance that is not there can not.
        if !self.may_see(&named.entry) || (index.is_some() && named.instances().next().is_none()) {
            return Err(bad_name());
        }
        Ok(named)
    }

    /// A name that must mean a whole daemon.
    pub(crate) fn resolve_group(&self, text: &str) -> Result<Named, Fault> {
        let named = self.resolve(text)?;
        match named.index {
            None => Ok(named),
            Some(_) => Err(Fault::new(Code::BadName, text)),
        }
    }

    /// This peer as holds and logs call it. A peer other than root moves only daemons of its own user, so their user
    /// is its name.
    pub(crate) fn operator(&self, named: &[Named]) -> Operator {
        let user = named.first().map(|first| first.entry.spec.user());
        let name = match user {
            _ if self.uid == 0 => "root".to_owned(),
            Some(user) => format!("{user} (uid {})", self.uid),
            None => format!("uid {}", self.uid),
        };
        Operator { name }
    }

    /// Where a daemon's log is; empty while its user is not known here.
    pub(crate) fn log_path(&self, entry: &DaemonEntry) -> String {
        let path = self.door.log_file(&entry.view.id);
        path.map_or_else(String::new, |path| path.display().to_string())
    }

    /// The structs of all instances `named` means.
    pub(crate) fn infos(&self, named: &[Named]) -> Vec<Value> {
        let wall = |time| self.door.wall(time);
        let clock = Clock {
            now: SystemTime::now(),
            wall: &wall,
            zone: &self.zone,
        };
        named
            .iter()
            .flat_map(|one| {
                let (entry, clock) = (&one.entry, &clock);
                let log = self.log_path(entry);
                one.instances()
                    .map(move |instance| process_info(entry, instance, &log, clock))
            })
            .collect()
    }
}
