//! How long to wait before the next connection. Pure: neither clock nor randomness of its own.
//!
//! The first waits are short and spread evenly, because most losses are an api-server that restarts; only then they
//! grow. The first connection of a worker's life is made at once: no wait comes before it.

use std::time::Duration;

use zhylon_proto::agent::v1::RejectReason;

use super::session::End;

/// So many waits are uniform in 0 … [`SHORT`]: a restarted api-server has all agents back within seconds, spread.
const SHORT_TRIES: u32 = 20;
/// Longest of the short waits, and base of the growing ones.
const SHORT: Duration = Duration::from_secs(3);
/// Longest of the growing waits.
const LONGEST: Duration = Duration::from_secs(30);
/// A session that lasted so long makes the next waits short again. A shorter one does not: it may be the reason.
const STABLE: Duration = Duration::from_secs(60);
/// A revoked agent asks again so rarely: a person must act first.
const REVOKED: Duration = Duration::from_secs(600);
/// Nothing but an upgrade or a new enrolment helps: wait between these two.
const HOPELESS: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(600));
/// Longest wait a server may ask for. A larger wish (a broken server, or one that means harm) is cut to this.
const FLOOR_MAX: Duration = Duration::from_secs(900);

/// Counts failed tries.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait, after a session that lasted `lasted` (zero if none came about). `random` is uniform over all
    /// values of its type.
    pub(super) fn next(&mut self, lasted: Duration, random: u64) -> Duration {
        if lasted >= STABLE {
            self.tries = 0;
        }
        self.tries = self.tries.saturating_add(1);
        // 2^5 * 3 s is above the cap already; the bound keeps the shift small.
        let doublings = self.tries.saturating_sub(SHORT_TRIES).min(5);
        between(
            Duration::ZERO,
            (SHORT * (1 << doublings)).min(LONGEST),
            random,
        )
    }

    /// A person or a program changed what made the tries fail.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    /// How long to wait after a session that ended like this.
    pub(super) fn after(&mut self, end: &End, lasted: Duration, random: u64) -> Duration {
        match end {
            End::Cancelled => Duration::ZERO,
            End::Lost(_) => self.next(lasted, random),
            End::Drain { after } => (*after).min(FLOOR_MAX) + self.next(lasted, random),
            End::Rejected {
                reason,
                retry_after,
                ..
            } => {
                let floor = (*retry_after).min(FLOOR_MAX);
                match reason {
                    RejectReason::Revoked => REVOKED.max(floor),
                    RejectReason::ProtocolUnsupported | RejectReason::Expired => {
                        between(HOPELESS.0, HOPELESS.1, random).max(floor)
                    }
                    RejectReason::Unspecified
                    | RejectReason::ClockSkew
                    | RejectReason::Superseded
                    | RejectReason::Overloaded
                    | RejectReason::ProtocolError => floor + self.next(lasted, random),
                }
            }
        }
    }
}

fn between(low: Duration, high: Duration, random: u64) -> Duration {
    // 53 bits are what an f64 holds exactly.
    let unit = (random >> 11) as f64 / (1_u64 << 53) as f64;
    low + high.saturating_sub(low).mul_f64(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = u64::MAX;

    fn seconds(wait: Duration) -> f64 {
        (wait.as_secs_f64() * 1000.0).round() / 1000.0
    }

    fn rejected(reason: RejectReason, retry_after: Duration) -> End {
        End::Rejected {
            reason,
            retry_after,
            message: String::new(),
        }
    }

    #[test]
    fn twenty_short_waits_then_doubling_to_the_cap() {
        let mut backoff = Backoff::default();
        let longest: Vec<f64> = (0..25)
            .map(|_| seconds(backoff.next(Duration::ZERO, MOST)))
            .collect();
        assert_eq!(longest[..20], [3.0; 20]);
        assert_eq!(longest[20..], [6.0, 12.0, 24.0, 30.0, 30.0]);
        assert_eq!(backoff.next(Duration::ZERO, 0), Duration::ZERO);
        assert_eq!(seconds(backoff.next(Duration::ZERO, MOST / 2)), 15.0);
    }

    #[test]
    fn only_a_stable_session_resets() {
        let mut backoff = Backoff::default();
        for _ in 0..30 {
            backoff.next(Duration::ZERO, MOST);
        }
        assert_eq!(seconds(backoff.next(Duration::from_secs(59), MOST)), 30.0);
        assert_eq!(seconds(backoff.next(Duration::from_secs(60), MOST)), 3.0);
    }

    #[test]
    fn the_server_s_wish_is_a_floor_and_is_cut() {
        let mut backoff = Backoff::default();
        let mut after = |end: &End, random| seconds(backoff.after(end, Duration::ZERO, random));
        let overloaded = rejected(RejectReason::Overloaded, Duration::from_secs(7));
        assert_eq!(after(&overloaded, 0), 7.0);
        assert_eq!(after(&overloaded, MOST), 10.0);
        let never = rejected(RejectReason::Overloaded, Duration::from_secs(u64::MAX / 2));
        assert_eq!(after(&never, 0), 900.0);
        let drain = End::Drain {
            after: Duration::from_millis(500),
        };
        assert_eq!(after(&drain, 0), 0.5);
    }

    #[test]
    fn what_only_a_person_can_mend_is_asked_rarely() {
        let mut backoff = Backoff::default();
        let mut after = |reason, random| {
            let end = rejected(reason, Duration::ZERO);
            seconds(backoff.after(&end, Duration::ZERO, random))
        };
        assert_eq!(after(RejectReason::Revoked, 0), 600.0);
        assert_eq!(after(RejectReason::ProtocolUnsupported, 0), 300.0);
        assert_eq!(after(RejectReason::ProtocolUnsupported, MOST), 600.0);
        assert_eq!(after(RejectReason::Superseded, MOST), 3.0);
    }
}
