//! What an instance leaves to the next worker's engine besides its process, and how it is taken up again.

use std::sync::Arc;

use zhylon_shared::spec::DaemonSpec;

use crate::ctx::Ctx;
use crate::input::{Past, Rest, RestKind};
use crate::instance::Instance;
use crate::phase::Phase;
use crate::policy::Record;

impl Instance {
    /// What there is to remember; `None` if a fresh start knows as much.
    pub(crate) fn past(&self, intent_generation: i64) -> Option<Past> {
        let kind = match self.phase {
            Phase::Exited => Some(RestKind::Exited),
            Phase::Fatal => Some(RestKind::Fatal),
            Phase::Backoff(at) => Some(RestKind::Backoff(at)),
            _ => None,
        };
        if kind.is_none() && self.restart_count == 0 && self.last_exit.is_none() {
            return None;
        }
        let (delays, crash_looping) = self.record.failures();
        Some(Past {
            slot: self.slot,
            generation: self.generation,
            rest: kind.map(|kind| Rest {
                kind,
                since: self.since,
                spec_hash: (self.spec.as_ref())
                    .map_or_else(String::new, |spec| spec.instance_hash()),
                intent_generation,
                restart_generation: self.restart_generation,
                delays,
                crash_looping,
            }),
            restart_count: self.restart_count,
            last_exit: self.last_exit.clone(),
        })
    }

    /// Takes up what was noted of this slot, but for where it rested.
    pub(crate) fn remember(&mut self, past: &Past) {
        self.restart_count = past.restart_count;
        self.last_exit = past.last_exit.clone();
        self.generation = self.generation.max(past.generation);
    }

    /// Rests again where it rested when the last worker died. `spec`: what it was made of, if that is known.
    pub(crate) fn rest(&mut self, ctx: &mut Ctx, rest: &Rest, spec: Option<Arc<DaemonSpec>>) {
        self.spec = spec;
        self.restart_generation = rest.restart_generation;
        self.record = Record::with(rest.delays, rest.crash_looping);
        let phase = match rest.kind {
            RestKind::Exited => Phase::Exited,
            RestKind::Fatal => Phase::Fatal,
            RestKind::Backoff(at) => Phase::Backoff(at),
        };
        self.set(ctx, phase);
        self.since = rest.since;
    }
}
