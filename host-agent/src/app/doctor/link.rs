//! The way to the api-server: the link, this host's certificate, and the two clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use zhylon_shared::tls::Validity;

use super::{Finding, Patient};
use crate::link::{LinkReport, LinkState, certificate as validity_of};

/// Clocks this far apart (ms) are not told of: the api-server's is known but for the way of one message.
const SKEW_MS: u64 = 10_000;
/// A certificate with less than this part of its life left should have been replaced.
const LAST_PART: i64 = 3;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// What a new certificate takes.
const ANEW: &str = "`host-agent enroll --replace`, with a new token from the panel";

pub(super) fn link(patient: &Patient<'_>) -> Vec<Finding> {
    let report = match LinkReport::read(&patient.config().run_dir) {
        Ok(Some(report)) => report,
        Ok(None) => return Finding::warn("no worker has told of it yet").remedy(""),
        Err(error) => return Finding::warn(format!("not known: {error}")).remedy(""),
    };
    let why = report.last_error.unwrap_or_default();
    match report.state {
        LinkState::Connected => Finding::ok("connected"),
        LinkState::NotEnrolled => Finding::fail("this host is not enrolled")
            .means("the api-server can not give it daemons")
            .remedy("`host-agent enroll`, with a token from the panel"),
        LinkState::Connecting => Finding::warn(format!("not connected: {why}"))
            .means("daemons run on; changes come when it stands again")
            .remedy("look at the network, and at the host's clock"),
        LinkState::Revoked => Finding::fail(format!("this host's identity is revoked: {why}"))
            .means("daemons run on; nothing new comes")
            .remedy("`host-agent enroll --replace`, with a new token, if that was not meant"),
    }
}

/// How long the api-server will let this host in.
pub(super) fn certificate(patient: &Patient<'_>) -> Vec<Finding> {
    let config = patient.config();
    // The api-server judges by its own clock.
    let report = LinkReport::read(&config.run_dir).ok().flatten();
    let now = report.and_then(|report| report.server_time());
    let now = now.unwrap_or_else(host_time) / 1000;
    match validity_of(&config.state_dir) {
        // The link says it.
        Ok(None) => Vec::new(),
        Ok(Some(validity)) => judge_certificate(validity, now),
        Err(error) => Finding::fail(format!("can not be read: {error}"))
            .means("the link can not be made; daemons run on")
            .remedy(ANEW),
    }
}

fn judge_certificate(validity: Validity, now: i64) -> Vec<Finding> {
    let Validity {
        not_before,
        not_after,
    } = validity;
    if now > not_after {
        return Finding::fail(format!("ended {} ago", span(now - not_after)))
            .means(
                "the api-server lets this host in no more; daemons run on, no change reaches them",
            )
            .remedy(ANEW);
    }
    if now < not_before {
        return Finding::fail(format!("begins in {} only", span(not_before - now)))
            .means("the api-server does not let this host in yet; daemons run on")
            .remedy("look at both clocks, the host's and the api-server's");
    }
    let left = not_after - now;
    if left < (not_after - not_before) / LAST_PART {
        return Finding::warn(format!("ends in {}: it has to be replaced", span(left)))
            .means("after that the api-server lets this host in no more; daemons run on")
            .remedy(ANEW);
    }
    Finding::ok(format!("ends in {}", span(left)))
}

/// The host's clock against the api-server's, as far as that is known.
pub(super) fn clock(patient: &Patient<'_>) -> Vec<Finding> {
    let report = LinkReport::read(&patient.config().run_dir).ok().flatten();
    let server = report.and_then(|report| report.server_time());
    server.map_or_else(Vec::new, |server| judge_skew(host_time() - server))
}

/// `skew`: milliseconds by which the host is ahead.
fn judge_skew(skew: i64) -> Vec<Finding> {
    if skew.unsigned_abs() < SKEW_MS {
        return Finding::ok("as the api-server's");
    }
    let side = if skew > 0 { "ahead of" } else { "behind" };
    Finding::warn(format!(
        "skew: {} {side} the api-server's clock",
        span(skew.saturating_abs() / 1000)
    ))
    .means("times of log lines and events are off by as much; a server's certificate may seem over, or not begun")
    .remedy("let the network set the host's clock (`timedatectl set-ntp true`), or look at the api-server's")
}

/// Unix milliseconds by the host's clock.
fn host_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Seconds, in the two largest units that say something.
fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..HOUR => format!("{} min", seconds / 60),
        HOUR..DAY => format!("{} h {} min", seconds / HOUR, seconds % HOUR / 60),
        _ => format!("{} days", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level::{self, Fail, Ok, Warn};
    use super::*;

    #[track_caller]
    fn is(findings: &[Finding], level: Level, found: &str) {
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].level, &*findings[0].found), (level, found));
        assert_eq!(findings[0].remedy.is_empty(), level == Ok);
    }

    #[test]
    fn a_certificate_is_judged_by_what_is_left_of_its_own_life() {
        let month = Validity {
            not_before: 1000,
            not_after: 1000 + 30 * DAY,
        };
        for (now, level, found) in [
            (999, Fail, "begins in 1 s only"),
            (1000, Ok, "ends in 30 days"),
            (1000 + 20 * DAY, Ok, "ends in 10 days"),
            (
                1000 + 20 * DAY + 1,
                Warn,
                "ends in 9 days: it has to be replaced",
            ),
            (
                1000 + 30 * DAY - 2 * HOUR - 61,
                Warn,
                "ends in 2 h 1 min: it has to be replaced",
            ),
            (1000 + 30 * DAY, Warn, "ends in 0 s: it has to be replaced"),
            (1001 + 30 * DAY, Fail, "ended 1 s ago"),
            (1000 + 32 * DAY, Fail, "ended 2 days ago"),
        ] {
            is(&judge_certificate(month, now), level, found);
        }
    }

    #[test]
    fn clocks_that_differ_are_told_of_with_their_skew() {
        for (skew, level, found) in [
            (0, Ok, "as the api-server's"),
            (9999, Ok, "as the api-server's"),
            (-9999, Ok, "as the api-server's"),
            (10_000, Warn, "skew: 10 s ahead of the api-server's clock"),
            (-125_000, Warn, "skew: 2 min behind the api-server's clock"),
            (
                7_260_000,
                Warn,
                "skew: 2 h 1 min ahead of the api-server's clock",
            ),
        ] {
            is(&judge_skew(skew), level, found);
        }
    }
}
