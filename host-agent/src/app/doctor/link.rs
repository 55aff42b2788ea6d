//! The way to the api-server: the link, this host's certificate, and the two clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use zhylon_shared::tls::Validity;

use super::{Finding, Patient};
use crate::link::{Life, LinkReport, LinkState, certificate as life_of};

/// Clocks this far apart (ms) are not told of: the api-server's is known but for the way of one message.
const SKEW_MS: u64 = 10_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// A certificate whose renewal is late by this is told of: the host may have been off when it was due.
const LATE: i64 = 2 * HOUR;
/// How long after its end the api-server still renews one.
const RENEWED_AFTER_END: i64 = 180 * DAY;
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
    let now = report.as_ref().and_then(LinkReport::server_time);
    let now = now.unwrap_or_else(host_time) / 1000;
    let failed = report.and_then(|report| report.renewal_error);
    match life_of(&config.state_dir) {
        // The link says it.
        Ok(None) => Vec::new(),
        Ok(Some(life)) => judge_certificate(life, now, failed.as_deref()),
        Err(error) => Finding::fail(format!("can not be read: {error}"))
            .means("the link can not be made; daemons run on")
            .remedy(ANEW),
    }
}

/// `failed`: why the newest try to renew it failed.
fn judge_certificate(life: Life, now: i64, failed: Option<&str>) -> Vec<Finding> {
    let Validity {
        not_before,
        not_after,
    } = life.validity;
    let why = failed.map_or_else(String::new, |why| format!("; the last try: {why}"));
    if now > not_after + RENEWED_AFTER_END {
        return Finding::fail(format!("ended {} ago", span(now - not_after)))
            .means("it is too old to be renewed: the api-server lets this host in no more; daemons run on, no change reaches them")
            .remedy(ANEW);
    }
    if now > not_after {
        return Finding::fail(format!("ended {} ago{why}", span(now - not_after)))
            .means("daemons run on, no change reaches them; the agent gets a new one by itself once it reaches the api-server")
            .remedy("start the agent, and look at what is said of the link");
    }
    if now < not_before {
        return Finding::fail(format!("begins in {} only", span(not_before - now)))
            .means("the api-server does not let this host in yet; daemons run on")
            .remedy("look at both clocks, the host's and the api-server's");
    }
    let left = span(not_after - now);
    let late = now - life.renewal;
    if late > LATE || (late > 0 && failed.is_some()) {
        return Finding::warn(format!(
            "ends in {left}, and should have been renewed {} ago{why}",
            span(late)
        ))
        .means("the agent goes on trying, at least once an hour while it is connected; after its end only that is left to it")
        .remedy("look at what is said of the link, and at the agent's log");
    }
    Finding::ok(match late {
        ..0 => format!("ends in {left}, is renewed in {}", span(-late)),
        0.. => format!("ends in {left}, is renewed now"),
    })
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
    fn a_certificate_is_judged_by_its_renewal_and_its_end() {
        let month = Life {
            validity: Validity {
                not_before: 1000,
                not_after: 1000 + 30 * DAY,
            },
            renewal: 1000 + 20 * DAY,
        };
        let failed = Some("no route to host");
        let late = "ends in 9 days, and should have been renewed";
        for (now, failed, level, found) in [
            (999, None, Fail, "begins in 1 s only".to_owned()),
            (
                1000,
                failed,
                Ok,
                "ends in 30 days, is renewed in 20 days".to_owned(),
            ),
            (
                1000 + 20 * DAY,
                failed,
                Ok,
                "ends in 10 days, is renewed now".to_owned(),
            ),
            (
                1000 + 20 * DAY + LATE,
                None,
                Ok,
                "ends in 9 days, is renewed now".to_owned(),
            ),
            (
                1001 + 20 * DAY + LATE,
                None,
                Warn,
                format!("{late} 2 h 0 min ago"),
            ),
            (
                1001 + 20 * DAY,
                failed,
                Warn,
                format!("{late} 1 s ago; the last try: no route to host"),
            ),
            (1001 + 30 * DAY, None, Fail, "ended 1 s ago".to_owned()),
            (
                1000 + 210 * DAY,
                failed,
                Fail,
                "ended 180 days ago; the last try: no route to host".to_owned(),
            ),
            (
                1001 + 210 * DAY,
                failed,
                Fail,
                "ended 180 days ago".to_owned(),
            ),
        ] {
            is(&judge_certificate(month, now, failed), level, &found);
        }
        let remedy = |now| {
            judge_certificate(month, now, None)[0]
                .remedy
                .contains("enroll")
        };
        assert!(!remedy(1000 + 210 * DAY) && remedy(1001 + 210 * DAY));
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
