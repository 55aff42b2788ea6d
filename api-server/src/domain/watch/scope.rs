//! What a watch watches, and where in it something may have changed.

use std::collections::{HashMap, HashSet};

use zhylon_shared::id::{ServerId, TeamId};

use crate::store::{self, Scope, Store};

/// Servers a watch remembers to be or not to be of its team. When full it forgets all of them: each costs one read to
/// find out again.
const REMEMBERED_MAX: usize = 10_000;

/// What is watched.
#[derive(Debug)]
pub(super) struct Watched {
    scope: Scope,
    dirty: Dirty,
    ours: HashMap<ServerId, bool>,
    strangers: HashSet<ServerId>,
    /// The caller's rights may have changed.
    pub(super) ask_again: bool,
}

#[derive(Debug)]
enum Dirty {
    All,
    Servers(HashSet<ServerId>),
}

impl Watched {
    pub(super) fn all_of(scope: Scope) -> Self {
        Self {
            scope,
            dirty: Dirty::All,
            ours: HashMap::new(),
            strangers: HashSet::new(),
            ask_again: false,
        }
    }

    /// Everything may have changed.
    pub(super) fn everything(&mut self) {
        self.dirty = Dirty::All;
        self.strangers.clear();
    }

    /// Something of this server may have changed.
    pub(super) fn server(&mut self, server: ServerId) {
        let Dirty::Servers(dirty) = &mut self.dirty else {
            return;
        };
        let ours = match self.scope {
            Scope::Server(only) => Some(only == server),
            Scope::Team(_) => self.ours.get(&server).copied(),
        };
        match ours {
            Some(true) => {
                dirty.insert(server);
            }
            Some(false) => {}
            None => {
                self.strangers.insert(server);
            }
        }
    }

    /// A server of which it is not known whether it is watched.
    pub(super) fn stranger(&self) -> Option<ServerId> {
        self.strangers.iter().next().copied()
    }

    /// Now it is known.
    pub(super) fn sort(&mut self, server: ServerId, team: Option<TeamId>) {
        self.strangers.remove(&server);
        if self.ours.len() >= REMEMBERED_MAX {
            self.ours.clear();
        }
        let Some(team) = team else { return };
        self.ours.insert(server, self.scope == Scope::Team(team));
        self.server(server);
    }

    pub(super) fn is_dirty(&self) -> bool {
        match &self.dirty {
            Dirty::All => true,
            Dirty::Servers(servers) => !servers.is_empty(),
        }
    }

    /// What to look at; it counts as looked at.
    pub(super) fn take_dirty(&mut self) -> Vec<Scope> {
        match std::mem::replace(&mut self.dirty, Dirty::Servers(HashSet::new())) {
            Dirty::All => vec![self.scope],
            Dirty::Servers(servers) => servers.into_iter().map(Scope::Server).collect(),
        }
    }

    /// Server's and team's id as a request would name them: one is empty.
    pub(super) fn ids(&self) -> (String, String) {
        match self.scope {
            Scope::Server(server) => (server.to_string(), String::new()),
            Scope::Team(team) => (String::new(), team.to_string()),
        }
    }

    /// Whether it is still there.
    pub(super) async fn exists(&self, store: &Store) -> Result<bool, store::Error> {
        Ok(match self.scope {
            Scope::Server(server) => store.server(server).await?.is_some(),
            Scope::Team(team) => store.team(team).await?.is_some(),
        })
    }
}
