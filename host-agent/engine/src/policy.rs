//! What an unasked end means: respawn, wait, give up. Pure judgement over one instance's record of failures.
//!
//! It never looks at what was asked for; an end that was asked for is not brought before it.

use std::collections::VecDeque;
use std::time::Duration;

use zhylon_shared::spec::{DaemonSpec, RestartPolicy};

use crate::input::Exit;
use crate::time::Time;

/// The first delay after a failure; every further one is twice as long.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// Delays grow no further: a daemon whose database is back must not wait for minutes.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// An instance that was RUNNING this long has recovered; its failures are forgotten.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// More failed ends than this within [`CRASH_LOOP_WINDOW`] are a crash loop: delays apply though it had been RUNNING.
const CRASH_LOOP_ENDS: usize = 10;
/// See [`CRASH_LOOP_ENDS`].
const CRASH_LOOP_WINDOW: Duration = Duration::from_secs(60);
/// Starts of a recycling instance (`--max-jobs`) are at least this far apart, so that it can not spin.
const RECYCLE_GAP: Duration = Duration::from_millis(250);

/// An unasked end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// How; `None` if it never became the program.
    pub(crate) exit: Option<Exit>,
    /// How long it had been RUNNING; `None` if it never was.
    pub(crate) ran: Option<Duration>,
    /// When it was started.
    pub(crate) started: Time,
}

/// What follows an unasked end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is started again at this time, without counting as failing.
    Respawn(Time),
    /// It failed and is tried again at this time.
    Backoff(Time),
    /// It stays ended, by its policy.
    Exited,
    /// It failed too often.
    Fatal,
}

/// What an end is in the eyes of a restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Failure,
    Recycle,
    Final,
}

fn classify(policy: RestartPolicy, end: &End) -> Kind {
    match (policy, end.exit) {
        // It never ran, so trying again is no restart.
        (_, None) => Kind::Failure,
        (RestartPolicy::Never, Some(_)) => Kind::Final,
        (RestartPolicy::OnFailure, Some(Exit::Code(0))) => Kind::Final,
        (RestartPolicy::Always, Some(Exit::Code(0))) if end.ran.is_some() => Kind::Recycle,
        (RestartPolicy::Always, Some(Exit::Unknown)) => Kind::Recycle,
        (RestartPolicy::Always | RestartPolicy::OnFailure, Some(_)) => Kind::Failure,
    }
}

/// The failures of one instance since it last was stable or started on request.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Failures that were answered with a delay.
    delays: u32,
    /// Too many ends in too little time; stays until the record is forgotten, or a looping instance would be let loose
    /// again each time its own delays have emptied the window.
    crash_looping: bool,
    /// Failed ends within the window, oldest first; at most [`CRASH_LOOP_ENDS`], then it is a crash loop and they are
    /// no longer counted.
    ends: VecDeque<Time>,
}

impl Record {
    /// What a former worker noted. The single ends are not, so a crash loop that was close begins to be counted anew.
    pub(crate) fn with(delays: u32, crash_looping: bool) -> Self {
        Self {
            delays,
            crash_looping,
            ends: VecDeque::new(),
        }
    }

    /// Failures that were answered with a delay, and whether it is crash-looping.
    pub(crate) fn failures(&self) -> (u32, bool) {
        (self.delays, self.crash_looping)
    }

    /// Judges an unasked end and remembers it.
    pub(crate) fn judge(
        &mut self,
        now: Time,
        spec: &DaemonSpec,
        end: &End,
        jitter: &mut Jitter,
    ) -> Verdict {
        if end.ran.is_some_and(|ran| ran >= STABLE_AFTER) {
            *self = Self::default();
        }
        match classify(spec.restart_policy(), end) {
            Kind::Final => Verdict::Exited,
            Kind::Recycle => Verdict::Respawn(now.max(end.started + RECYCLE_GAP)),
            Kind::Failure => {
                self.count(now);
                if end.ran.is_some() && !self.crash_looping {
                    return Verdict::Respawn(now);
                }
                let retries = spec.max_retries();
                if retries != 0 && self.delays >= retries {
                    return Verdict::Fatal;
                }
                let wait = delay(self.delays);
                self.delays = self.delays.saturating_add(1);
                Verdict::Backoff(now + jitter.spread(wait))
            }
        }
    }

    fn count(&mut self, now: Time) {
        if self.crash_looping {
            return;
        }
        self.ends.retain(|end| now.since(*end) < CRASH_LOOP_WINDOW);
        self.ends.push_back(now);
        if self.ends.len() > CRASH_LOOP_ENDS {
            self.crash_looping = true;
            self.ends = VecDeque::new();
        }
    }
}

/// The delay after `earlier` delays: 1 s, 2 s, 4 s … 60 s.
pub(crate) fn delay(earlier: u32) -> Duration {
    // 2^6 s is beyond the longest already; the bound keeps the shift from overflowing.
    let factor = 1 << earlier.min(6);
    (FIRST_DELAY * factor).min(LONGEST_DELAY)
}

/// Spreads delays by ±20 %, so that instances that fell together do not rise together. Deterministic by its seed
/// (splitmix64).
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 80 % to 120 % of `delay`.
    pub(crate) fn spread(&mut self, delay: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        let permille = 800 + u32::try_from(bits % 401).unwrap_or(200);
        delay * permille / 1000
    }
}

#[cfg(test)]
mod tests;
